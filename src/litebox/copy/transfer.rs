//! One copy: the agent's program in the box, a thread here, and the stream between them.
//!
//! Owns their common end. When the caller leaves, the program is ended, before or after a file gets its name but not at it,
//! and the stream is cut, which ends the thread.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use boxlite_archive::CopyError;
use boxlite_proto::copy;
use boxlite_proto::transfer::BY_STREAM;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use super::errors::{At, told};
use super::lane::Lane;
use super::receiving::Receiving;
use super::sending::Sending;
use super::wire::{Cutter, Wire};
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::executor::{blocking, with_signals_blocked};
use crate::images::ProgressSink;
use crate::litebox::LiteBox;
use crate::litebox::command::{BoxCommand, OutputMode, StdinMode};
use crate::litebox::exec::{self, Opened, Wanted};
use crate::litebox::execution::Ended;

/// Most bytes of what the program has to say.
const LONGEST_ERROR: u64 = 64 * 1024;
/// How long the program's own word is waited for when the stream is seen to be broken.
const LAST_WORD: Duration = Duration::from_secs(10);
const STACK_BYTES: usize = 2 << 20;

/// What the side of the host does with its end, which says the way it goes.
enum Work<T> {
    IntoBox(With<Sending, T>),
    OutOfBox(With<Receiving, T>),
}

type With<End, T> = Box<dyn FnOnce(&mut End) -> Result<T, CopyError> + Send>;

/// What is known of how much there will be.
pub(super) enum Amount {
    Unknown,
    AtMost(u64),
    /// What lies at this path, if it is a file.
    OfFile(Vec<u8>),
}

impl Amount {
    /// So little that a lane is of no use. What a file is by the time it is read is another matter. Blocking.
    fn is_small(&self) -> bool {
        match self {
            Self::Unknown => false,
            Self::AtMost(bytes) => *bytes <= BY_STREAM,
            Self::OfFile(path) => std::fs::symlink_metadata(OsStr::from_bytes(path))
                .is_ok_and(|found| found.is_file() && found.len() <= BY_STREAM),
        }
    }
}

/// A copy that is to be made.
pub(super) struct Job<T> {
    arguments: Vec<OsString>,
    work: Work<T>,
    amount: Amount,
    /// What the archive is, for messages.
    at: At,
}

impl<T> Job<T> {
    pub(super) fn into_box(
        arguments: Vec<OsString>,
        work: impl FnOnce(&mut Sending) -> Result<T, CopyError> + Send + 'static,
    ) -> Self {
        Self { arguments, work: Work::IntoBox(Box::new(work)), amount: Amount::Unknown, at: At::Ours }
    }

    pub(super) fn out_of_box(
        arguments: Vec<OsString>,
        work: impl FnOnce(&mut Receiving) -> Result<T, CopyError> + Send + 'static,
    ) -> Self {
        Self { arguments, work: Work::OutOfBox(Box::new(work)), amount: Amount::Unknown, at: At::Ours }
    }

    pub(super) fn of(self, amount: Amount) -> Self {
        Self { amount, ..self }
    }

    /// The caller made the archive and is told what is wrong with it.
    pub(super) fn of_callers_archive(self) -> Self {
        Self { at: At::Callers, ..self }
    }
}

pub(super) async fn run<T: Send + 'static>(
    sandbox: &LiteBox,
    job: Job<T>,
    progress: &ProgressSink,
) -> BoxliteResult<T> {
    let Job { arguments, work, amount, at } = job;
    let live = exec::reach(sandbox, progress).await?;
    let (core, id) = (sandbox.core.clone(), live.id().clone());
    let lane = blocking(move || Ok(if amount.is_small() { None } else { Lane::claim(&core, &id) })).await?;
    // Until the program's end: another copy would wait for it in the box.
    let lane = lane.map(Arc::new);
    let lane_name = lane.as_ref().map_or_else(|| copy::NO_LANE.to_owned(), |lane| lane.number().to_string());
    let into_box = matches!(work, Work::IntoBox(_));
    // The stream in the other direction carries a lane's answers.
    let has_answers = lane.is_some();
    let wanted = Wanted { stdin: into_box || has_answers, stdout: !into_box || has_answers, stderr: true };
    let command = BoxCommand::own_program(copy::PROGRAM)
        .arg(lane_name)
        .args(arguments)
        .stdin_mode(if wanted.stdin { StdinMode::Once } else { StdinMode::Null })
        .stdout_mode(if wanted.stdout { OutputMode::Pipe } else { OutputMode::Null })
        .stderr_mode(OutputMode::Pipe);
    command.check()?;
    let (kill, opened) = exec::begin_in(&sandbox.core, live, command, wanted).await?;
    let kill = kill.asking();
    let execution = kill.execution().clone();
    let lost = || BoxliteError::Internal("a copy's stream was not opened".into());
    let Opened { stdin, stdout, stderr } = opened;
    let (stream, answers) = if into_box { (stdin, stdout) } else { (stdout, stdin) };
    let (stream, stderr) = (stream.ok_or_else(lost)?, stderr.ok_or_else(lost)?);
    let (cutter, mut local) = start(stream, answers, lane.clone(), work)?;

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
    done.map_err(|error| told(&error, at, false))
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
    answers: Option<UnixStream>,
    lane: Option<Arc<Lane>>,
    work: Work<T>,
) -> BoxliteResult<(Cutter, Outcome<T>)> {
    let exhausted = |error: std::io::Error| {
        BoxliteError::ResourceExhausted(
            Detail::new(format!("cannot start a copy's thread: {error}"))
                .hint("raise the limits on threads and open files"),
        )
    };
    let (wire, cutter) = Wire::new(stream, answers).map_err(exhausted)?;
    let (tell, outcome) = oneshot::channel();
    let body = move || {
        let done = match work {
            Work::IntoBox(work) => {
                let mut sending = Sending::new(wire, lane);
                work(&mut sending).and_then(|done| sending.end().map(|()| done).map_err(CopyError::stream))
            }
            Work::OutOfBox(work) => work(&mut Receiving::new(wire, lane)),
        };
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
