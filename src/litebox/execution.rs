//! A process in a box: its end, its signals, its streams.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use boxlite_proto::agent::{
    Empty, KillRequest, ResizeTtyRequest, SignalRequest, StreamCount, WaitRequest, WaitResponse,
};
use boxlite_proto::agent_ttrpc::AgentClient;
use boxlite_proto::stream::Which;
use tokio::sync::oneshot;

use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::litebox::core::{Core, Once};
use crate::litebox::live::LiveBox;
use crate::litebox::streams::{self, ExecStderr, ExecStdin, ExecStdout, Halves, Output, Source};
use crate::portal;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecExit {
    /// Its exit code; meaningless when `signal` is set.
    pub exit_code: i32,
    /// The signal it died of, or 0.
    pub signal: i32,
    /// It was killed because its time was up.
    pub timed_out: bool,
    /// It was killed because its memory limit was reached.
    pub oom_killed: bool,
}

/// How a process ended, in one number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecResult {
    /// Its exit code; minus the signal's number when it died of one.
    pub exit_code: i32,
    /// What there is to say besides, such as that it timed out, or that a stream of its text broke off before its end, once
    /// a reader has come to that.
    pub error_message: Option<String>,
}

impl ExecResult {
    /// Whether the exit code is 0.
    pub fn success(&self) -> bool {
        self.exit_code == 0
    }

    /// The exit code.
    pub fn code(&self) -> i32 {
        self.exit_code
    }
}

impl From<ExecExit> for ExecResult {
    fn from(exit: ExecExit) -> Self {
        let error_message = match exit {
            ExecExit { timed_out: true, .. } => Some("the command's time was up".to_owned()),
            ExecExit { oom_killed: true, .. } => Some("the command reached its memory limit".to_owned()),
            _ => None,
        };
        Self { exit_code: if exit.signal == 0 { exit.exit_code } else { -exit.signal }, error_message }
    }
}

/// An execution's id.
pub type ExecutionId = String;

/// The end of a process with the byte counts of its streams at that moment.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) exit: ExecExit,
    pub(super) stdout: StreamCount,
    pub(super) stderr: StreamCount,
}

/// A command that runs, or has run. Clones are the same execution. Dropping it ends nothing.
#[derive(Clone)]
pub struct Execution {
    shared: Arc<Shared>,
}

struct Shared {
    id: String,
    core: Arc<Core>,
    live: Arc<LiveBox>,
    pipes: Pipes,
    /// By which the agent knows who takes streams through this.
    taker: u64,
    end: Once<BoxliteResult<Ended>>,
    /// What a stream of text that was cut off would have said.
    cut: Arc<OnceLock<String>>,
    taken: Mutex<Taken>,
}

/// Which streams a command has besides stdout.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pipes {
    /// One stream for both directions, stdout's.
    pub(super) tty: bool,
    pub(super) stdin: bool,
    pub(super) stderr: bool,
}

/// What was taken already.
#[derive(Default)]
struct Taken {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    /// A terminal is one connection for both directions: made by the first take, its other half waits here.
    terminal: Option<Halves>,
}

impl std::fmt::Debug for Execution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Execution").field("id", &self.shared.id).finish_non_exhaustive()
    }
}

impl Execution {
    /// Takes note of a started execution and begins to wait for its end, so that the answer outlives the box.
    /// `taker` is a number of its own.
    pub(super) fn new(core: &Arc<Core>, live: Arc<LiveBox>, id: String, pipes: Pipes, taker: u64) -> Self {
        let (set_end, end) = Once::new();
        let (portal, waited_for) = (live.portal().clone(), id.clone());
        core.executor.handle().spawn(async move {
            let request = WaitRequest { id: waited_for, ..WaitRequest::default() };
            let call = |agent: AgentClient| async move { agent.wait(portal::patient(), &request).await };
            let answer = portal.call("wait", call).await.map_err(|error| match error {
                BoxliteError::RpcTransport(_) | BoxliteError::Portal(_) => {
                    BoxliteError::Stopped(Detail::new("the box ended before the command did"))
                }
                other => other,
            });
            // Nobody may hold the execution any more.
            let _ = set_end.send(Some(answer.map(|answer| Ended::new(answer, taker))));
        });
        let (core, cut, taken) = (core.clone(), Arc::default(), Mutex::default());
        Self { shared: Arc::new(Shared { id, core, live, pipes, taker, end, cut, taken }) }
    }

    /// The execution's id, unique in its box.
    pub fn id(&self) -> &ExecutionId {
        &self.shared.id
    }

