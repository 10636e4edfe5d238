//! Making and signalling processes by descriptor.
//!
//! Owns the wrappers of clone3 and pidfd_send_signal. What the child does is the caller's matter.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

/// Start the child in the cgroup given as a descriptor (the libc crate's constant is too narrow).
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The kernel's `struct clone_args` up to `cgroup`, the last field we set.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Which side of a fork this is.
pub(crate) enum Forked {
    /// The new process.
    Child,
    /// The old one, with a pidfd and the pid of the new.
    Parent {
        /// Readable once the child has ended.
        pidfd: OwnedFd,
        /// Its pid in our namespace.
        pid: i32,
    },
}

/// Forks with a copy of our memory, into `cgroup` where one is given; `namespaces` are `CLONE_NEW*` flags.
///
/// # Safety
/// The child has one thread and a copy of everything. Where other threads existed it may only call
/// async-signal-safe functions; it must never return into the async runtime, and must end in exec or `_exit`.
pub(crate) unsafe fn fork_into(
    cgroup: Option<BorrowedFd<'_>>,
    namespaces: libc::c_int,
) -> nix::Result<Forked> {
    let mut pidfd: RawFd = -1;
    let mut flags = (libc::CLONE_PIDFD | namespaces) as u64;
    if cgroup.is_some() {
        flags |= CLONE_INTO_CGROUP;
    }
    let args = CloneArgs {
        flags,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        cgroup: cgroup.map_or(0, |fd| fd.as_raw_fd() as u64),
        ..CloneArgs::default()
    };
    // SAFETY: `args` has the layout and size we state; without CLONE_VM the child runs on its own copy of this
    // stack, so returning twice is what fork(2) does. The rest is the caller's promise.
    let pid =
        Errno::result(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) })?;
    if pid == 0 {
        return Ok(Forked::Child);
    }
    // SAFETY: CLONE_PIDFD made the kernel store a new descriptor of ours there.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Forked::Parent { pidfd, pid: pid as i32 })
}

/// Sends a signal to the process behind the descriptor, never to one that has its pid by now.
pub(crate) fn signal(pidfd: BorrowedFd<'_>, signal: libc::c_int) -> nix::Result<()> {
    // SAFETY: no pointer but a null siginfo, which means "as kill(2) would".
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    Errno::result(result).map(drop)
}

/// Ends this process at once, without destructors.
pub(crate) fn exit_now(code: libc::c_int) -> ! {
    // SAFETY: _exit is always allowed and does not return.
    unsafe { libc::_exit(code) }
}
