//! Runs a command to its end and collects what it wrote: the work behind `boxlite_exec`.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use boxlite_proto::agent::StreamCount;
use boxlite_proto::stream::Which;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;

use crate::caller::Cut;
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::images::ProgressSink;
use crate::litebox::command::{BoxCommand, OutputMode, StdinMode};
use crate::litebox::exec::{self, Wanted};
use crate::litebox::execution::{Ended, ExecExit, Execution};
use crate::litebox::live::LiveBox;
use crate::litebox::outcome::{Attempt, Outcome, Whole};
use crate::litebox::{LiteBox, streams};

const CHUNK: usize = 256 * 1024;
/// How long a killed command's end is waited for.
const KILL_TIME: Duration = Duration::from_secs(3);

/// What became of a command that was cut off.
const NOT_BEGUN: &str = "the command had not begun";
const KILLED: &str = "all the command's processes were killed";
const UNANSWERED: &str = "the box does not answer: the command's processes are killed as soon as it does";

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
    fn whole(whole: Whole, max_output: u64) -> Self {
        let head = |mut bytes: Vec<u8>| {
            bytes.truncate(usize::try_from(max_output).unwrap_or(usize::MAX));
            bytes
        };
        Self {
            exit: whole.exit,
            stdout_total: whole.stdout.len() as u64,
            stderr_total: whole.stderr.len() as u64,
            stdout: head(whole.stdout),
            stderr: head(whole.stderr),
            output_still_open: whole.still_open,
        }
    }

    fn new(ended: &Ended, stdout: Collector, stderr: Collector, output_still_open: bool) -> Self {
        Self {
            exit: ended.exit,
            stdout_total: stdout.total(),
            stderr_total: stderr.total(),
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
    let (kill, opened, was_cut) = if has_input {
        let (kill, opened) = tokio::select! {
            begun = exec::begin_with(sandbox, command, wanted, progress) => begun?,
            cut = cut(&mut control) => return Err(cut_off(cut, NOT_BEGUN).into()),
        };
        (kill, opened, None)
    } else {
        command.check()?;
        let live = tokio::select! {
            live = exec::reach(sandbox, progress) => live?,
            cut = cut(&mut control) => return Err(cut_off(cut, NOT_BEGUN).into()),
        };
        match attempt(sandbox, live.clone(), command, &options, &mut control).await? {
            (Outcome::Ended(whole), None) => return Ok(RunOutput::whole(whole, options.max_output)),
            (Outcome::Ended(whole), Some(cut)) => {
                let partial = Some(RunOutput::whole(whole, options.max_output));
                return Err(RunFailure { error: cut_off(cut, KILLED), partial });
            }
            (Outcome::RunsOn(kill), was_cut) => {
                let opened = exec::take(kill.execution(), wanted).await?;
                (kill, opened, was_cut)
            }
        }
    };
    let execution = kill.execution().clone();
    let mut stdout = Collector::new(opened.stdout, options.max_output);
    let mut stderr = Collector::new(opened.stderr, options.max_output);
    let mut feed = std::pin::pin!(feed(opened.stdin, &options.input));
    let cut = match was_cut {
        Some(cut) => cut,
        None => tokio::select! {
            ended = collect(&execution, &mut stdout, &mut stderr, feed.as_mut(), options.drain) => {
                kill.release();
                let (ended, still_open) = ended?;
                if !still_open {
                    check_complete(&execution, &ended, &stdout, &stderr, wanted).await?;
                }
                return Ok(RunOutput::new(&ended, stdout, stderr, still_open));
            }
            cut = cut(&mut control) => cut,
        },
    };
    // Everything of the execution is killed; what the pipes hold by then is collected.
    // A machine that stands still must not hold up a caller whose time is over: then the kill goes on by itself.
    if !matches!(tokio::time::timeout(KILL_TIME, execution.kill()).await, Ok(Ok(()))) {
        return Err(cut_off(cut, UNANSWERED).into());
    }
    kill.release();
    let never = std::pin::pin!(std::future::pending());
    let end = collect(&execution, &mut stdout, &mut stderr, never, options.drain);
    let partial = match tokio::time::timeout(KILL_TIME, end).await {
        Ok(Ok((ended, still_open))) => Some(RunOutput::new(&ended, stdout, stderr, still_open)),
        _ => None,
    };
    Err(RunFailure { error: cut_off(cut, KILLED), partial })
}

/// Runs the command by one call. When the run is cut off, the command is killed, and its outcome comes with the reason.
async fn attempt(
    sandbox: &LiteBox,
    live: Arc<LiveBox>,
    command: BoxCommand,
    options: &RunOptions,
    control: &mut RunControl,
) -> Result<(Outcome, Option<Cut>), RunFailure> {
    let mut attempt = Attempt::begin(&sandbox.core, live, command, options.drain)?;
    let cut = tokio::select! {
        outcome = attempt.outcome() => return Ok((outcome?, None)),
        cut = cut(control) => cut,
    };
    attempt.kill();
    match tokio::time::timeout(KILL_TIME, attempt.outcome()).await {
        Ok(Ok(outcome)) => Ok((outcome, Some(cut))),
        // A machine that stands still must not hold up a caller whose time is over: the kill goes on by itself.
        Ok(Err(_)) | Err(_) => Err(cut_off(cut, UNANSWERED).into()),
    }
}

/// Completes when the run is to be cut off.
async fn cut(control: &mut RunControl) -> Cut {
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
        () = deadline => Cut::TimedOut,
        () = cancelled => Cut::Cancelled,
    }
}

