//! All executions of the box: starting them, finding them, forgetting them.
//!
//! Owns the table of executions and the rules of their ids. What one execution is, `execution` says.

pub(crate) mod child;
pub(crate) mod execution;
mod failure;
mod spawn;
mod stdio;
mod strings;
mod supervise;
mod users;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use boxlite_proto::agent;
use boxlite_proto::agent::{ExecRequest, StartFailure};
use boxlite_proto::stream::{BytesHeader, Which};
use tokio::io::Interest;
use tokio::sync::{Notify, watch};
use yamux::Stream;

use crate::cgroup::{Bounds, BoxCgroup};
use crate::error::AgentError;
use crate::init::BoxInit;
use crate::streams::input::Input;
use crate::streams::output::Output;
use crate::streams::parking::Parking;
use crate::streams::{InputMode, OutputMode, Taker};
use crate::sys::tty::WindowSize;
use crate::sys::{lock, register};

use execution::{Execution, Live, Phase};
use stdio::Wanted;

/// How many ended executions stay attachable.
const KEPT: usize = 64;
/// How many ended ones of our own stay, for the host's last questions.
const OWN_KEPT: usize = 16;
/// Output that ended executions may keep in all, in bytes; less where the VM is small.
const KEPT_BYTES: u64 = 16 * 1024 * 1024;
/// Part of the VM's memory that such output may take.
const KEPT_SHARE: u64 = 32;
/// How long Wait waits for an Exec that is on its way.
const EXEC_ON_ITS_WAY: Duration = Duration::from_secs(10);

/// Where executions run.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) init: BoxInit,
    pub(crate) cgroup: BoxCgroup,
}

/// The executions.
#[derive(Debug)]
pub(crate) struct Table {
    list: Mutex<List>,
    parking: Arc<Parking>,
    additions: Notify,
    /// No process starts any more.
    closed: AtomicBool,
    kept_bytes: u64,
}

#[derive(Debug, Default)]
struct List {
    all: BTreeMap<String, Arc<Execution>>,
    /// Oldest first.
    ended: VecDeque<String>,
    /// Ended ones that ran a part of the agent, oldest first.
    own_ended: VecDeque<String>,
}

/// The modes of a request's three streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Modes {
    stdin: InputMode,
    stdout: OutputMode,
    stderr: OutputMode,
}

impl Modes {
    fn of(request: &ExecRequest) -> Self {
        let output = |mode: agent::OutputMode| match mode {
            agent::OutputMode::OUTPUT_RETAIN => OutputMode::Retain,
            agent::OutputMode::OUTPUT_PIPE => OutputMode::Pipe,
            agent::OutputMode::OUTPUT_NULL => OutputMode::Null,
        };
        let stdin = match request.stdin.enum_value_or_default() {
            agent::StdinMode::STDIN_NULL => InputMode::Null,
            agent::StdinMode::STDIN_ONCE => InputMode::Once,
            agent::StdinMode::STDIN_KEEP => InputMode::Keep,
        };
        let stdout = output(request.stdout.enum_value_or_default());
        let stderr = output(request.stderr.enum_value_or_default());
        // A terminal has output in any case.
        let stdout = if request.tty && stdout == OutputMode::Null { OutputMode::Retain } else { stdout };
        Self { stdin, stdout, stderr }
    }
}

