//! One execution: its streams, its phases, and what can be done to it.
//!
//! Owns what outlives the process itself: the answer to Wait, the streams, the facts for listing.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use boxlite_proto::agent::{ExecutionInfo, Outcome, StartFailure, StreamCount, WaitResponse};
use boxlite_proto::stream::Which;
use nix::errno::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, watch};

use crate::cgroup::ExecCgroup;
use crate::error::{AgentError, Context};
use crate::exec::modes::Modes;
use crate::streams::book::Count;
use crate::streams::input::Input;
use crate::streams::output::Output;
use crate::streams::pump::Gathered;
use crate::streams::{Taker, parking};
use crate::sys::eager::EagerFd;
use crate::sys::lock;
use crate::sys::process::signal;
use crate::sys::tty::{WindowSize, resize};

/// How a process ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) code: i32,
    pub(crate) signal: i32,
    pub(crate) timed_out: bool,
    pub(crate) oom_killed: bool,
}

/// Where an execution stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Phase {
    Starting,
    Running,
    Failed(StartFailure),
    Ended(Exit),
}

impl Phase {
    fn is_over(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Ended(_))
    }
}

/// The descriptors that go with a process; each is let go when it is of no more use.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// Until the process has ended.
    pub(crate) pidfd: Option<Arc<EagerFd>>,
    /// Until the process has ended.
    pub(crate) terminal: Option<Arc<AsyncFd<OwnedFd>>>,
    /// Until the last of its children has ended.
    pub(crate) cgroup: Option<Arc<ExecCgroup>>,
}

/// One execution.
#[derive(Debug)]
pub(crate) struct Execution {
    pub(crate) id: String,
    pub(crate) argv: Vec<Vec<u8>>,
    pub(crate) tty: bool,
    pub(crate) modes: Modes,
    /// It runs a part of the agent and is no command of the caller's.
    pub(crate) own_program: bool,
    pub(crate) started_ns: i64,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) live: Mutex<Live>,
    /// Kill was called.
    pub(crate) killed: AtomicBool,
    pub(crate) stdin: Option<Input>,
    pub(crate) stdout: Output,
    /// None where it goes the way of stdout.
    pub(crate) stderr: Option<Output>,
    pub(crate) arrivals: Notify,
}

impl Execution {
    /// Hands a stream over; one that this execution doesn't have is dropped, which resets it.
    pub(crate) fn give(&self, which: Which, taker: Taker) {
        match (which, &self.stdin, &self.stderr) {
            (Which::Stdin, Some(stdin), _) => stdin.give(taker),
            (Which::Stdout, _, _) => self.stdout.give(taker),
            (Which::Stderr, _, Some(stderr)) => stderr.give(taker),
            (Which::Stdin | Which::Stderr, _, _) => {}
        }
        self.arrivals.notify_waiters();
    }

    fn has_arrived(&self, which: Which) -> bool {
        match which {
            Which::Stdin => self.stdin.as_ref().is_none_or(Input::has_arrived),
            Which::Stdout => self.stdout.has_arrived(),
            Which::Stderr => self.stderr.as_ref().is_none_or(Output::has_arrived),
        }
    }

    /// Waits for the announced streams, or a kill; the first that doesn't come in time is the error.
    pub(crate) async fn arrivals(&self, announced: &[Which]) -> Result<(), Which> {
        for which in announced {
            let arrival = async {
                loop {
                    let notified = self.arrivals.notified();
                    if self.has_arrived(*which) || self.killed.load(Ordering::Relaxed) {
                        return;
                    }
                    notified.await;
                }
            };
            tokio::time::timeout(parking::PATIENCE, arrival).await.map_err(|_| *which)?;
        }
        Ok(())
    }

    /// Returns when the process has ended or has failed to start.
    pub(crate) async fn over(&self) -> WaitResponse {
        let mut phase = self.phase.subscribe();
        // The sender lives as long as we do.
        let _ = phase.wait_for(Phase::is_over).await;
        self.answer()
    }

    /// The process's end and its whole output, or `None` as soon as there is more of that than is gathered. Output that
    /// others still hold open is waited for as long as `drain`.
    pub(crate) async fn outcome(&self, drain: Duration) -> Option<Outcome> {
        let too_long = async {
            match &self.stderr {
                Some(stderr) => tokio::select! {
                    () = self.stdout.is_too_long() => {}
                    () = stderr.is_too_long() => {}
                },
                None => self.stdout.is_too_long().await,
            }
        };
        let over = async {
            self.over().await;
            let whole = async {
                self.stdout.is_whole().await;
                if let Some(stderr) = &self.stderr {
                    stderr.is_whole().await;
                }
            };
            // Those that hold it open may do so for ever.
            let _ = tokio::time::timeout(drain, whole).await;
        };
        let mut outcome = Outcome::new();
        tokio::select! {
            biased;
            () = too_long => return None,
            () = over => {}
        }
        let stdout = self.stdout.gather().await;
        let stderr = match &self.stderr {
            Some(stderr) => stderr.gather().await,
            None => Gathered::default(),
        };
        outcome.taken_over = stdout.was_taken || stderr.was_taken;
        outcome.given_up = stdout.given_up || stderr.given_up;
        (outcome.stdout, outcome.stderr) = (stdout.bytes, stderr.bytes);
        outcome.end = Some(self.answer()).into();
        Some(outcome)
    }

