//! The end of the VM, in order: processes, disks, the last word, reboot(2).
//!
//! Owns the sequence. Nothing in it is a fixed sleep: with no process running it takes milliseconds.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use boxlite_proto::event::ByeReason;
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tokio::io::Interest;

use crate::agent::Agent;
use crate::cgroup::BoxCgroup;
use crate::console::{self, Stage};
use crate::exec::Home;
use crate::rootfs::unmount_all;
use crate::sys::process::{Forked, exit_now, fork};
use crate::sys::register;

/// How long killed processes have to be gone.
const KILLED_WITHIN: Duration = Duration::from_secs(5);
/// How long answers to Wait and the last output have to be on their way.
const TOLD_WITHIN: Duration = Duration::from_millis(500);
/// More turns of the scheduler than an answer needs from the end of its process into the channel.
const ANSWER_HOPS: usize = 32;

/// Ends everything and never returns.
pub(crate) async fn end(agent: &Agent, home: Option<Arc<Home>>, grace: Duration, reason: ByeReason) -> ! {
    console::enter(Stage::PowerOff);
    if let Some(home) = home {
        end_processes(agent, &home, grace).await;
        home.init.end();
        drop(home);
    }
    if reason != ByeReason::Discard {
        unmount_all();
    }
    agent.events.bye(reason).await;
    // Only returns on failure; then init's own end ends this kernel as well.
    let _ = reboot(RebootMode::RB_AUTOBOOT);
    exit_now(0)
}

/// Writes everything back to the disks, in a process of its own: it may take long, and the agent has other work.
pub(crate) async fn flush() -> io::Result<()> {
    // SAFETY: the agent has one thread; the child calls sync and ends.
    match unsafe { fork(0) }? {
        Forked::Child => {
            nix::unistd::sync();
            exit_now(0)
        }
        Forked::Parent(child) => {
            let pidfd = register(child.pidfd, Interest::READABLE)?;
            let _ended = pidfd.readable().await?;
            waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED)?;
            Ok(())
        }
    }
}

async fn end_processes(agent: &Agent, home: &Home, grace: Duration) {
    agent.executions.close();
    let executions = agent.executions.all();
    if home.cgroup.is_populated() {
        if !grace.is_zero() {
            ask_to_end(&home.cgroup);
            // Those that don't go are killed below.
            let _ = tokio::time::timeout(grace, home.cgroup.emptied()).await;
        }
        if home.cgroup.is_populated() {
            // What can't be killed is told by the wait below.
            let _ = home.cgroup.kill();
            if tokio::time::timeout(KILLED_WITHIN, home.cgroup.emptied()).await.is_err() {
                console::say("some process of the box would not die");
            }
        }
    }
    let told = async {
        for execution in &executions {
            execution.over().await;
            execution.delivered().await;
        }
    };
    let _ = tokio::time::timeout(TOLD_WITHIN, told).await;
    // An answer still passes through some tasks on its way to the channel; once the host has the last word, it may make
    // an end at once.
    for _ in 0..ANSWER_HOPS {
        tokio::task::yield_now().await;
    }
}

/// SIGTERM to all processes of the box, and SIGCONT so that a stopped one hears it.
fn ask_to_end(cgroup: &BoxCgroup) {
    for pid in cgroup.pids().into_iter().map(Pid::from_raw) {
        // One that has just ended needs no signal.
        let _ = kill(pid, Signal::SIGTERM);
        let _ = kill(pid, Signal::SIGCONT);
    }
}
