//! Who waits for an operation: until when, and whether that was called off.
//!
//! Known to all that is done for one call, on whichever thread of ours. What nobody with a deadline waits for (the Rust
//! API's futures, the library's own work) has none, and its waits have limits of their own.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, at, never, select};

use crate::errors::{BoxliteError, Detail};

/// The caller of an operation, as far as its waiting goes.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    deadline: Option<Instant>,
    /// Disconnected once the call is cancelled.
    cancelled: Receiver<Infallible>,
}

/// What ended a call before its operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    TimedOut,
    Cancelled,
}

impl Cut {
    /// The error for the caller.
    pub(crate) fn error(self, detail: Detail) -> BoxliteError {
        match self {
            Self::TimedOut => BoxliteError::Timeout(detail),
            Self::Cancelled => BoxliteError::Cancelled(detail),
        }
    }
}

tokio::task_local! {
    static CALLER: Caller;
}

thread_local! {
    /// Of blocking work. Not to be had on a thread that is at its end, where a C caller may be, too: then the limits of
    /// those without a deadline hold.
    static HERE: RefCell<Option<Caller>> = const { RefCell::new(None) };
}

/// Puts back who was there before.
struct Restore(Option<Caller>);

impl Drop for Restore {
    fn drop(&mut self) {
        let _ = HERE.try_with(|here| here.replace(self.0.take()));
    }
}

impl Caller {
    /// `cancelled` is disconnected to cancel, and never sent on.
    pub(crate) fn new(deadline: Option<Instant>, cancelled: Receiver<Infallible>) -> Self {
        Self { deadline, cancelled }
    }

    /// The caller that the present task, or blocking work, is done for.
    pub(crate) fn current() -> Self {
        let of_task = CALLER.try_with(Self::clone).ok();
        let found = of_task.or_else(|| HERE.try_with(|here| here.borrow().clone()).ok().flatten());
        found.unwrap_or_else(|| Self::new(None, never()))
    }

    /// `work`, done for this caller.
    pub(crate) fn scope<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CALLER.scope(self, work)
    }

    /// `work`, done for this caller on the present thread.
    pub(crate) fn scope_blocking<T>(self, work: impl FnOnce() -> T) -> T {
        let _restore = Restore(HERE.try_with(|here| here.replace(Some(self))).ok().flatten());
        work()
    }

    /// When it waits no longer.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Blocks for what comes over `channel`; `Err` when the caller waits no longer, `Ok(None)` when nobody sends.
    pub(crate) fn wait_for<T>(&self, channel: &Receiver<T>) -> Result<Option<T>, Cut> {
        let timer = self.deadline.map_or_else(never, at);
        select! {
            recv(channel) -> message => Ok(message.ok()),
            recv(self.cancelled) -> _ => Err(Cut::Cancelled),
            recv(timer) -> _ => Err(Cut::TimedOut),
        }
    }

    /// Blocks for `span`; `Err` when the caller waits no longer.
    pub(crate) fn pause(&self, span: Duration) -> Result<(), Cut> {
        self.wait_for(&crossbeam_channel::after(span)).map(|_| ())
    }
}