    /// The process has ended or never began.
    pub(crate) fn is_over(&self) -> bool {
        self.phase.borrow().is_over()
    }

    /// The answer to Wait as of now.
    fn answer(&self) -> WaitResponse {
        let mut answer = WaitResponse::new();
        match &*self.phase.borrow() {
            Phase::Ended(exit) => {
                answer.exit_code = exit.code;
                answer.signal = exit.signal;
                answer.timed_out = exit.timed_out;
                answer.oom_killed = exit.oom_killed;
            }
            Phase::Failed(failure) => answer.failure = Some(failure.clone()).into(),
            Phase::Starting | Phase::Running => {}
        }
        answer.stdout = Some(on_wire(self.stdout.count())).into();
        let stderr = self.stderr.as_ref().map_or(Count { closed: true, ..Count::default() }, Output::count);
        answer.stderr = Some(on_wire(stderr)).into();
        answer
    }

    /// The totals of one output stream, as the taker of this name sees them.
    pub(crate) fn count_of(&self, which: Which, taker: u64) -> Option<Count> {
        match which {
            Which::Stdin => None,
            Which::Stdout => Some(self.stdout.count_of(taker)),
            Which::Stderr => self.stderr.as_ref().map(|stderr| stderr.count_of(taker)),
        }
    }

    /// For the list.
    pub(crate) fn info(&self) -> ExecutionInfo {
        let mut info = ExecutionInfo::new();
        info.id.clone_from(&self.id);
        info.argv.clone_from(&self.argv);
        info.started_ns = self.started_ns;
        info.tty = self.tty;
        self.modes.tell(&mut info);
        info.stdin_taken = self.stdin.as_ref().is_some_and(Input::is_taken);
        info.stdout_taken = self.stdout.count().taken;
        info.stderr_taken = self.stderr.as_ref().is_some_and(|stderr| stderr.count().taken);
        if self.tty {
            // One connection for both directions.
            info.stdin_taken = info.stdout_taken;
        }
        if self.is_over() {
            info.exit = Some(self.answer()).into();
        }
        info
    }

    /// The process runs; else why not.
    fn running(&self) -> Result<(), AgentError> {
        let id = self.id.clone();
        match &*self.phase.borrow() {
            Phase::Running => Ok(()),
            Phase::Starting => Err(AgentError::ExecutionStarting { id }),
            Phase::Failed(_) | Phase::Ended(_) => Err(AgentError::ExecutionEnded { id }),
        }
    }

    /// Signals the process itself.
    pub(crate) fn signal(&self, number: i32) -> Result<(), AgentError> {
        if !(1..=64).contains(&number) {
            return Err(AgentError::Invalid { what: format!("{number} is no signal: give 1 to 64") });
        }
        self.running()?;
        let pidfd = lock(&self.live).pidfd.clone();
        let ended = || AgentError::ExecutionEnded { id: self.id.clone() };
        match signal(pidfd.ok_or_else(ended)?.as_fd(), number) {
            Err(Errno::ESRCH) => Err(ended()),
            result => result.step(|| format!("send signal {number} to execution '{}'", self.id)),
        }
    }

    /// Kills everything in the execution's cgroup; nothing to kill is no error, and what has not begun never will.
    pub(crate) fn kill(&self) -> Result<(), AgentError> {
        let cgroup = lock(&self.live).cgroup.clone();
        self.killed.store(true, Ordering::Relaxed);
        self.arrivals.notify_waiters();
        match cgroup {
            Some(cgroup) => cgroup.kill().step(|| format!("kill execution '{}'", self.id)),
            None => Ok(()),
        }
    }

    /// Sets the terminal's size; in force when this returns.
    pub(crate) fn resize(&self, size: WindowSize) -> Result<(), AgentError> {
        let no_terminal = || AgentError::NoTerminal { id: self.id.clone() };
        if !self.tty {
            return Err(no_terminal());
        }
        self.running()?;
        let terminal = lock(&self.live).terminal.clone().ok_or_else(no_terminal)?;
        resize(terminal.get_ref().as_fd(), size)
            .step(|| format!("resize the terminal of execution '{}'", self.id))
    }

    /// EOF on stdin after `total` bytes.
    pub(crate) fn close_stdin(&self, total: u64) {
        if self.tty {
            self.stdout.close_input(total);
        } else if let Some(stdin) = &self.stdin {
            stdin.close_at(total);
        }
    }

    /// Returns when the takers of its output have been given all there is.
    pub(crate) async fn delivered(&self) {
        self.stdout.delivered().await;
        if let Some(stderr) = &self.stderr {
            stderr.delivered().await;
        }
    }

    /// Its output streams.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = &Output> {
        std::iter::once(&self.stdout).chain(&self.stderr)
    }
}

/// Totals as a message.
pub(crate) fn on_wire(count: Count) -> StreamCount {
    StreamCount {
        total: count.total,
        dropped: count.dropped,
        closed: count.closed,
        first: count.first,
        taker: count.taker,
        ..StreamCount::default()
    }
}
