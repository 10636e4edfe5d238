//! Starts a process in a box: one round trip, its streams opened along with the call.

use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use boxlite_proto::agent::{self, ExecRequest, KillRequest, StartFailure};
use boxlite_proto::agent_ttrpc::AgentClient;
use boxlite_proto::stream::{BytesHeader, OLDEST, Which};
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::images::ProgressSink;
use crate::litebox::command::{BoxCommand, OutputMode, StdinMode};
use crate::litebox::core::Core;
use crate::litebox::execution::{Execution, KillOnDrop, Pipes};
use crate::litebox::live::{LiveBox, Recipe};
use crate::litebox::spec::{BoxImage, BoxSpec, merge_env};
use crate::litebox::{LiteBox, start, streams};
use crate::model::id::mint_text;
use crate::portal;

/// Characters of an execution's id.
const ID_LENGTH: usize = 16;

/// Most bytes of arguments and environment together that Linux takes, with the usual limit of the stack.
const LONGEST_COMMAND: usize = 2 * 1024 * 1024;

/// How long a box may take to go down before an exec gives up on it.
const GOING_DOWN: Duration = Duration::from_secs(12);

/// Which streams to open along with the call.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
}

/// The streams that were opened.
#[derive(Debug, Default)]
pub(super) struct Opened {
    pub(super) stdin: Option<UnixStream>,
    pub(super) stdout: Option<UnixStream>,
    pub(super) stderr: Option<UnixStream>,
}

/// Starts `command` with no stream opened. Whoever it was started for releases it, the last to do so: a caller that leaves
/// on the way to it leaves no process.
pub(super) async fn begin(
    sandbox: &LiteBox,
    command: BoxCommand,
    progress: &ProgressSink,
) -> BoxliteResult<KillOnDrop> {
    begin_with(sandbox, command, Wanted::default(), progress).await.map(|(execution, _)| execution)
}

/// Starts `command` and opens the wanted streams; the process starts when they are there. When the caller leaves
/// meanwhile, no process is left.
pub(super) async fn begin_with(
    sandbox: &LiteBox,
    command: BoxCommand,
    wanted: Wanted,
    progress: &ProgressSink,
) -> BoxliteResult<(KillOnDrop, Opened)> {
    command.check()?;
    let live = reach(sandbox, progress).await?;
    begin_in(&sandbox.core, live, command, wanted).await
}

/// As [`begin_with`], in a box that is known to run.
pub(super) async fn begin_in(
    core: &Arc<Core>,
    live: Arc<LiveBox>,
    command: BoxCommand,
    wanted: Wanted,
) -> BoxliteResult<(KillOnDrop, Opened)> {
    let Recipe { spec, image } = live.recipe()?;
    let request = request(&command, spec, image, wanted)?;

    // Once the call is on its way only its answer tells what to kill: so a task of its own waits for it.
    let (claim, claimed) = oneshot::channel();
    let (launching, counted) = (core.clone(), live.clone());
    core.executor.handle().spawn(async move {
        let began = Instant::now();
        // Nobody claims it: it comes back, is dropped, and so killed.
        let launched = match launch(&launching, live.clone(), request, wanted, &command).await {
            Err(error) => Err(live.explain(error).await),
            launched => launched,
        };
        note(&launching, &counted, &command, launched.is_ok(), began);
        let _ = claim.send(launched);
    });
    claimed.await.map_err(|_| BoxliteError::Stopped("the runtime was shut down".into()))?
}

/// Takes note that a command was started, or could not be, and for how long it was the agent's.
pub(super) fn note(core: &Core, live: &LiveBox, command: &BoxCommand, started: bool, began: Instant) {
    if !command.is_warm_up {
        for counters in [&core.counters.commands, live.commands()] {
            if started { counters.started.add() } else { counters.failed.add() }
        }
    }
    if core.trace.is_on() {
        let name = format!("exec {}", command.argv[0].to_string_lossy());
        core.trace.operation(live.id().as_str(), &name, began.elapsed());
    }
}

/// The running box with its agent at the other end. One that is just going down is waited for, and started again.
pub(super) async fn reach(sandbox: &LiteBox, progress: &ProgressSink) -> BoxliteResult<Arc<LiveBox>> {
    let live = start::ensure_running(sandbox, progress).await?.keep();
    match live.portal().connect().await {
        Ok(()) => return Ok(live),
        Err(BoxliteError::Stopped(_) | BoxliteError::Portal(_)) => {}
        Err(error) => return Err(error),
    }
    // A box that does not end is told from one that does by the second try's error.
    let _ = tokio::time::timeout(GOING_DOWN, live.process().ended()).await;
    let live = start::ensure_running(sandbox, progress).await?.keep();
    match live.portal().connect().await {
        Ok(()) => Ok(live),
        Err(error) => Err(live.explain(error).await),
    }
}