    /// The way to write to the process; once. There is none when it reads `/dev/null`.
    pub fn stdin(&mut self) -> Option<ExecStdin> {
        let Pipes { tty, stdin, .. } = self.shared.pipes;
        let mut taken = self.taken();
        if !(tty || stdin) || std::mem::replace(&mut taken.stdin, true) {
            return None;
        }
        if tty {
            let halves = self.terminal(&mut taken);
            let write = std::mem::replace(&mut halves.write, closed());
            return Some(ExecStdin::new(Some(self.source(Which::Stdin)), write, None));
        }
        let halves = self.halves(Which::Stdin);
        Some(ExecStdin::new(Some(self.source(Which::Stdin)), halves.write, Some(halves.read)))
    }

    /// What the process writes to stdout, from the oldest byte still kept; once.
    pub fn stdout(&mut self) -> Option<ExecStdout> {
        let mut taken = self.taken();
        if std::mem::replace(&mut taken.stdout, true) {
            return None;
        }
        let source = self.source(Which::Stdout);
        if self.shared.pipes.tty {
            let halves = self.terminal(&mut taken);
            let read = std::mem::replace(&mut halves.read, closed());
            return Some(ExecStdout::new(Output::new(source, read, None)));
        }
        let halves = self.halves(Which::Stdout);
        Some(ExecStdout::new(Output::new(source, halves.read, Some(halves.write))))
    }

    /// What the process writes to stderr, from the oldest byte still kept; once. There is none with a terminal, nor when
    /// stderr is merged into stdout.
    pub fn stderr(&mut self) -> Option<ExecStderr> {
        if !self.shared.pipes.stderr || std::mem::replace(&mut self.taken().stderr, true) {
            return None;
        }
        let halves = self.halves(Which::Stderr);
        Some(ExecStderr::new(Output::new(self.source(Which::Stderr), halves.read, Some(halves.write))))
    }

    /// Waits for the process to end. May be called any number of times, from anywhere, with the same answer; only that a
    /// stream of text was cut off is told by those after it.
    ///
    /// # Errors
    /// `Stopped` when the VM ended without having told how the process did.
    pub async fn wait(&self) -> BoxliteResult<ExecResult> {
        let mut result = ExecResult::from(self.exit().await?);
        result.error_message = result.error_message.or_else(|| self.shared.cut.get().cloned());
        Ok(result)
    }

    /// Like [`Execution::wait`], with exit code, signal and cause apart.
    ///
    /// # Errors
    /// As [`Execution::wait`].
    pub async fn exit(&self) -> BoxliteResult<ExecExit> {
        Ok(self.ended().await?.exit)
    }

    /// Kills all of the execution's processes, also those in sessions of their own.
    pub async fn kill(&self) -> BoxliteResult<()> {
        let request = KillRequest { id: self.shared.id.clone(), ..KillRequest::default() };
        self.ask("kill", |agent| async move { agent.kill(portal::patient(), &request).await }).await
    }

    /// Sends a signal to the process itself.
    ///
    /// # Errors
    /// `InvalidState` when the process has ended, `InvalidArgument` when `signal` isn't 1 to 64.
    pub async fn signal(&self, signal: i32) -> BoxliteResult<()> {
        let request = SignalRequest { id: self.shared.id.clone(), signal, ..SignalRequest::default() };
        let asked =
            self.ask("signal", |agent| async move { agent.signal(portal::patient(), &request).await });
        asked.await.map_err(|error| match error {
            BoxliteError::InvalidState(_) => {
                error.with_hint("signal a command while it runs; wait for it to learn how it has ended")
            }
            BoxliteError::InvalidArgument(_) => error.with_hint("use a signal's number, 1 to 64"),
            error => error,
        })
    }

    /// Gives the terminal a new size; in force when this returns.
    ///
    /// # Errors
    /// `InvalidArgument` when it is larger than a terminal can be, `InvalidState` when there is no terminal.
    pub async fn resize_tty(&self, rows: u32, cols: u32) -> BoxliteResult<()> {
        if rows.max(cols) > u16::MAX.into() {
            return Err(BoxliteError::InvalidArgument(
                Detail::new(format!("a terminal of {rows} rows and {cols} columns is too large"))
                    .subject("resize_tty")
                    .hint("use 65535 rows and columns at most"),
            ));
        }
        let request =
            ResizeTtyRequest { id: self.shared.id.clone(), rows, cols, ..ResizeTtyRequest::default() };
        let asked =
            self.ask("resize", |agent| async move { agent.resize_tty(portal::patient(), &request).await });
        asked.await.map_err(|error| match error {
            BoxliteError::InvalidState(_) => {
                error.with_hint("resize a command that runs and was started with a terminal")
            }
            error => error,
        })
    }

