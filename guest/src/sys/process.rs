//! Making and signalling processes by descriptor.
//!
//! Owns the wrappers of clone3 and pidfd_send_signal. What the child does is the caller's matter.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

/// Start the child in the cgroup given as a descriptor (the libc crate's constant is too narrow).
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// Start the child with default signal handlers: the agent's speak of the agent's death.
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;

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

/// A process just made.
#[derive(Debug)]
pub(crate) struct Child {
    /// Readable once it has ended.
    pub(crate) pidfd: OwnedFd,
    /// Its pid in our namespace.
    pub(crate) pid: i32,
}

/// Which side of a fork this is.
pub(crate) enum Forked {
    /// The new process.
    Child,
    /// The old one.
    Parent(Child),
}

/// Forks with a copy of our memory into new namespaces (`CLONE_NEW*` flags).
///
/// # Safety
/// The process has one thread. The child must never return into the async runtime, and must end in `_exit`.
pub(crate) unsafe fn fork(namespaces: libc::c_int) -> nix::Result<Forked> {
    let mut pidfd: RawFd = -1;
    let args = CloneArgs {
        flags: (libc::CLONE_PIDFD | namespaces) as u64,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
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
    Ok(Forked::Parent(Child { pidfd, pid: pid as i32 }))
}

/// The stack of a child that borrows our memory.
#[repr(C, align(16))]
struct Stack([MaybeUninit<u8>; 64 * 1024]);

/// Starts a child in `cgroup` that borrows our memory, while we stand still, until it execs or exits: several times
/// cheaper than a fork, since no page table is copied and no page is copied on write afterwards.
///
/// We stand still with all we do for the host. So this is not for a child that waits for *us*, as it would in exec
/// on a file system that the agent itself serves.
///
/// # Safety
/// `run` makes async-signal-safe calls only, changes no memory of ours but atomics, and ends in exec or `_exit`.
#[cfg(target_arch = "x86_64")]
pub(crate) unsafe fn spawn_borrowing<T>(
    cgroup: BorrowedFd<'_>,
    run: extern "C" fn(&T) -> !,
    argument: &T,
) -> nix::Result<Child> {
    let mut stack = Stack([MaybeUninit::uninit(); 64 * 1024]);
    let mut pidfd: RawFd = -1;
    let args = CloneArgs {
        flags: (libc::CLONE_PIDFD | libc::CLONE_VM | libc::CLONE_VFORK) as u64
            | CLONE_INTO_CGROUP
            | CLONE_CLEAR_SIGHAND,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        stack: (&raw mut stack) as u64,
        stack_size: size_of::<Stack>() as u64,
        cgroup: cgroup.as_raw_fd() as u64,
        ..CloneArgs::default()
    };
    let mut result = libc::SYS_clone3;
    // SAFETY: the child comes out of the system call on the top of its own stack, which is aligned as the call
    // wants it and lies in this frame, which stands still with us until the child is gone; it never comes back
    // from `run`. We come out as from any system call.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, {argument}",
            "call {run}",
            "ud2",
            "2:",
            run = in(reg) run,
            argument = in(reg) argument,
            inlateout("rax") result,
            in("rdi") &raw const args,
            in("rsi") size_of::<CloneArgs>(),
            out("rcx") _,
            out("r11") _,
        );
    }
    if result < 0 {
        return Err(Errno::from_raw(-result as i32));
    }
    // SAFETY: CLONE_PIDFD made the kernel store a new descriptor of ours there.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Child { pidfd, pid: result as i32 })
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
