//! From a started process to its end: status, timeout, the cgroup's removal.
//!
//! Owns waiting (by pidfd, never by SIGCHLD) and the last phase of an execution. Ends nothing unasked but what has
//! outlived its timeout.

use std::future::poll_fn;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

use crate::cgroup::{BoxCgroup, ExecCgroup};
use crate::exec::Table;
use crate::exec::execution::{Execution, Exit, Phase};
use crate::sys::eager::EagerFd;
use crate::sys::lock;

/// How long the killed have to be gone before Wait answers all the same.
const KILLED_WITHIN: Duration = Duration::from_secs(1);

/// A process to be waited for.
pub(crate) struct Process {
    pub(crate) pidfd: Arc<EagerFd>,
    pub(crate) cgroup: Arc<ExecCgroup>,
    pub(crate) timeout: Option<Duration>,
}

/// Waits for the process, kills it and its children at the timeout, and settles the execution.
pub(crate) async fn supervise(
    table: Arc<Table>,
    of_box: Arc<BoxCgroup>,
    execution: Arc<Execution>,
    process: Process,
) {
    let Process { pidfd, cgroup, timeout } = process;
    let mut timed_out = false;
    let status = match timeout {
        None => ended(&pidfd).await,
        Some(limit) => match tokio::time::timeout(limit, ended(&pidfd)).await {
            Ok(status) => status,
            Err(_) => {
                timed_out = true;
                // What can't be killed because it is gone has just ended by itself.
                let _ = cgroup.kill();
                ended(&pidfd).await
            }
        },
    };
    let mut exit = in_numbers(status);
    exit.timed_out = timed_out;
    // Asked only of those that failed: one that succeeded was not killed.
    exit.oom_killed = (exit.code, exit.signal) != (0, 0) && cgroup.was_oom_killed();
    drop(pidfd);
    if timed_out || execution.killed.load(Ordering::Relaxed) {
        // Who killed everything wants everything gone, and the streams at their end, when Wait answers.
        let _ = tokio::time::timeout(KILLED_WITHIN, cgroup.emptied()).await;
    }
    {
        let mut live = lock(&execution.live);
        live.pidfd = None;
        live.terminal = None;
    }
    execution.phase.send_replace(Phase::Ended(exit));
    // Let the answer go out first.
    tokio::task::yield_now().await;
    table.settle(&execution);
    let is_empty = cgroup.emptied().await.is_ok();
    lock(&execution.live).cgroup = None;
    if is_empty {
        give_back(&of_box, cgroup);
    }
    // Nobody waits at this moment.
    of_box.prepare_spare();
}

/// Waits for a child that gave up before it became the command.
pub(crate) async fn clear_away(of_box: Arc<BoxCgroup>, pidfd: Arc<EagerFd>, cgroup: Arc<ExecCgroup>) {
    // It has said all there is to know.
    let _ = ended(&pidfd).await;
    if cgroup.emptied().await.is_ok() {
        give_back(&of_box, cgroup);
    }
}

/// Somebody who has it still, to kill what was in it, does nothing to others any more: it is not used again then.
fn give_back(of_box: &BoxCgroup, cgroup: Arc<ExecCgroup>) {
    match Arc::try_unwrap(cgroup) {
        Ok(cgroup) => of_box.take_back(cgroup),
        Err(cgroup) => drop(cgroup.remove()),
    }
}

async fn ended(pidfd: &EagerFd) -> io::Result<WaitStatus> {
    let status = |pidfd: BorrowedFd<'_>| match waitid(
        Id::PIDFd(pidfd),
        WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG,
    )? {
        WaitStatus::StillAlive => Err(Errno::EAGAIN),
        status => Ok(status),
    };
    poll_fn(|cx| pidfd.poll(cx, status)).await
}

/// A status that can't be had means that the process was taken from us, which only a kill does.
fn in_numbers(status: io::Result<WaitStatus>) -> Exit {
    match status {
        Ok(WaitStatus::Exited(_, code)) => Exit { code, ..Exit::default() },
        Ok(WaitStatus::Signaled(_, signal, _)) => Exit { signal: signal as i32, ..Exit::default() },
        Ok(_) | Err(_) => Exit { signal: libc::SIGKILL, ..Exit::default() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::Signal;
    use nix::unistd::Pid;

    #[test]
    fn codes_and_signals_are_kept_apart() {
        let exit = in_numbers(Ok(WaitStatus::Exited(Pid::from_raw(9), 137)));
        assert_eq!((exit.code, exit.signal), (137, 0));
        let exit = in_numbers(Ok(WaitStatus::Signaled(Pid::from_raw(9), Signal::SIGTERM, false)));
        assert_eq!((exit.code, exit.signal), (0, 15));
    }
}