    /// One call to the agent, on the runtime's threads. Errors that are about nothing else are about the execution.
    pub(super) async fn ask<F>(
        &self,
        name: &'static str,
        call: impl FnOnce(AgentClient) -> F + Send + 'static,
    ) -> BoxliteResult<()>
    where
        F: Future<Output = ttrpc::Result<Empty>> + Send + 'static,
    {
        let live = self.shared.live.clone();
        let asked = async move {
            match live.portal().call(name, call).await {
                Ok(_) => Ok(()),
                Err(error) => Err(live.explain(error).await),
            }
        };
        self.shared.core.run(asked).await.map_err(|error| match error.subject() {
            Some(_) => error,
            None => error.with_subject(&self.shared.id),
        })
    }

    /// Whether it has a terminal.
    pub fn has_tty(&self) -> bool {
        self.shared.pipes.tty
    }

    pub(super) fn taker(&self) -> u64 {
        self.shared.taker
    }

    pub(crate) fn handle(&self) -> tokio::runtime::Handle {
        self.shared.core.executor.handle().clone()
    }

    pub(super) fn live(&self) -> &Arc<LiveBox> {
        &self.shared.live
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        &self.shared.core
    }

    /// The process's end, when it has come.
    pub(super) fn end(&self) -> Once<BoxliteResult<Ended>> {
        self.shared.end.clone()
    }

    pub(super) async fn ended(&self) -> BoxliteResult<Ended> {
        self.shared.core.check_process()?;
        let gone = || BoxliteError::Stopped(Detail::new("the runtime ended before the command did"));
        self.shared.end.get().await.unwrap_or_else(|| Err(gone()))
    }

    pub(super) fn source(&self, which: Which) -> Source {
        Source {
            handle: self.shared.core.executor.handle().clone(),
            live: self.shared.live.clone(),
            execution: self.shared.id.clone(),
            which,
            taker: self.shared.taker,
            end: self.shared.end.clone(),
            cut: self.shared.cut.clone(),
        }
    }

    fn halves(&self, which: Which) -> Halves {
        streams::connect(&self.source(which))
    }

    fn terminal<'a>(&self, taken: &'a mut Taken) -> &'a mut Halves {
        taken.terminal.get_or_insert_with(|| self.halves(Which::Stdout))
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.shared.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stands in for a half that was taken.
fn closed<T>() -> oneshot::Receiver<T> {
    oneshot::channel().1
}

/// How long an execution that is asked to end has for that.
const ASKED_TO_END: Duration = Duration::from_secs(2);

/// An execution that is killed at drop, unless it was released before.
pub(super) struct KillOnDrop {
    execution: Execution,
    armed: bool,
    /// SIGTERM comes first.
    asks: bool,
}

impl KillOnDrop {
    pub(super) fn new(execution: Execution) -> Self {
        Self { execution, armed: true, asks: false }
    }

    /// The same of one that ends by itself when it is asked to, once it has nothing half done.
    pub(super) fn asking(mut self) -> Self {
        self.asks = true;
        self
    }

    /// The execution, which stays in danger.
    pub(super) fn execution(&self) -> &Execution {
        &self.execution
    }

    /// The execution, which from now on lives as long as it likes.
    pub(super) fn release(mut self) -> Execution {
        self.armed = false;
        self.execution.clone()
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if self.armed {
            let (execution, asks) = (self.execution.clone(), self.asks);
            self.execution.shared.core.executor.handle().spawn(async move {
                if asks && execution.signal(libc::SIGTERM).await.is_ok() {
                    let _ = tokio::time::timeout(ASKED_TO_END, execution.ended()).await;
                }
                execution.kill().await
            });
        }
    }
}

impl From<&WaitResponse> for ExecExit {
    fn from(answer: &WaitResponse) -> Self {
        Self {
            exit_code: answer.exit_code,
            signal: answer.signal,
            timed_out: answer.timed_out,
            oom_killed: answer.oom_killed,
        }
    }
}

impl Ended {
    /// As this taker sees it: where another began is nothing to it, and 0 never makes too few bytes look whole.
    fn new(answer: WaitResponse, taker: u64) -> Self {
        let seen = |count: Option<StreamCount>| {
            let count = count.unwrap_or_default();
            StreamCount { first: if count.taker == taker { count.first } else { 0 }, ..count }
        };
        let exit = ExecExit::from(&answer);
        Self { exit, stdout: seen(answer.stdout.into_option()), stderr: seen(answer.stderr.into_option()) }
    }
}
