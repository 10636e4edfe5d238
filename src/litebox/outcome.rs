//! Runs a command by one call, whose answer is its whole outcome: the way of commands with little output and no input.
//!
//! Owns the call and its cancelling. A command with more output than fits turns into an ordinary execution.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use boxlite_proto::agent::{ExecRequest, ExecResponse, StreamCount};
use boxlite_proto::agent_ttrpc::AgentClient;
use tokio::sync::oneshot;

use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::litebox::command::BoxCommand;
use crate::litebox::core::Core;
use crate::litebox::exec::{self, Wanted};
use crate::litebox::execution::{ExecExit, Execution, KillOnDrop, Pipes};
use crate::litebox::live::{LiveBox, Recipe};
use crate::{litebox::streams, portal};

/// Bytes of a stream that come with the answer: as much as a pipe holds.
const INLINE_BYTES: u32 = 64 * 1024;

/// A command on its way.
pub(super) struct Attempt {
    answer: oneshot::Receiver<BoxliteResult<Outcome>>,
    /// Its end, by use or by drop, kills the command.
    kill: Option<oneshot::Sender<()>>,
}

/// What became of it.
pub(super) enum Outcome {
    /// It has ended.
    Ended(Whole),
    /// It has written more than fits into an answer, and runs on unless it is dropped.
    RunsOn(KillOnDrop),
}

/// A command that has ended, and all it wrote.
pub(super) struct Whole {
    pub(super) exit: ExecExit,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    /// Others still hold its streams open.
    pub(super) still_open: bool,
}

impl Attempt {
    /// Sends the command on its way. `drain` is how long output is waited for that others than the process hold open.
    pub(super) fn begin(
        core: &Arc<Core>,
        live: Arc<LiveBox>,
        command: BoxCommand,
        drain: Duration,
    ) -> BoxliteResult<Self> {
        let Recipe { spec, image } = live.recipe()?;
        let mut request = exec::request(&command, spec, image, Wanted::default())?;
        request.inline_bytes = INLINE_BYTES;
        request.drain_ms = u64::try_from(drain.as_millis()).unwrap_or(u64::MAX);
        let (kill, killed) = oneshot::channel();
        let (give, answer) = oneshot::channel();
        let core = core.clone();
        // Of its own, so that what has begun is killed whenever the caller leaves.
        core.clone().executor.handle().spawn(async move {
            let began = Instant::now();
            let outcome = match call(&live, &request, killed).await {
                Ok(response) => read(&core, &live, &command, request, response),
                Err(error) => Err(live.explain(error).await),
            };
            exec::note(&core, &live, &command, outcome.is_ok(), began);
            // Nobody waits for it: one that runs on comes back, is dropped, and so killed.
            let _ = give.send(outcome);
        });
        Ok(Self { answer, kill: Some(kill) })
    }

    /// Waits for the outcome. May be dropped and called again.
    pub(super) async fn outcome(&mut self) -> BoxliteResult<Outcome> {
        let gone = |_| BoxliteError::Stopped(Detail::new("the runtime was shut down"));
        (&mut self.answer).await.map_err(gone)?
    }

    /// Kills all its processes.
    pub(super) fn kill(&mut self) {
        self.kill = None;
    }
}

/// The call; when `killed` ends before it is answered, the command is killed, whether it has begun or not.
async fn call(
    live: &LiveBox,
    request: &ExecRequest,
    killed: oneshot::Receiver<()>,
) -> BoxliteResult<ExecResponse> {
    let exec = |agent: AgentClient| async move { agent.exec(portal::patient(), request).await };
    let mut exec = std::pin::pin!(live.portal().call("exec", exec));
    tokio::select! {
        biased;
        answer = &mut exec => return answer,
        _ = killed => {}
    }
    let kill = async {
        exec::call_off(live, &request.id).await;
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        answer = exec => answer,
        never = kill => match never {},
    }
}

fn read(
    core: &Arc<Core>,
    live: &Arc<LiveBox>,
    command: &BoxCommand,
    request: ExecRequest,
    response: ExecResponse,
) -> BoxliteResult<Outcome> {
    if let Some(failure) = response.failure.into_option() {
        return Err(exec::did_not_start(command, &failure));
    }
    let Some(outcome) = response.outcome.into_option() else {
        let pipes = Pipes::of(&request);
        let execution = Execution::new(core, live.clone(), request.id, pipes, streams::new_taker());
        return Ok(Outcome::RunsOn(KillOnDrop::new(execution)));
    };
    let end = outcome.end.unwrap_or_default();
    if outcome.taken_over {
        return Err(BoxliteError::Execution(
            Detail::new("the command's output is incomplete: another taker has taken a stream over")
                .subject(request.id)
                .hint("attach to commands that were started as executions of their own"),
        ));
    }
    if outcome.given_up {
        return Err(BoxliteError::Execution(
            Detail::new("the command's output is incomplete: the box has given it up, with that of other commands")
                .subject(request.id)
                .hint("run fewer commands at once that leave processes in the background, or give the box more memory"),
        ));
    }
    let is_whole = |count: &StreamCount, bytes: &[u8]| count.closed && count.total == bytes.len() as u64;
    let still_open = !(is_whole(&end.stdout, &outcome.stdout) && is_whole(&end.stderr, &outcome.stderr));
    Ok(Outcome::Ended(Whole {
        exit: ExecExit::from(&end),
        stdout: outcome.stdout,
        stderr: outcome.stderr,
        still_open,
    }))
}
