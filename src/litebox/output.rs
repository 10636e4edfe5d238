//! Runs a command to its end and collects what it wrote: the work behind `boxlite_exec`.

use std::time::{Duration, Instant};

use boxlite_proto::stream::Which;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;

use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::images::ProgressSink;
use crate::litebox::command::{BoxCommand, OutputMode, StdinMode};
use crate::litebox::exec::{self, Wanted};
use crate::litebox::execution::{Ended, ExecExit, Execution, KillOnDrop};
use crate::litebox::{LiteBox, streams};

const CHUNK: usize = 256 * 1024;
/// How long a killed command's end is waited for.
const KILL_TIME: Duration = Duration::from_secs(3);

/// How to run a command to its end.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// What the command reads; empty: `/dev/null`.
    pub input: Vec<u8>,
    /// Bytes kept of each stream; the head is kept, the rest counted.
    pub max_output: u64,
    /// How long output is waited for after the process's end, when others still hold its pipes.
    pub drain: Duration,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self { input: Vec::new(), max_output: 64 << 20, drain: Duration::from_millis(200) }
    }
}

/// What can end a run from outside.
#[derive(Clone, Debug)]
pub struct RunControl {
    /// The moment at which everything is killed.
    pub deadline: Option<Instant>,
    /// Turns true when everything is to be killed.
    pub cancelled: watch::Receiver<bool>,
}

/// What a command did.
#[derive(Clone, Debug)]
pub struct RunOutput {
    /// How it ended.
    pub exit: ExecExit,
    /// The head of its stdout.
    pub stdout: Vec<u8>,
    /// The head of its stderr.
    pub stderr: Vec<u8>,
    /// Bytes it wrote to stdout in all.
    pub stdout_total: u64,
    /// Bytes it wrote to stderr in all.
    pub stderr_total: u64,
    /// Other processes still hold its pipes.
    pub output_still_open: bool,
}

impl RunOutput {
    fn new(ended: &Ended, stdout: Collector, stderr: Collector, output_still_open: bool) -> Self {
        Self {
            exit: ended.exit,
            stdout_total: stdout.total,
            stderr_total: stderr.total,
            stdout: stdout.kept,
            stderr: stderr.kept,
            output_still_open,
        }
    }
}

/// Why a run failed, with what it had done by then.
#[derive(Clone, Debug)]
pub struct RunFailure {
    /// Why.
    pub error: BoxliteError,
    /// The output so far, when the command was cut off by its deadline or a cancel.
    pub partial: Option<RunOutput>,
}

impl From<BoxliteError> for RunFailure {
    fn from(error: BoxliteError) -> Self {
        Self { error, partial: None }
    }
}

pub(super) async fn run(
    sandbox: &LiteBox,
    mut command: BoxCommand,
    options: RunOptions,
    progress: &ProgressSink,
    control: RunControl,
) -> Result<RunOutput, RunFailure> {
    let has_input = !options.input.is_empty();
    command.stdin = Some(if has_input { StdinMode::Once } else { StdinMode::Null });
    for mode in [&mut command.stdout, &mut command.stderr] {
        if *mode != OutputMode::Null {
            *mode = OutputMode::Pipe;
        }
    }
    command.tty = false;
    let wanted = Wanted {
        stdin: has_input,
        stdout: command.stdout == OutputMode::Pipe,
        stderr: command.stderr == OutputMode::Pipe && !command.merge_stderr,
    };
    let mut control = control;
    let (execution, opened) = tokio::select! {
        begun = exec::begin_with(sandbox, command, wanted, progress) => begun?,
        error = cut(&mut control) => return Err(error.into()),
    };
    let kill = KillOnDrop::new(execution.clone());
    let mut stdout = Collector::new(opened.stdout, options.max_output);
    let mut stderr = Collector::new(opened.stderr, options.max_output);
    let mut feed = std::pin::pin!(feed(opened.stdin, &options.input));
    let cut_off = tokio::select! {
        ended = collect(&execution, &mut stdout, &mut stderr, feed.as_mut(), options.drain) => {
            kill.release();
            let (ended, still_open) = ended?;
            if !still_open {
                check_complete(&execution, &ended, &stdout, &stderr, wanted).await?;
            }
            return Ok(RunOutput::new(&ended, stdout, stderr, still_open));
        }
        error = cut(&mut control) => error,
    };
    // Everything of the execution is killed; what the pipes hold by then is collected.
    // A machine that stands still must not hold up a caller whose time is over: then the kill goes on by itself.
    if tokio::time::timeout(KILL_TIME, execution.kill()).await.is_ok() {
        kill.release();
    } else {
        drop(kill);
    }
    let never = std::pin::pin!(std::future::pending());
    let end = collect(&execution, &mut stdout, &mut stderr, never, options.drain);
    let partial = match tokio::time::timeout(KILL_TIME, end).await {
        Ok(Ok((ended, still_open))) => Some(RunOutput::new(&ended, stdout, stderr, still_open)),
        _ => None,
    };
    Err(RunFailure { error: cut_off, partial })
}

