//! Pseudo terminals: make a pair, set its size.
//!
//! Owns the ioctls on terminal masters. Which devpts instance is the caller's choice.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// Rows and columns of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WindowSize {
    pub(crate) rows: u16,
    pub(crate) columns: u16,
}

impl WindowSize {
    /// From the wire; 0 means "not said" and gives the classic 24 × 80, values too large are cut.
    pub(crate) fn from_wire(rows: u32, columns: u32) -> Self {
        let or = |value: u32, default: u16| match value {
            0 => default,
            value => u16::try_from(value).unwrap_or(u16::MAX),
        };
        Self { rows: or(rows, 24), columns: or(columns, 80) }
    }
}

/// Opens the other end of a terminal's master, unlocked, as the terminal of nobody.
pub(crate) fn open_peer(master: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    let unlocked: libc::c_int = 0;
    // SAFETY: reads one int.
    Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) })?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: takes the flags by value and returns a new descriptor.
    let fd = Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) })?;
    // SAFETY: the kernel has just given us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets the size and sends SIGWINCH to the foreground group if it has changed.
pub(crate) fn resize(master: BorrowedFd<'_>, size: WindowSize) -> nix::Result<()> {
    let size = libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: reads one winsize.
    Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::WindowSize;

    #[test]
    fn sizes_from_the_wire_are_bounded() {
        assert_eq!(WindowSize::from_wire(0, 0), WindowSize { rows: 24, columns: 80 });
        assert_eq!(WindowSize::from_wire(50, 132), WindowSize { rows: 50, columns: 132 });
        assert_eq!(WindowSize::from_wire(70_000, 1), WindowSize { rows: u16::MAX, columns: 1 });
    }
}
