//! Thin wrappers of system calls that neither std nor nix has. Owns no state and makes no decision.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

fn checked(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A descriptor that becomes readable when the process `pid` has ended. Close-on-exec by definition.
pub(crate) fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers and touches no memory.
    let fd = checked(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the call has just made this descriptor; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Sends a signal to the process behind a pidfd, which can't be a stranger that got the number later.
pub(crate) fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is valid for the call; no siginfo is passed.
    checked(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    })
    .map(drop)
}

/// Closes every descriptor from `first` on, or (`mark`) only marks them close-on-exec. Async-signal-safe.
pub(crate) fn close_from(first: u32, mark: bool) -> io::Result<()> {
    let flags = if mark { libc::CLOSE_RANGE_CLOEXEC } else { 0 };
    // SAFETY: takes three integers. The callers own no descriptor object in the range, or only mark them.
    checked(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, flags) }).map(drop)
}

/// Makes the allocator give memory of buffers of `size` bytes and more back as soon as they are freed.
pub(crate) fn give_back_buffers_from(size: libc::c_int) {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a parameter of the allocator, before any thread but this one exists.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, size);
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = size;
}

/// Lets others of the machine go first, here and in every child to come.
pub(crate) fn be_nice(by: libc::c_int) {
    // SAFETY: takes an integer; that it is refused, or already so, harms nobody.
    let _ = unsafe { libc::nice(by) };
}

/// A write lock on all of a file, however long it is or becomes.
pub(crate) fn whole_file() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Makes reads and writes of what `fd` names give up instead of waiting.
pub(crate) fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
    fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// A second handle on what `fd` names, registered with the event loop for `interest`.
pub(crate) fn watch(fd: impl AsFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    let own = fd.as_fd().try_clone_to_owned()?;
    // SAFETY: the descriptor is owned by the result alone, which deregisters it before it closes it.
    Ok(unsafe { AsyncFd::register_with_interest(own, interest) }?)
}

/// Whether the other end of a socket is closed for good, in both directions.
pub(crate) fn peer_has_hung_up(socket: impl AsFd) -> bool {
    let mut polled = libc::pollfd { fd: socket.as_fd().as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: one valid pollfd, and a count of one; timeout 0 never blocks.
    let ready = unsafe { libc::poll(&raw mut polled, 1, 0) };
    ready == 1 && polled.revents & (libc::POLLHUP | libc::POLLERR) != 0
}

/// Waits for what closing a descriptor brings about. Tests run as threads of one process, and a child that another of
/// them starts has a copy of each descriptor until it executes its program.
#[cfg(test)]
pub(crate) fn soon(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "not within 60 s: {what}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_hang_up_is_told_from_a_half_close() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        assert!(!peer_has_hung_up(&ours));
        theirs.shutdown(Shutdown::Write).unwrap();
        assert!(!peer_has_hung_up(&ours));
        drop(theirs);
        soon("its end is closed for good", || peer_has_hung_up(&ours));
    }

    #[test]
    fn a_pidfd_names_its_process() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let pidfd = pidfd_open(child.id()).unwrap();
        pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL).unwrap();
        assert!(!child.wait().unwrap().success());
        assert!(pidfd_send_signal(pidfd.as_fd(), 0).is_err());
    }
}
