//! The child between clone and exec: from a copy of the agent to a process of the box.
//!
//! Owns the order of the steps. Only async-signal-safe calls are made and nothing is allocated; everything it needs
//! lies ready in [`ChildPlan`]. What becomes of it is told in [`Told`], which it shares with the agent.

use std::ffi::CStr;
use std::os::raw::c_char;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use nix::errno::Errno;

use crate::sys::process::exit_now;

/// Docker's 14 default capabilities: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP,
/// NET_BIND_SERVICE, NET_RAW, SYS_CHROOT, MKNOD, AUDIT_WRITE, SETFCAP.
const CAPABILITIES: u64 = 1
    | 1 << 1
    | 1 << 3
    | 1 << 4
    | 1 << 5
    | 1 << 6
    | 1 << 7
    | 1 << 8
    | 1 << 10
    | 1 << 13
    | 1 << 18
    | 1 << 27
    | 1 << 29
    | 1 << 31;

/// Soft limit of open files that a process starts with; many programs loop up to it.
const OPEN_FILES_SOFT: u64 = 1024;

/// What the child was doing when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Step {
    Namespace = 1,
    Session,
    Streams,
    Terminal,
    Limits,
    User,
    Directory,
    Exec,
    Interpreter,
}

impl Step {
    /// The step with this number.
    fn from_number(number: u32) -> Option<Self> {
        const ALL: [Step; 9] = [
            Step::Namespace,
            Step::Session,
            Step::Streams,
            Step::Terminal,
            Step::Limits,
            Step::User,
            Step::Directory,
            Step::Exec,
            Step::Interpreter,
        ];
        ALL.into_iter().find(|step| *step as u32 == number)
    }
}

/// What the child tells the agent, which stands still until the child is the command or gone. Zero: nothing.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pid: AtomicU32,
    step: AtomicU32,
    errno: AtomicI32,
}

impl Told {
    /// The pid that the box sees, or what failed and why. `None`: the child died before it began.
    pub(crate) fn outcome(&self) -> Option<Result<u32, (Step, Errno)>> {
        let errno = Errno::from_raw(self.errno.load(Ordering::Relaxed));
        match (Step::from_number(self.step.load(Ordering::Relaxed)), self.pid.load(Ordering::Relaxed)) {
            (Some(step), _) => Some(Err((step, errno))),
            (None, 0) => None,
            (None, pid) => Some(Ok(pid)),
        }
    }
}

/// The agent's own program. Neither of the descriptors is `boxlite_proto::copy::DISK` itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnProgram {
    pub(crate) program: i32,
    /// The transfer disk, where the copy has a lane.
    pub(crate) disk: Option<i32>,
}

/// Everything the child needs. Raw descriptors and pointers: they are valid in the parent at the fork, and the
/// child has its own copy of them.
#[derive(Debug)]
pub(crate) struct ChildPlan<'a> {
    pub(crate) told: &'a Told,
    pub(crate) mount_ns: i32,
    pub(crate) stdio: [i32; 3],
    pub(crate) terminal: bool,
    pub(crate) open_files: Option<u64>,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: &'a [u32],
    pub(crate) directory: &'a CStr,
    pub(crate) candidates: &'a [&'a CStr],
    /// The agent's own program, run instead of any candidate.
    pub(crate) own_program: Option<OwnProgram>,
    pub(crate) argv: *const *const c_char,
    pub(crate) envp: *const *const c_char,
}

type Failure = (Step, Errno);

/// Becomes the command, or tells why not and ends.
pub(crate) extern "C" fn run(plan: &ChildPlan<'_>) -> ! {
    // SAFETY: getpid has no arguments; the pid is the one the box sees.
    let pid = unsafe { libc::getpid() };
    plan.told.pid.store(pid.unsigned_abs(), Ordering::Relaxed);
    let (step, errno) = match enter(plan) {
        Ok(()) => exec(plan),
        Err(failure) => failure,
    };
    plan.told.errno.store(errno as i32, Ordering::Relaxed);
    plan.told.step.store(step as u32, Ordering::Relaxed);
    exit_now(127)
}

/// Pairs the failure of a call with its step.
fn check(step: Step, result: impl Into<i64>) -> Result<(), Failure> {
    if result.into() < 0 { Err((step, Errno::last())) } else { Ok(()) }
}

