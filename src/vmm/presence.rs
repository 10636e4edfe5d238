//! The sign that this process is still the program that started a box: a lock that its end and its `exec` give up, and
//! that no forked child has.
//!
//! A pidfd outlives an `exec`, and a socket lives on in a forked child that has a copy. A process-owned `fcntl` lock on a
//! close-on-exec descriptor does neither. The file has no name and nobody else in this process opens it, since closing
//! any descriptor of it would give the lock up.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::lock::range::{self, WHOLE};

/// Held as long as this process runs this program and has not dropped it.
#[derive(Debug)]
pub(crate) struct Presence(OwnedFd);

impl Presence {
    pub(crate) fn new() -> io::Result<Self> {
        let file = nameless_file()?;
        if range::lock(file.as_fd(), WHOLE)? { Ok(Self(file)) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }

    /// For the watcher, whose own lock on it has to wait.
    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn nameless_file() -> io::Result<OwnedFd> {
    // Hosts may insist on files that can't be executed; older kernels don't know the flag.
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);
    Ok(match memfd_create(c"boxlite-presence", flags) {
        Err(Errno::EINVAL) => memfd_create(c"boxlite-presence", MFdFlags::MFD_CLOEXEC)?,
        made => made?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forked_child_does_not_have_it() {
        let presence = Presence::new().unwrap();
        // SAFETY: the child makes one system call, which is async-signal-safe, and exits.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let free = matches!(range::lock(presence.file(), WHOLE), Ok(true));
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc::_exit(i32::from(free)) };
        }
        let mut status = -1;
        // SAFETY: waits for the child above into a valid integer.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0, "the parent has it");
    }
}
