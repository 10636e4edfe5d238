//! The executions of a running box: who they are, and how to take one up again, from any process.

use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use boxlite_proto::agent::{self, Empty};
use boxlite_proto::agent_ttrpc::AgentClient;

use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::litebox::command::{OutputMode, StdinMode};
use crate::litebox::execution::{ExecExit, Execution, ExecutionId, Pipes};
use crate::litebox::live::LiveBox;
use crate::litebox::{LiteBox, start, streams};
use crate::portal;

/// A command that runs in a box, or one of the newest 64 that have ended since the box started.
#[derive(Clone, Debug)]
pub struct ExecutionInfo {
    /// What to attach to it by.
    pub id: ExecutionId,
    /// Its program and arguments.
    pub argv: Vec<std::ffi::OsString>,
    /// When it was started, by the box's clock.
    pub started_at: SystemTime,
    /// It has a terminal.
    pub tty: bool,
    /// What its stdin is.
    pub stdin: StdinMode,
    /// What becomes of its stdout, or of what comes from its terminal.
    pub stdout: OutputMode,
    /// What becomes of its stderr.
    pub stderr: OutputMode,
    /// Its stderr is written where its stdout is, as it always is with a terminal: there is no stream of its own.
    pub merge_stderr: bool,
    /// Somebody is connected to its stdin, or to its terminal.
    pub stdin_taken: bool,
    /// Somebody is connected to its stdout, or to its terminal.
    pub stdout_taken: bool,
    /// Somebody is connected to its stderr.
    pub stderr_taken: bool,
    /// How it ended; `None` while it runs.
    pub exit: Option<ExecExit>,
}

impl From<agent::ExecutionInfo> for ExecutionInfo {
    fn from(info: agent::ExecutionInfo) -> Self {
        let output = |mode: agent::OutputMode| match mode {
            agent::OutputMode::OUTPUT_RETAIN => OutputMode::Retain,
            agent::OutputMode::OUTPUT_PIPE => OutputMode::Pipe,
            agent::OutputMode::OUTPUT_NULL => OutputMode::Null,
        };
        Self {
            id: info.id,
            argv: info.argv.into_iter().map(std::ffi::OsString::from_vec).collect(),
            started_at: SystemTime::UNIX_EPOCH
                + Duration::from_nanos(u64::try_from(info.started_ns).unwrap_or_default()),
            tty: info.tty,
            stdin: match info.stdin.enum_value_or_default() {
                agent::StdinMode::STDIN_NULL => StdinMode::Null,
                agent::StdinMode::STDIN_ONCE => StdinMode::Once,
                agent::StdinMode::STDIN_KEEP => StdinMode::Keep,
            },
            stdout: output(info.stdout.enum_value_or_default()),
            stderr: output(info.stderr.enum_value_or_default()),
            merge_stderr: info.merge_stderr,
            stdin_taken: info.stdin_taken,
            stdout_taken: info.stdout_taken,
            stderr_taken: info.stderr_taken,
            exit: info.exit.into_option().map(|exit| ExecExit::from(&exit)),
        }
    }
}

impl LiteBox {
    /// The box's commands, in the order they were started. A box that doesn't run has none.
    ///
    /// # Errors
    /// `Stopped` after [`LiteBox::stop`] or the runtime's shutdown, `NotFound` when the box was removed.
    pub async fn executions(&self) -> BoxliteResult<Vec<ExecutionInfo>> {
        self.check_usable()?;
        let sandbox = self.clone();
        self.core
            .run(async move {
                match running(&sandbox).await? {
                    None => Ok(Vec::new()),
                    Some(live) => ask(&live).await,
                }
            })
            .await
    }

    /// Takes up a command by its id, whoever started it: a take of one of its streams takes over from whom had it.
    ///
    /// # Errors
    /// `NotFound` when the box has no such command; else as [`LiteBox::executions`].
    pub async fn attach(&self, execution: &str) -> BoxliteResult<Execution> {
        self.attach_as(execution).await.map(|(execution, _)| execution)
    }

    /// As [`LiteBox::attach`], with what the list says of the command.
    pub(crate) async fn attach_as(&self, execution: &str) -> BoxliteResult<(Execution, ExecutionInfo)> {
        self.check_usable()?;
        let (sandbox, wanted) = (self.clone(), execution.to_owned());
        self.core
            .run(async move {
                let unknown = || {
                    BoxliteError::NotFound(
                        Detail::new(format!("box {} has no command with the id {wanted:?}", sandbox.id))
                            .subject(wanted.clone())
                            .hint("list the box's executions; ended ones are known until 64 more have ended, or \
                                   the box stops"),
                    )
                };
                let live = running(&sandbox).await?.ok_or_else(unknown)?;
                let found = ask(&live).await?.into_iter().find(|info| info.id == wanted).ok_or_else(unknown)?;
                let pipes = Pipes {
                    tty: found.tty,
                    stdin: !found.tty && found.stdin != StdinMode::Null,
                    stderr: !found.merge_stderr,
                };
                let (id, taker) = (found.id.clone(), streams::new_taker());
                Ok((Execution::new(&sandbox.core, live, id, pipes, taker), found))
            })
            .await
    }
}

/// The box if it runs, taken up where need be; it is never started.
pub(super) async fn running(sandbox: &LiteBox) -> BoxliteResult<Option<Arc<LiveBox>>> {
    let (core, id) = (&sandbox.core, &sandbox.id);
    if let Some(live) = core.live(id) {
        return Ok(Some(live));
    }
    let held = core.hold(id, "take up").await?.ok_or_else(|| start::gone(id))?;
    start::adopt(core, held.row())
}

async fn ask(live: &LiveBox) -> BoxliteResult<Vec<ExecutionInfo>> {
    let call =
        |agent: AgentClient| async move { agent.executions(portal::patient(), &Empty::default()).await };
    match live.portal().call("executions", call).await {
        Ok(answer) => {
            let mut all: Vec<_> = answer.executions.into_iter().map(ExecutionInfo::from).collect();
            all.sort_by_key(|info| info.started_at);
            Ok(all)
        }
        Err(error) => Err(live.explain(error).await),
    }
}