/// The error of a run that was cut off; `then` is what became of the command.
fn cut_off(cut: Cut, then: &str) -> BoxliteError {
    let what = match cut {
        Cut::TimedOut => "the command did not end in time",
        Cut::Cancelled => "the call was cancelled",
    };
    let detail = Detail::new(format!("{what}; {then}"));
    cut.error(match cut {
        Cut::TimedOut => detail.hint("allow more time, or see the output so far"),
        Cut::Cancelled => detail,
    })
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

/// Reads both streams until the process has ended and its pipes are at their end, or the drain time is over: which begins
/// when all has come that the pipes held at the process's end, however long that takes.
async fn collect(
    execution: &Execution,
    stdout: &mut Collector,
    stderr: &mut Collector,
    mut feed: std::pin::Pin<&mut (impl Future<Output = ()> + Send)>,
    drain: Duration,
) -> BoxliteResult<(Ended, bool)> {
    let (out, err) = (Arc::clone(&stdout.progress), Arc::clone(&stderr.progress));
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
        // What is owed is delivered by reading alone, so nothing else needs to wake this.
        complete = poll_fn(|cx| match reading.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if out.is_owed(&ended.stdout) || err.is_owed(&ended.stderr) => Poll::Pending,
            Poll::Pending => Poll::Ready(false),
        })
        .await;
    }
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
        if asked && !streams::is_complete(count, collector.total()) {
            // The counts at the process's end may be older than the stream's: ask again.
            streams::check_complete(execution.source(which), collector.total()).await?;
        }
    }
    Ok(())
}

/// How far a stream has been read, for those who don't read it.
#[derive(Default)]
struct Progress {
    received: AtomicU64,
    over: AtomicBool,
}

impl Progress {
    /// Whether bytes that were there at the process's end have yet to come.
    fn is_owed(&self, at_end: &StreamCount) -> bool {
        !self.over.load(Ordering::Relaxed)
            && at_end.first + self.received.load(Ordering::Relaxed) < at_end.total
    }
}

/// Keeps the head of a stream and counts the rest.
struct Collector {
    stream: Option<UnixStream>,
    kept: Vec<u8>,
    limit: u64,
    progress: Arc<Progress>,
}

impl Collector {
    fn new(stream: Option<UnixStream>, limit: u64) -> Self {
        let progress = Progress { over: AtomicBool::new(stream.is_none()), ..Progress::default() };
        Self { stream, kept: Vec::new(), limit, progress: Arc::new(progress) }
    }

    fn total(&self) -> u64 {
        self.progress.received.load(Ordering::Relaxed)
    }

    async fn read_all(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        let mut chunk = vec![0; CHUNK];
        // A reset is an end like any other: the count tells whether something is missing.
        while let Ok(length @ 1..) = stream.read(&mut chunk).await {
            let room = self.limit.saturating_sub(self.kept.len() as u64);
            let keep = usize::try_from(room).unwrap_or(usize::MAX).min(length);
            self.kept.extend_from_slice(&chunk[..keep]);
            self.progress.received.fetch_add(length as u64, Ordering::Relaxed);
        }
        self.progress.over.store(true, Ordering::Relaxed);
    }
}
