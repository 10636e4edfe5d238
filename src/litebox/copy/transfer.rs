//! One copy: the agent's program in the box, a thread here, and the stream between them.
//!
//! Owns their common end. When the caller leaves, the program is ended, before or after a file gets its name but not at it,
//! and the stream is cut, which ends the thread.

use std::ffi::OsString;
use std::time::Duration;

use boxlite_archive::CopyError;
use boxlite_proto::copy;
use boxlite_proto::stream::Which;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use super::Work;
use super::errors::{At, told};
use super::wire::{Cutter, Wire};
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::executor::with_signals_blocked;
use crate::images::ProgressSink;
use crate::litebox::LiteBox;
use crate::litebox::command::{BoxCommand, OutputMode, StdinMode};
use crate::litebox::exec::{self, Wanted};
use crate::litebox::execution::Ended;
use crate::litebox::streams;

/// Most bytes of what the program has to say.
const LONGEST_ERROR: u64 = 64 * 1024;
/// How long the program's own word is waited for when the stream is seen to be broken.
const LAST_WORD: Duration = Duration::from_secs(10);
const STACK_BYTES: usize = 2 << 20;

/// Which way it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    IntoBox,
    OutOfBox,
}

/// A copy that is to be made.
pub(super) struct Job<T> {
    arguments: Vec<OsString>,
    side: Side,
    work: Work<T>,
    /// Bytes received, where no archive's end tells that all of them came.
    count: Option<fn(&T) -> u64>,
    /// What the archive is, for messages.
    at: At,
}

impl<T> Job<T> {
    pub(super) fn into_box(
        arguments: Vec<OsString>,
        work: impl FnOnce(&mut Wire) -> Result<T, CopyError> + Send + 'static,
    ) -> Self {
        Self { arguments, side: Side::IntoBox, work: Box::new(work), count: None, at: At::Ours }
    }

    pub(super) fn out_of_box(
        arguments: Vec<OsString>,
        work: impl FnOnce(&mut Wire) -> Result<T, CopyError> + Send + 'static,
    ) -> Self {
        Self { arguments, side: Side::OutOfBox, work: Box::new(work), count: None, at: At::Ours }
    }

    /// The caller made the archive and is told what is wrong with it.
    pub(super) fn of_callers_archive(self) -> Self {
        Self { at: At::Callers, ..self }
    }

    /// No archive's end marks the end: the bytes are counted.
    pub(super) fn counted(self, count: fn(&T) -> u64) -> Self {
        Self { count: Some(count), ..self }
    }
}

pub(super) async fn run<T: Send + 'static>(
    sandbox: &LiteBox,
    job: Job<T>,
    progress: &ProgressSink,
) -> BoxliteResult<T> {
    let Job { arguments, side, work, count, at } = job;
    let into_box = side == Side::IntoBox;
    let command = BoxCommand::own_program(copy::PROGRAM)
        .args(arguments)
        .stdin_mode(if into_box { StdinMode::Once } else { StdinMode::Null })
        .stdout_mode(if into_box { OutputMode::Null } else { OutputMode::Pipe })
        .stderr_mode(OutputMode::Pipe);
    let wanted = Wanted { stdin: into_box, stdout: !into_box, stderr: true };
    let (kill, opened) = exec::begin_with(sandbox, command, wanted, progress).await?;
    let kill = kill.asking();
    let execution = kill.execution().clone();
    let lost = || BoxliteError::Internal("a copy's stream was not opened".into());
    let stream = if into_box { opened.stdin } else { opened.stdout }.ok_or_else(lost)?;
    let stderr = opened.stderr.ok_or_else(lost)?;
    let (cutter, mut local) = start(stream, side, work)?;

    let said = hear(stderr);
    let mut remote = std::pin::pin!(async { tokio::join!(execution.ended(), said) });
    let (done, remote) = tokio::select! {
        done = &mut local => {
            let patience = match &done {
                Ok(Err(error)) if error.is_cut_off() => LAST_WORD,
                // What failed here is the cause; nothing the program says would be.
                Ok(Err(_)) => Duration::ZERO,
                // It ends when it has done what it has been given, however long that takes.
                _ => Duration::MAX,
            };
            (done, tokio::time::timeout(patience, remote).await.ok())
        }
        told = &mut remote => {
            if into_box {
                // Nobody takes any more: don't wait for the source.
                cutter.cut();
            }
            (local.await, Some(told))
        }
    };
    let done = done.map_err(|_| BoxliteError::Internal("a copy's thread ended without a word".into()))?;
    let Some((ended, said)) = remote else {
        return done.map_err(|error| told(&error, at, false));
    };
    kill.release();
    let ended = ended?;
    verdict(&ended, &said)
        .map_err(|error| error.map_or_else(|| killed(&ended), |error| told(&error, at, true)))?;
    let done = done.map_err(|error| told(&error, at, false))?;
    if let Some(count) = count
        && !streams::is_complete(&ended.stdout, count(&done))
    {
        streams::check_complete(execution.source(Which::Stdout), count(&done)).await?;
    }
    Ok(done)
}

/// What the program's end means: fine, an error of its own, or a death.
fn verdict(ended: &Ended, said: &[u8]) -> Result<(), Option<CopyError>> {
    if ended.exit.signal == 0 && ended.exit.exit_code == 0 {
        return Ok(());
    }
    Err(CopyError::decode(said))
}

fn killed(ended: &Ended) -> BoxliteError {
    let how = match ended.exit {
        exit if exit.oom_killed => "ran out of memory".to_owned(),
        exit if exit.signal != 0 => format!("was killed by signal {}", exit.signal),
        exit => format!("ended with code {}", exit.exit_code),
    };
    BoxliteError::Execution(
        Detail::new(format!("the copy's process in the box {how}"))
            .hint("nothing is half copied: try again, or give the box more memory"),
    )
}

type Outcome<T> = oneshot::Receiver<Result<T, CopyError>>;

/// Starts the thread that does the work.
fn start<T: Send + 'static>(
    stream: UnixStream,
    side: Side,
    work: Work<T>,
) -> BoxliteResult<(Cutter, Outcome<T>)> {
    let exhausted = |error: std::io::Error| {
        BoxliteError::ResourceExhausted(
            Detail::new(format!("cannot start a copy's thread: {error}"))
                .hint("raise the limits on threads and open files"),
        )
    };
    let (mut wire, cutter) = Wire::new(stream).map_err(exhausted)?;
    let (tell, outcome) = oneshot::channel();
    let body = move || {
        let done = work(&mut wire);
        if side == Side::IntoBox && done.is_ok() {
            wire.end();
        }
        // Nobody may wait any more. The stream stays open for stdin until the program has ended, see `Cutter`.
        let _ = tell.send(done);
    };
    let builder = std::thread::Builder::new().name("boxlite-copy".into()).stack_size(STACK_BYTES);
    with_signals_blocked(|| builder.spawn(body)).map_err(exhausted)?;
    Ok((cutter, outcome))
}

async fn hear(stderr: UnixStream) -> Vec<u8> {
    let mut said = Vec::new();
    // A reset is an end like any other.
    let _ = stderr.take(LONGEST_ERROR).read_to_end(&mut said).await;
    said
}
