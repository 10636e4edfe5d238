//! All executions of the box: starting them, finding them, forgetting them.
//!
//! Owns the table of executions and the rules of their ids. What one execution is, `execution` says.

pub(crate) mod child;
pub(crate) mod database;
pub(crate) mod execution;
mod failure;
mod kept;
mod modes;
mod spawn;
mod stdio;
mod strings;
mod supervise;
mod users;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use boxlite_proto::agent::{ExecRequest, StartFailure};
use boxlite_proto::stream::{BytesHeader, Which};
use tokio::sync::{Notify, watch};
use yamux::Stream;

use crate::cgroup::{Bounds, BoxCgroup};
use crate::error::AgentError;
use crate::init::BoxInit;
use crate::rootfs::files::Identity;
use crate::streams::input::Input;
use crate::streams::output::Output;
use crate::streams::parking::{self, Parking};
use crate::streams::{InputMode, Taker};
use crate::sys::eager::EagerFd;
use crate::sys::lock;
use crate::sys::tty::WindowSize;

use database::Database;
use execution::{Execution, Live, Phase};
use kept::Budget;
use modes::Modes;
use stdio::Wanted;
use supervise::Process;

/// How many ended executions stay attachable.
const KEPT: usize = 64;
/// How many ended ones of our own stay, for the host's last questions.
const OWN_KEPT: usize = 16;
/// How long Wait waits for an Exec that is on its way.
const EXEC_ON_ITS_WAY: Duration = Duration::from_secs(10);

/// Where executions run.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) init: BoxInit,
    pub(crate) cgroup: Arc<BoxCgroup>,
    /// What the host said of the box.
    pub(crate) identity: Identity,
    pub(crate) users: Database,
}

/// The executions.
#[derive(Debug)]
pub(crate) struct Table {
    list: Mutex<List>,
    parking: Arc<Parking>,
    additions: Notify,
    /// No process starts any more.
    closed: AtomicBool,
    budget: Budget,
}

#[derive(Debug, Default)]
struct List {
    all: BTreeMap<String, Arc<Execution>>,
    /// Oldest first.
    ended: VecDeque<String>,
    /// Ended ones that ran a part of the agent, oldest first.
    own_ended: VecDeque<String>,
}

impl Table {
    /// An empty table in a VM with so much memory.
    pub(crate) fn new(memory_bytes: u64) -> Self {
        Self {
            list: Mutex::default(),
            parking: Arc::default(),
            additions: Notify::new(),
            closed: AtomicBool::new(false),
            budget: Budget::new(memory_bytes),
        }
    }

    /// The execution with this id.
    pub(crate) fn get(&self, id: &str) -> Result<Arc<Execution>, AgentError> {
        let found = lock(&self.list).all.get(id).cloned();
        found.ok_or_else(|| AgentError::UnknownExecution { id: id.to_owned() })
    }

    /// The execution with this id, waiting for it when its Exec is still on its way.
    pub(crate) async fn expect(&self, id: &str) -> Result<Arc<Execution>, AgentError> {
        let coming = async {
            loop {
                let added = self.additions.notified();
                if let Ok(found) = self.get(id) {
                    return found;
                }
                added.await;
            }
        };
        let found = tokio::time::timeout(EXEC_ON_ITS_WAY, coming).await;
        found.map_err(|_| AgentError::UnknownExecution { id: id.to_owned() })
    }