impl Table {
    /// An empty table in a VM with so much memory.
    pub(crate) fn new(memory_bytes: u64) -> Self {
        Self {
            list: Mutex::default(),
            parking: Arc::default(),
            additions: Notify::new(),
            closed: AtomicBool::new(false),
            kept_bytes: KEPT_BYTES.min(memory_bytes / KEPT_SHARE),
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

    /// A byte stream has come: to its execution, or to wait for it.
    pub(crate) fn arrived(&self, header: BytesHeader, stream: Stream) {
        let taker = Taker { stream, offset: header.offset };
        match self.get(&header.execution) {
            Ok(execution) => execution.give(header.which, taker),
            Err(_) => self.parking.park(header.execution, header.which, taker),
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
            Ok(()) => begin(home, pending),
            Err(missing) => {
                let message = format!("the announced stream {missing:?} did not arrive within 5 seconds");
                Err(failure::before(None, message))
            }
        };
        // Nothing has been awaited since the process began, so its end can't have been noticed yet.
        execution.phase.send_replace(match &outcome {
            Ok(_) => Phase::Running,
            Err(failure) => Phase::Failed(failure.clone()),
        });
        self.forget_later(execution);
        outcome
    }

    /// Enters an execution into the table and gives it the streams that wait for it.
    pub(crate) fn add(&self, request: ExecRequest) -> Result<Pending, AgentError> {
        if request.id.is_empty() || request.id.len() > 255 {
            return Err(AgentError::Invalid { what: "an execution's id has 1 to 255 bytes".into() });
        }
        let modes = Modes::of(&request);
        let piped = !request.tty;
        let (stdin, feed) = match piped && modes.stdin != InputMode::Null {
            true => Some(Input::new(modes.stdin)).unzip(),
            false => (None, None),
        };
        let (stdout, out) = Output::new(modes.stdout);
        let (stderr, err) = match piped && !request.merge_stderr {
            true => Some(Output::new(modes.stderr)).unzip(),
            false => (None, None),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let execution = Arc::new(Execution {
            id: request.id.clone(),
            argv: request.argv.clone(),
            tty: request.tty,
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

    /// Keeps the newest ended executions, and a bounded amount of what they wrote.
    fn forget_later(self: &Arc<Self>, execution: Arc<Execution>) {
        let table = Arc::clone(self);
        tokio::spawn(async move {
            execution.over().await;
            let mut list = lock(&table.list);
            let List { all, ended, own_ended } = &mut *list;
            let (queue, most) = if execution.own_program { (own_ended, OWN_KEPT) } else { (ended, KEPT) };
            queue.push_back(execution.id.clone());
            while queue.len() > most {
                if let Some(id) = queue.pop_front() {
                    all.remove(&id);
                }
            }
            let mut kept = 0;
            for id in list.ended.iter().rev() {
                let Some(ended) = list.all.get(id) else { continue };
                kept += ended.held() as u64;
                if kept > table.kept_bytes && *id != execution.id {
                    ended.forget();
                }
            }
        });
    }
}

/// An execution whose process has not started, and what it will need.
#[derive(Debug)]
pub(crate) struct Pending {
    execution: Arc<Execution>,
    request: ExecRequest,
    modes: Modes,
    feed: Option<crate::streams::input::Waiting>,
    out: crate::streams::output::Waiting,
    err: Option<crate::streams::output::Waiting>,
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
fn begin(home: &Arc<Home>, pending: Pending) -> Result<u32, StartFailure> {
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
            merge_stderr: request.merge_stderr,
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
    let started = spawn::spawn(&home.init, &cgroup, request).and_then(|spawned| {
        let pidfd: OwnedFd = spawned.pidfd;
        let pidfd = Arc::new(register(pidfd, Interest::READABLE).map_err(refused)?);
        let streams = (spawned.stdin, spawned.stdout, spawned.stderr, spawned.terminal);
        Ok((pidfd, streams, spawned.report))
    });
    let (pidfd, (stdin, stdout, stderr, terminal), report) = match started {
        Ok(started) => started,
        Err(failure) => {
            // Nothing has ever run in it.
            let _ = cgroup.remove();
            return Err(failure);
        }
    };
    let cgroup = Arc::new(cgroup);
    *lock(&execution.live) =
        Live { pidfd: Some(Arc::clone(&pidfd)), terminal, cgroup: Some(Arc::clone(&cgroup)) };
    if let (Some(feed), Some(stdin)) = (feed, stdin) {
        feed.start(stdin);
    }
    out.start(stdout, modes.stdin);
    if let Some(err) = err {
        err.start(stderr, InputMode::Null);
    }
    let outcome = report.outcome();
    if outcome.is_ok() {
        tokio::spawn(supervise::supervise(execution, Arc::clone(home), pidfd, cgroup, timeout));
    } else {
        *lock(&execution.live) = Live::default();
        tokio::spawn(supervise::clear_away(pidfd, cgroup));
    }
    outcome
}

fn refused(error: io::Error) -> StartFailure {
    let errno = error.raw_os_error().map(nix::errno::Errno::from_raw);
    failure::before(errno, format!("the box has no room for another process: {error}"))
}
