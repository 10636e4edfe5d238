//! The wait of a C caller for a future of the runtime.
//!
//! The future runs on the runtime's own threads and sends its result over a channel, so this works on any thread of
//! anybody's program, inside any async runtime. Owns deadline, cancellation and the progress reports of one call.

use std::convert::Infallible;
use std::future::Future;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError, at, bounded, never, select};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::call::boxlite_call;
use super::progress::{Reporter, Verdict};
use crate::caller::{Caller, Cut};
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::images::ProgressSink;
use crate::panics;

/// How long a call that was cut off waits for what its operation undoes.
const ROLLBACK: Duration = Duration::from_secs(2);
/// How long it waits for an operation that ends itself, which may have to kill processes in a box first.
const LAST_ANSWER: Duration = Duration::from_secs(5);

/// What a deadline or a cancellation does to the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CutOff {
    /// The future is dropped, which undoes what it began.
    Undo,
    /// The caller leaves, the operation completes.
    Leave,
    /// The operation watches `Control` itself and answers with what it has.
    Answer,
}

/// What an operation may want to know of the call it serves.
pub(super) struct Control {
    /// Where progress is reported.
    pub(super) sink: ProgressSink,
    /// The deadline.
    pub(super) deadline: Option<Instant>,
    /// Turns true when the caller cancels.
    pub(super) cancelled: watch::Receiver<bool>,
}

/// One call: what it is called in the header, and what its caller set.
pub(super) struct Waiter<'a> {
    operation: &'static str,
    call: Option<&'a boxlite_call>,
    cut_off: CutOff,
    progress: bool,
}

type Outcome<T> = BoxliteResult<T>;

impl<'a> Waiter<'a> {
    pub(super) fn new(operation: &'static str, call: Option<&'a boxlite_call>, cut_off: CutOff) -> Self {
        Self { operation, call, cut_off, progress: false }
    }

    /// The operation reports progress.
    pub(super) fn with_progress(self) -> Self {
        Self { progress: true, ..self }
    }

    /// Runs what `start` gives on the runtime and waits for it.
    pub(super) fn wait<T, E, F>(
        &self,
        runtime: &Handle,
        start: impl FnOnce(Control) -> F,
    ) -> BoxliteResult<Result<T, E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let (deadline, cancelled) = limits(self.operation, self.call)?;
        let mut reporter = self.call.filter(|_| self.progress).map(|call| Reporter::new(call.callback()));
        let (tell, told) = watch::channel(false);
        let sink = reporter.as_ref().map_or_else(ProgressSink::none, Reporter::sink);
        let future = start(Control { sink, deadline, cancelled: told });
        let (done, outcome) = bounded(1);
        let caller = Caller::new(deadline, cancelled.clone());
        let task = runtime.spawn(caller.scope(async move {
            // What the future holds is dropped before its result is sent: after the call nothing of it is left.
            let _ = done.send(panics::caught(async { Ok(future.await) }).await);
        }));
        let result = match self.attend(&outcome, &cancelled, deadline, reporter.as_mut()) {
            Ok(result) => result,
            Err(cut) => self.cut_short(cut, &task, &outcome, &tell),
        };
        if let Some(reporter) = reporter.as_mut() {
            reporter.finish(matches!(result, Ok(Ok(_))));
        }
        result
    }

    /// Waits for the outcome, the deadline or the cancellation, whichever is first, and reports progress meanwhile.
    fn attend<T>(
        &self,
        outcome: &Receiver<Outcome<T>>,
        cancelled: &Receiver<Infallible>,
        deadline: Option<Instant>,
        mut reporter: Option<&mut Reporter>,
    ) -> Result<Outcome<T>, Cut> {
        let quiet = never();
        loop {
            let changed = reporter.as_ref().map_or(&quiet, |reporter| reporter.changed());
            let next_report = reporter.as_ref().and_then(|reporter| reporter.next_report());
            let timer = match (deadline, next_report) {
                (Some(one), Some(other)) => at(one.min(other)),
                (Some(one), None) | (None, Some(one)) => at(one),
                (None, None) => never(),
            };
            let mut news = false;
            select! {
                recv(outcome) -> result => return Ok(result.unwrap_or_else(|_| Err(self.runtime_ended()))),
                recv(cancelled) -> _ => return Err(Cut::Cancelled),
                recv(changed) -> _ => news = true,
                recv(timer) -> _ => {}
            }
            if let Some(reporter) = reporter.as_deref_mut() {
                if news {
                    reporter.note_change();
                }
                if reporter.report_if_due() == Verdict::Cancel {
                    return Err(Cut::Cancelled);
                }
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(Cut::TimedOut);
            }
        }
    }

    /// Ends a call whose operation has not ended. An outcome that arrives all the same is the true one.
    fn cut_short<T>(
        &self,
        cut: Cut,
        task: &JoinHandle<()>,
        outcome: &Receiver<Outcome<T>>,
        tell: &watch::Sender<bool>,
    ) -> BoxliteResult<T> {
        let patience = match self.cut_off {
            CutOff::Undo => {
                task.abort();
                ROLLBACK
            }
            CutOff::Leave => Duration::ZERO,
            CutOff::Answer => {
                if cut == Cut::Cancelled {
                    tell.send_replace(true);
                }
                LAST_ANSWER
            }
        };
        match outcome.recv_timeout(patience) {
            Ok(result) => result,
            Err(RecvTimeoutError::Disconnected) => Err(self.cut(cut)),
            Err(RecvTimeoutError::Timeout) => {
                if self.cut_off == CutOff::Answer {
                    task.abort();
                }
                Err(self.cut(cut))
            }
        }
    }

    fn cut(&self, cut: Cut) -> BoxliteError {
        let operation = self.operation;
        let left = match self.cut_off {
            CutOff::Leave => "; the operation goes on",
            CutOff::Undo | CutOff::Answer => "",
        };
        let text = match cut {
            Cut::TimedOut => format!("{operation} did not end before its deadline{left}"),
            Cut::Cancelled => format!("{operation} was cancelled{left}"),
        };
        cut.error(Detail::new(text).subject(operation))
    }

    fn runtime_ended(&self) -> BoxliteError {
        let text = format!("the runtime ended, so {} cannot be done", self.operation);
        BoxliteError::Stopped(
            Detail::new(text).hint("keep the runtime's handle until you are done with its boxes"),
        )
    }
}

/// Does `work` on the calling thread, whose waits end as `call` says: what is done before there is a runtime.
pub(super) fn on_this_thread<T>(
    operation: &'static str,
    call: Option<&boxlite_call>,
    work: impl FnOnce() -> BoxliteResult<T>,
) -> BoxliteResult<T> {
    let (deadline, cancelled) = limits(operation, call)?;
    Caller::new(deadline, cancelled).scope_blocking(work)
}

/// Until when a call that begins now is waited for, and what is disconnected when it is cancelled, which it is not yet.
fn limits(
    operation: &'static str,
    call: Option<&boxlite_call>,
) -> BoxliteResult<(Option<Instant>, Receiver<Infallible>)> {
    let cancelled = call.map_or_else(never, boxlite_call::cancelled);
    if matches!(cancelled.try_recv(), Err(TryRecvError::Disconnected)) {
        let text = format!("{operation} was not begun: its call is cancelled");
        return Err(BoxliteError::Cancelled(Detail::new(text).subject(operation)));
    }
    Ok((call.and_then(boxlite_call::deadline), cancelled))
}