async fn launch(
    core: &Arc<Core>,
    live: Arc<LiveBox>,
    request: ExecRequest,
    wanted: Wanted,
    command: &BoxCommand,
) -> BoxliteResult<(KillOnDrop, Opened)> {
    let (asked, taker) = (&request, streams::new_taker());
    let call = live
        .portal()
        .call("exec", |agent: AgentClient| async move { agent.exec(portal::patient(), asked).await });
    let opening = async {
        let opened = open_all(&live, &request.id, wanted, taker, true).await;
        if opened.is_err() {
            // The agent would wait for a stream that doesn't come.
            call_off(&live, &request.id).await;
        }
        opened
    };
    let (answer, opened) = tokio::join!(call, opening);
    if let Some(failure) = answer?.failure.into_option() {
        // It was called off for want of a stream, or it could not be started.
        opened?;
        return Err(did_not_start(command, &failure));
    }
    let pipes = Pipes::of(&request);
    let started = KillOnDrop::new(Execution::new(core, live, request.id, pipes, taker));
    Ok((started, opened?))
}

/// Kills a command whose call is on its way, whether it has begun or not.
pub(super) async fn call_off(live: &LiveBox, execution: &str) {
    let order = KillRequest { id: execution.to_owned(), expected: true, ..KillRequest::default() };
    let kill = |agent: AgentClient| async move { agent.kill(portal::patient(), &order).await };
    // What it answers is of no use: the command's own answer tells its end.
    let _ = live.portal().call("kill", kill).await;
}

/// The streams of a command that runs.
pub(super) async fn take(execution: &Execution, wanted: Wanted) -> BoxliteResult<Opened> {
    open_all(execution.live(), execution.id(), wanted, execution.taker(), false).await
}

async fn open_all(
    live: &LiveBox,
    execution: &str,
    wanted: Wanted,
    taker: u64,
    is_early: bool,
) -> BoxliteResult<Opened> {
    let header =
        |which| BytesHeader { which, execution: execution.to_owned(), offset: OLDEST, taker, is_early };
    let (stdin, stdout, stderr) = tokio::join!(
        open(live, wanted.stdin.then(|| header(Which::Stdin))),
        open(live, wanted.stdout.then(|| header(Which::Stdout))),
        open(live, wanted.stderr.then(|| header(Which::Stderr))),
    );
    Ok(Opened { stdin: stdin?, stdout: stdout?, stderr: stderr? })
}

async fn open(live: &LiveBox, header: Option<BytesHeader>) -> BoxliteResult<Option<UnixStream>> {
    match header {
        Some(header) => live.portal().bytes(&header).await.map(Some),
        None => Ok(None),
    }
}

impl Pipes {
    /// Those of a command that is started by this call.
    pub(super) fn of(request: &ExecRequest) -> Self {
        let piped = !request.tty;
        Self {
            tty: request.tty,
            stdin: piped && request.stdin != agent::StdinMode::STDIN_NULL.into(),
            stderr: piped && !request.merge_stderr,
        }
    }
}

/// The lower one of the command's limit and the box's. Programs of the agent's own are no commands of the box.
fn open_files(command: &BoxCommand, spec: &BoxSpec) -> Option<u64> {
    let of_box = spec.options.max_open_files.filter(|_| !command.own_program).map(u64::from);
    command.limits.open_files.into_iter().chain(of_box).min()
}