/// Completes when the run is to be cut off.
async fn cut(control: &mut RunControl) -> BoxliteError {
    let deadline = async {
        match control.deadline {
            Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
            None => std::future::pending().await,
        }
    };
    let cancelled = async {
        // A sender that is gone can cancel no more.
        if control.cancelled.wait_for(|cancelled| *cancelled).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = deadline => BoxliteError::Timeout(
            Detail::new("the command did not end in time; all its processes were killed")
                .hint("allow more time, or see the output so far"),
        ),
        () = cancelled => BoxliteError::Cancelled(
            Detail::new("the call was cancelled; all the command's processes were killed"),
        ),
    }
}

async fn feed(stdin: Option<UnixStream>, input: &[u8]) {
    if let Some(mut stdin) = stdin {
        // A command that doesn't read all of its input is no error: `head` doesn't.
        let _ = stdin.write_all(input).await;
        let _ = stdin.shutdown().await;
        // The connection stays until the end: closing it early could be taken for a lost one.
        let _ = stdin.read(&mut [0]).await;
    }
    std::future::pending().await
}

/// Reads both streams until the process has ended and its pipes are at their end, or the drain time is over.
async fn collect(
    execution: &Execution,
    stdout: &mut Collector,
    stderr: &mut Collector,
    mut feed: std::pin::Pin<&mut (impl Future<Output = ()> + Send)>,
    drain: Duration,
) -> BoxliteResult<(Ended, bool)> {
    let mut reading = std::pin::pin!(async { tokio::join!(stdout.read_all(), stderr.read_all()) });
    let mut complete = false;
    let ended = {
        let mut waiting = std::pin::pin!(execution.ended());
        loop {
            tokio::select! {
                ended = &mut waiting => break ended?,
                _ = &mut reading, if !complete => complete = true,
                () = &mut feed => {}
            }
        }
    };
    if !complete {
        complete = tokio::time::timeout(drain, reading).await.is_ok();
    }
    Ok((ended, !complete))
}

/// Compares what was received with what the process wrote.
async fn check_complete(
    execution: &Execution,
    ended: &Ended,
    stdout: &Collector,
    stderr: &Collector,
    wanted: Wanted,
) -> BoxliteResult<()> {
    for (which, collector, count, asked) in [
        (Which::Stdout, stdout, &ended.stdout, wanted.stdout),
        (Which::Stderr, stderr, &ended.stderr, wanted.stderr),
    ] {
        if asked && !streams::is_complete(count, collector.total) {
            // The counts at the process's end may be older than the stream's: ask again.
            streams::check_complete(execution.source(which), collector.total).await?;
        }
    }
    Ok(())
}

/// Keeps the head of a stream and counts the rest.
struct Collector {
    stream: Option<UnixStream>,
    kept: Vec<u8>,
    limit: u64,
    total: u64,
}

impl Collector {
    fn new(stream: Option<UnixStream>, limit: u64) -> Self {
        Self { stream, kept: Vec::new(), limit, total: 0 }
    }

    async fn read_all(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        let mut chunk = vec![0; CHUNK];
        // A reset is an end like any other: the count tells whether something is missing.
        while let Ok(length @ 1..) = stream.read(&mut chunk).await {
            let room = self.limit.saturating_sub(self.kept.len() as u64);
            let keep = usize::try_from(room).unwrap_or(usize::MAX).min(length);
            self.kept.extend_from_slice(&chunk[..keep]);
            self.total += length as u64;
        }
    }
}