    /// Lets no process start any more, also where one waits for its streams.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Forgets all of them, none of which may run any more.
    pub(crate) fn forget_all(&self) -> Result<(), AgentError> {
        let mut list = lock(&self.list);
        if let Some(running) = list.all.values().find(|execution| !execution.is_over()) {
            return Err(AgentError::Invalid { what: format!("execution '{}' still runs", running.id) });
        }
        *list = List::default();
        Ok(())
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<Execution>> {
        lock(&self.list).all.values().cloned().collect()
    }

    /// A byte stream has come: to its execution, or to wait for it. One whose execution was forgotten is dropped, which
    /// resets it.
    pub(crate) fn arrived(&self, header: BytesHeader, stream: Stream) {
        let taker = Taker { stream, offset: header.offset, name: header.taker };
        match self.get(&header.execution) {
            Ok(execution) => execution.give(header.which, taker),
            Err(_) if header.is_early => self.parking.park(header.execution, header.which, taker),
            Err(_) => {}
        }
    }

    /// Starts a process; returns when it runs (with the pid that the box sees) or has failed.
    pub(crate) async fn start(
        self: &Arc<Self>,
        home: &Arc<Home>,
        pending: Pending,
    ) -> Result<u32, StartFailure> {
        let execution = Arc::clone(&pending.execution);
        let outcome = match execution.arrivals(&announced(&pending.request)).await {
            Ok(()) if self.closed.load(Ordering::Relaxed) => {
                Err(failure::before(None, AgentError::PoweringOff.to_string()))
            }
            Ok(()) if execution.killed.load(Ordering::Relaxed) => {
                Err(failure::before(None, "the execution was killed before it began".into()))
            }
            Ok(()) => begin(self, home, pending),
            Err(missing) => {
                let seconds = parking::PATIENCE.as_secs();
                let message =
                    format!("the announced stream {missing:?} did not arrive within {seconds} seconds");
                Err(failure::before(None, message))
            }
        };
        // Nothing has been awaited since the process began, so its end can't have been noticed yet.
        match &outcome {
            Ok(_) => drop(execution.phase.send_replace(Phase::Running)),
            Err(failure) => {
                execution.phase.send_replace(Phase::Failed(failure.clone()));
                self.settle(&execution);
            }
        }
        outcome
    }

    /// Enters an execution into the table and gives it the streams that wait for it.
    pub(crate) fn add(&self, request: ExecRequest) -> Result<Pending, AgentError> {
        if request.id.is_empty() || request.id.len() > 255 {
            return Err(AgentError::Invalid { what: "an execution's id has 1 to 255 bytes".into() });
        }
        let modes = Modes::of(&request);
        let (stdin, feed) = match !request.tty && modes.stdin != InputMode::Null {
            true => Some(Input::new(modes.stdin)).unzip(),
            false => (None, None),
        };
        let gathered = request.inline_bytes.into();
        let (stdout, out) = Output::new(modes.stdout, gathered);
        let (stderr, err) = match !modes.merge_stderr {
            true => Some(Output::new(modes.stderr, gathered)).unzip(),
            false => (None, None),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let execution = Arc::new(Execution {
            id: request.id.clone(),
            argv: request.argv.clone(),
            tty: request.tty,
            modes,
            own_program: request.own_program,
            started_ns: i64::try_from(now.as_nanos()).unwrap_or(i64::MAX),
            phase: watch::Sender::new(Phase::Starting),
            live: Mutex::new(Live::default()),
            killed: AtomicBool::new(false),
            stdin,
            stdout,
            stderr,
            arrivals: Notify::new(),
        });
        {
            let mut list = lock(&self.list);
            if list.all.contains_key(&request.id) {
                return Err(AgentError::ExecutionExists { id: request.id.clone() });
            }
            list.all.insert(request.id.clone(), Arc::clone(&execution));
        }
        self.additions.notify_waiters();
        for which in [Which::Stdin, Which::Stdout, Which::Stderr] {
            if let Some(taker) = self.parking.claim(&request.id, which) {
                execution.give(which, taker);
            }
        }
        Ok(Pending { execution, request, modes, feed, out, err })
    }

    /// Keeps the newest ended executions, of which this is one now, and a bounded amount of what they wrote.
    pub(crate) fn settle(&self, execution: &Execution) {
        let mut list = lock(&self.list);
        let List { all, ended, own_ended } = &mut *list;
        // Forgotten with all the others.
        if !all.contains_key(&execution.id) {
            return;
        }
        let (queue, most) = if execution.own_program { (own_ended, OWN_KEPT) } else { (ended, KEPT) };
        queue.push_back(execution.id.clone());
        while queue.len() > most {
            if let Some(id) = queue.pop_front() {
                all.remove(&id);
            }
        }
        let newest_first = list.ended.iter().rev().filter_map(|id| list.all.get(id));
        self.budget.keep_to(newest_first.map(Arc::as_ref), &execution.id);
    }
}

/// An execution whose process has not started, and what it will need.
#[derive(Debug)]
pub(crate) struct Pending {
    execution: Arc<Execution>,
    request: ExecRequest,
    modes: Modes,
    feed: Option<crate::streams::input::Waiting>,
    out: crate::streams::pump::Waiting,
    err: Option<crate::streams::pump::Waiting>,
}

impl Pending {
    /// No stream has to come first: its start waits for nothing.
    pub(crate) fn awaits_nothing(&self) -> bool {
        announced(&self.request).is_empty()
    }

    /// The execution that it will be.
    pub(crate) fn execution(&self) -> Arc<Execution> {
        Arc::clone(&self.execution)
    }
}

/// The streams that the process must not start without.
fn announced(request: &ExecRequest) -> Vec<Which> {
    [
        (request.await_stdin, Which::Stdin),
        (request.await_stdout, Which::Stdout),
        (request.await_stderr, Which::Stderr),
    ]
    .into_iter()
    .filter_map(|(wanted, which)| wanted.then_some(which))
    .collect()
}

/// Makes the process and everything that goes with it.
fn begin(table: &Arc<Table>, home: &Arc<Home>, pending: Pending) -> Result<u32, StartFailure> {
    let Pending { execution, request, modes, feed, out, err } = pending;
    let limits = request.limits.get_or_default();
    let some = |value: u64| (value > 0).then_some(value);
    let bounds = Bounds {
        pids: some(limits.pids),
        memory_bytes: some(limits.memory_bytes),
        cpu_millis: some(limits.cpu_millis),
    };
    let wanted = match request.tty {
        true => Wanted::Terminal { size: WindowSize::from_wire(request.rows, request.cols) },
        false => Wanted::Pipes {
            stdin: modes.stdin,
            stdout: modes.stdout,
            stderr: modes.stderr,
            merge_stderr: modes.merge_stderr,
        },
    };
    let timeout = some(request.timeout_ms).map(Duration::from_millis);
    let open_files = some(limits.open_files);
    let cgroup = home.cgroup.create(bounds).map_err(refused)?;
    let request = spawn::Request {
        argv: request.argv,
        env: request.env,
        directory: request.cwd,
        user: request.user,
        open_files,
        wanted,
        own_program: request.own_program,
    };
    let spawn::Spawned { pidfd, begun, stdin, stdout, stderr, terminal } =
        match spawn::spawn(home, &cgroup, request) {
            Ok(spawned) => spawned,
            Err(failure) => {
                // Nothing has ever run in it.
                home.cgroup.take_back(cgroup);
                return Err(failure);
            }
        };
    let (cgroup, pidfd) = (Arc::new(cgroup), Arc::new(EagerFd::new(pidfd)));
    *lock(&execution.live) =
        Live { pidfd: Some(Arc::clone(&pidfd)), terminal, cgroup: Some(Arc::clone(&cgroup)) };
    if let (Some(feed), Some(stdin)) = (feed, stdin) {
        feed.start(stdin);
    }
    out.start(stdout, modes.stdin);
    if let Some(err) = err {
        err.start(stderr, InputMode::Null);
    }
    if begun.is_ok() {
        let process = Process { pidfd, cgroup, timeout };
        tokio::spawn(supervise::supervise(Arc::clone(table), Arc::clone(&home.cgroup), execution, process));
    } else {
        *lock(&execution.live) = Live::default();
        tokio::spawn(supervise::clear_away(Arc::clone(&home.cgroup), pidfd, cgroup));
    }
    begun
}

fn refused(error: io::Error) -> StartFailure {
    let errno = error.raw_os_error().map(nix::errno::Errno::from_raw);
    failure::before(errno, format!("the box has no room for another process: {error}"))
}
