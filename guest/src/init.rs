//! The box's init: the first process of its PID namespace, which builds the view and then reaps orphans.
//!
//! Owns the process and its namespaces. It is a fork of the agent without any of the agent's descriptors or
//! capabilities, not dumpable (so nothing in the box can trace it or look through it), and deaf to every signal
//! from inside. When it dies the kernel kills the whole box.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::stat::Mode;
use nix::sys::wait::{Id, WaitPidFlag, waitid};

use crate::error::{AgentError, Context};
use crate::rootfs::files::BoxFile;
use crate::rootfs::view;
use crate::sys::process::{Child, Forked, exit_now, fork, signal};

/// The init and the two ways into its world.
#[derive(Debug)]
pub(crate) struct BoxInit {
    pidfd: OwnedFd,
    mount_ns: OwnedFd,
    root: OwnedFd,
    program: OwnedFd,
}

/// What the init says on its pipe when all went well.
const READY: &[u8] = b"\0ready";

impl BoxInit {
    /// Starts the init, waits until the view stands, and joins its PID namespace for all children to come.
    pub(crate) fn start(files: &[BoxFile]) -> Result<Self, AgentError> {
        let (report, tell) = nix::unistd::pipe2(OFlag::O_CLOEXEC).step(|| "make a pipe".into())?;
        // SAFETY: the agent has one thread, so its memory is in order in the child, which never returns from `run`.
        let forked = unsafe { fork(libc::CLONE_NEWNS | libc::CLONE_NEWPID) };
        let (pidfd, pid) = match forked.step(|| "start the box's init".into())? {
            Forked::Child => {
                drop(report);
                run(tell, files)
            }
            Forked::Parent(Child { pidfd, pid }) => (pidfd, pid),
        };
        drop(tell);
        let mut said = Vec::new();
        File::from(report).read_to_end(&mut said).step(|| "hear from the box's init".into())?;
        if said != READY {
            let message = match said.is_empty() {
                true => "its init died without a word".to_owned(),
                false => String::from_utf8_lossy(&said).into_owned(),
            };
            return Err(AgentError::View { message });
        }
        let step = || "enter the box's namespaces".into();
        let path = |rest: &str| format!("/proc/{pid}/{rest}");
        let mount_ns =
            open(path("ns/mnt").as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).step(step)?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = open(path("root").as_str(), flags, Mode::empty()).step(step)?;
        let step = || "open the agent's program".into();
        let program = open("/proc/self/exe", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).step(step)?;
        // A copy has something else under that number.
        let number = fcntl(&program, FcntlArg::F_DUPFD_CLOEXEC(boxlite_proto::copy::DISK + 1)).step(step)?;
        // SAFETY: the call has just made this descriptor; nobody else has it.
        let program = unsafe { OwnedFd::from_raw_fd(number) };
        // Applies to children: from here on the agent can make no threads, which it never does.
        setns(&pidfd, CloneFlags::CLONE_NEWPID).step(step)?;
        Ok(Self { pidfd, mount_ns, root, program })
    }

    /// The box's mount namespace.
    pub(crate) fn mount_ns(&self) -> BorrowedFd<'_> {
        self.mount_ns.as_fd()
    }

    /// The box's root directory as its processes see it.
    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The agent's own program, a part of which may run in the box.
    pub(crate) fn program(&self) -> BorrowedFd<'_> {
        self.program.as_fd()
    }

    /// A second handle on the process, to wait for its end.
    pub(crate) fn pidfd(&self) -> std::io::Result<OwnedFd> {
        self.pidfd.try_clone()
    }

    /// Ends the box's namespaces and takes the agent out of them, so that another init can be started.
    pub(crate) fn leave(self) -> Result<(), AgentError> {
        self.end();
        let step = || "leave the box's namespaces".into();
        let own = open("/proc/self/ns/pid", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).step(step)?;
        setns(&own, CloneFlags::CLONE_NEWPID).step(step)?;
        // What the box's processes shared by System V's and POSIX's means outlives them, in the agent's own namespace.
        unshare(CloneFlags::CLONE_NEWIPC).step(step)
    }

    /// Ends the box's namespaces, so that nothing of them holds its mounts.
    pub(crate) fn end(&self) {
        // An init that is dead already has nothing to end.
        if signal(self.pidfd.as_fd(), libc::SIGKILL).is_ok() {
            while waitid(Id::PIDFd(self.pidfd.as_fd()), WaitPidFlag::WEXITED) == Err(Errno::EINTR) {}
        }
    }
}

/// The init's whole life.
fn run(tell: OwnedFd, files: &[BoxFile]) -> ! {
    let outcome = view::build(files).and_then(|()| settle());
    let said = match &outcome {
        Ok(()) => READY.to_vec(),
        Err(error) => error.to_string().into_bytes(),
    };
    let _ = nix::unistd::write(&tell, &said);
    if outcome.is_err() {
        exit_now(1);
    }
    // Every descriptor is a copy of the agent's, the channel among them.
    // SAFETY: the objects that own them are never used again, and never dropped, in this process.
    unsafe { libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, 0) };
    std::mem::forget(tell);
    reap()
}

/// Gives up what an init needs no more.
fn settle() -> Result<(), AgentError> {
    let step = || "settle the box's init".into();
    // The agent needs no such shelter, since the OOM killer spares the first process of a machine, and its children
    // would have to give it back.
    fs::write("/proc/self/oom_score_adj", "-1000").step(step)?;
    // SAFETY: reads a short C string.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_NAME, c"box-init".as_ptr()) }).step(step)?;
    // SAFETY: takes plain values.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) }).step(step)?;
    crate::exec::child::drop_all_capabilities().step(step)?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None).step(step)
}

/// Waits for orphans for ever. SIGCHLD stays blocked and pending, so none is missed between the two calls.
fn reap() -> ! {
    let child = SigSet::from(Signal::SIGCHLD);
    loop {
        match waitid(Id::All, WaitPidFlag::WEXITED) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => {
                let _ = child.wait();
            }
        }
    }
}