fn enter(plan: &ChildPlan<'_>) -> Result<(), Failure> {
    // SAFETY: plain values, C strings and slices with their lengths; every pointer leads into `plan`.
    unsafe {
        check(Step::Namespace, libc::setns(plan.mount_ns, libc::CLONE_NEWNS))?;
        check(Step::Session, libc::setsid())?;
        for (target, source) in plan.stdio.iter().enumerate() {
            check(Step::Streams, libc::dup2(*source, target as i32))?;
        }
        let cloexec = libc::CLOSE_RANGE_CLOEXEC;
        check(Step::Streams, libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, cloexec))?;
        if let Some(OwnProgram { disk: Some(disk), .. }) = plan.own_program {
            check(Step::Streams, libc::dup2(disk, boxlite_proto::copy::DISK))?;
        }
        if plan.terminal {
            check(Step::Terminal, libc::ioctl(0, libc::TIOCSCTTY, 0))?;
        }
        let hard = plan.open_files.unwrap_or(crate::boot::OPEN_FILES_MAX);
        let files = libc::rlimit { rlim_cur: OPEN_FILES_SOFT.min(hard), rlim_max: hard };
        let files = match plan.open_files {
            Some(limit) => libc::rlimit { rlim_cur: limit, rlim_max: limit },
            None => files,
        };
        check(Step::Limits, libc::setrlimit(libc::RLIMIT_NOFILE, &raw const files))?;
        check(Step::User, libc::setgroups(plan.groups.len(), plan.groups.as_ptr()))?;
        check(Step::User, libc::setresgid(plan.gid, plan.gid, plan.gid))?;
        check(Step::User, libc::setresuid(plan.uid, plan.uid, plan.uid))?;
        check(Step::Directory, libc::chdir(plan.directory.as_ptr()))?;
        libc::umask(0o022);
        // The only signal that the agent ignores and exec would pass on.
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        Ok(())
    }
}

/// Leaves the box's capabilities in the bounding set of this process and all that it makes: exec gives uid 0 exactly
/// these, others none, and no file with capabilities or set-uid bit can add one. What this process has it keeps, since
/// it never execs.
pub(crate) fn drop_bounding_set() -> nix::Result<()> {
    for capability in 0..64_u64 {
        if CAPABILITIES & (1 << capability) != 0 {
            continue;
        }
        // SAFETY: plain values.
        match Errno::result(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) }) {
            Ok(_) => {}
            // Above the last capability this kernel knows.
            Err(Errno::EINVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Tries the places in order, as execvp does; returns why none of them became the process.
fn exec(plan: &ChildPlan<'_>) -> Failure {
    if let Some(OwnProgram { program, .. }) = plan.own_program {
        // SAFETY: an open descriptor, an empty C string, and NULL-terminated lists in the parent's copy of the plan.
        unsafe {
            libc::syscall(
                libc::SYS_execveat,
                program,
                c"".as_ptr(),
                plan.argv,
                plan.envp,
                libc::AT_EMPTY_PATH,
            )
        };
        return (Step::Exec, Errno::last());
    }
    let mut last = (Step::Exec, Errno::ENOENT);
    for candidate in plan.candidates {
        // SAFETY: C strings and NULL-terminated lists that live in the parent's copy of the plan.
        unsafe { libc::execve(candidate.as_ptr(), plan.argv, plan.envp) };
        match Errno::last() {
            Errno::ENOENT => {
                // SAFETY: a C string.
                if unsafe { libc::access(candidate.as_ptr(), libc::F_OK) } == 0 {
                    // The file is there: what is missing is the interpreter it names.
                    return (Step::Interpreter, Errno::ENOENT);
                }
            }
            Errno::ENOTDIR => {}
            // Somebody else's file of that name may come first in PATH; remembered in case none better follows.
            Errno::EACCES => last = (Step::Exec, Errno::EACCES),
            error => return (Step::Exec, error),
        }
    }
    last
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

/// Gives up every capability of this process.
pub(crate) fn drop_all_capabilities() -> nix::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let header = CapabilityHeader { version: VERSION_3, pid: 0 };
    let none = [0_u32; 6];
    // SAFETY: the kernel reads the header and, for version 3, two records of three words.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_has_fourteen_capabilities_and_none_of_the_dangerous() {
        assert_eq!(CAPABILITIES.count_ones(), 14);
        for (name, number) in [("SYS_PTRACE", 19), ("SYS_ADMIN", 21), ("SYS_BOOT", 22), ("SYS_RESOURCE", 24)]
        {
            assert_eq!(CAPABILITIES & (1 << number), 0, "{name}");
        }
    }

    #[test]
    fn what_the_child_tells_is_told() {
        let told = Told::default();
        assert_eq!(told.outcome(), None);
        told.pid.store(7, Ordering::Relaxed);
        assert_eq!(told.outcome(), Some(Ok(7)));
        told.errno.store(libc::ENOENT, Ordering::Relaxed);
        for number in 1..=9 {
            told.step.store(number, Ordering::Relaxed);
            let Some(Err((step, Errno::ENOENT))) = told.outcome() else { panic!("step {number}") };
            assert_eq!(step as u32, number);
        }
        assert_eq!(Step::from_number(10), None);
    }
}