/// The call that starts `command`, under a new id.
pub(super) fn request(
    command: &BoxCommand,
    spec: &BoxSpec,
    image: &BoxImage,
    wanted: Wanted,
) -> BoxliteResult<ExecRequest> {
    let stdin = command.stdin.unwrap_or(if command.tty || spec.options.detach {
        StdinMode::Keep
    } else {
        StdinMode::Once
    });
    let mut limits = agent::Limits::new();
    limits.pids = command.limits.pids.unwrap_or(0);
    limits.memory_bytes = command.limits.memory_bytes.unwrap_or(0);
    limits.open_files = open_files(command, spec).unwrap_or(0);
    limits.cpu_millis = command.limits.cpu_millis.unwrap_or(0);
    let request = ExecRequest {
        id: mint_text(ID_LENGTH),
        argv: command.argv.iter().map(|arg| arg.as_bytes().to_vec()).collect(),
        env: merge_env(image, spec, &command.env),
        cwd: working_dir(command, spec, image),
        user: command
            .user
            .clone()
            .or_else(|| spec.options.user.clone())
            .unwrap_or_else(|| image.user.clone()),
        tty: command.tty,
        rows: command.tty_size.0.into(),
        cols: command.tty_size.1.into(),
        stdin: match stdin {
            StdinMode::Null => agent::StdinMode::STDIN_NULL,
            StdinMode::Once => agent::StdinMode::STDIN_ONCE,
            StdinMode::Keep => agent::StdinMode::STDIN_KEEP,
        }
        .into(),
        stdout: output_mode(command.stdout).into(),
        stderr: output_mode(command.stderr).into(),
        merge_stderr: command.merge_stderr,
        timeout_ms: command.timeout.map_or(0, |timeout| (timeout.as_millis() as u64).max(1)),
        await_stdin: wanted.stdin,
        await_stdout: wanted.stdout,
        await_stderr: wanted.stderr,
        limits: Some(limits).into(),
        own_program: command.own_program,
        ..ExecRequest::default()
    };
    check_length(command, &request)?;
    Ok(request)
}

fn output_mode(mode: OutputMode) -> agent::OutputMode {
    match mode {
        OutputMode::Retain => agent::OutputMode::OUTPUT_RETAIN,
        OutputMode::Pipe => agent::OutputMode::OUTPUT_PIPE,
        OutputMode::Null => agent::OutputMode::OUTPUT_NULL,
    }
}

fn working_dir(command: &BoxCommand, spec: &BoxSpec, image: &BoxImage) -> Vec<u8> {
    if let Some(dir) = &command.working_dir {
        return dir.as_bytes().to_vec();
    }
    if let Some(dir) = &spec.extras.working_dir {
        return dir.0.clone();
    }
    match &spec.options.working_dir {
        Some(dir) => dir.as_bytes().to_vec(),
        None => image.working_dir.as_bytes().to_vec(),
    }
}

/// What the guest's kernel would refuse is refused here, before it exceeds what a message may hold.
fn check_length(command: &BoxCommand, request: &ExecRequest) -> BoxliteResult<()> {
    // As the kernel counts: each with its NUL and a pointer.
    let texts = request.argv.iter().chain(&request.env);
    let length: usize = texts.map(|text| text.len() + 1 + size_of::<u64>()).sum();
    if length <= LONGEST_COMMAND {
        return Ok(());
    }
    let message =
        format!("arguments and environment are too long: {length} bytes, {LONGEST_COMMAND} are the most");
    let failure = StartFailure {
        exit_code: 126,
        os_errno: libc::E2BIG.unsigned_abs(),
        message,
        ..StartFailure::default()
    };
    Err(did_not_start(command, &failure))
}

pub(super) fn did_not_start(command: &BoxCommand, failure: &StartFailure) -> BoxliteError {
    let name = command.argv[0].to_string_lossy().into_owned();
    let exit_code = i32::try_from(failure.exit_code).unwrap_or(127);
    let mut detail = Detail::new(format!("cannot start {name:?}: {}", failure.message)).subject(name);
    if matches!(exit_code, 126 | 127) {
        detail = detail.exit_code(exit_code);
    }
    if failure.os_errno != 0 {
        detail = detail.errno(i32::try_from(failure.os_errno).unwrap_or(0));
    }
    BoxliteError::Execution(detail.hint(match exit_code {
        126 if failure.os_errno == libc::E2BIG.unsigned_abs() => "give the data by stdin or in a file",
        127 => "check the command's name and the PATH of the image",
        126 => "check that the file is executable and made for this CPU",
        _ => "check the user, the working directory and the limits given",
    }))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn arguments_and_values_travel_as_bytes() {
        let odd = OsString::from_vec(b"\xff\xfe".to_vec());
        let command = BoxCommand::new("printf").arg(&odd).env("ODD", &odd);
        let spec = BoxSpec { options: Default::default(), extras: Default::default() };
        let request = request(&command, &spec, &BoxImage::default(), Wanted::default()).unwrap();
        assert_eq!(request.argv[1], b"\xff\xfe");
        assert!(request.env.contains(&b"ODD=\xff\xfe".to_vec()));
    }
}
