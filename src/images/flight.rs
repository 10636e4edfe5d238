//! Work that several callers of one process share: the same image asked for twice is fetched once.
//!
//! Owns the spawned task, its waiters and their progress sinks. The task ends when the last waiter leaves; a
//! caller that drops its future only leaves.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::progress::{ImageProgress, ProgressSink};
use crate::errors::{BoxliteError, BoxliteResult};
use crate::panics;

/// The work under way, by key.
#[derive(Debug)]
pub(super) struct Flights<T>(Mutex<HashMap<String, Weak<Flight<T>>>>);

#[derive(Debug)]
struct Flight<T> {
    outcome: watch::Receiver<Option<BoxliteResult<T>>>,
    sinks: FlightSinks,
    task: JoinHandle<()>,
}

impl<T> Drop for Flight<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The progress sinks of all waiters.
#[derive(Clone, Debug, Default)]
pub(super) struct FlightSinks(Arc<Mutex<Vec<Option<ProgressSink>>>>);

impl FlightSinks {
    /// Tells every waiter.
    pub(super) fn emit(&self, progress: &ImageProgress) {
        // Cloned out, so that a callback that drops its own waiter does not meet a held lock.
        let sinks: Vec<ProgressSink> = self.lock().iter().flatten().cloned().collect();
        for sink in sinks {
            sink.emit(progress);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Option<ProgressSink>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, sink: &ProgressSink) -> Seat {
        let mut sinks = self.lock();
        sinks.push(Some(sink.clone()));
        Seat { sinks: self.clone(), index: sinks.len() - 1 }
    }
}

/// A waiter's place among the sinks; it is given up when the waiter leaves.
struct Seat {
    sinks: FlightSinks,
    index: usize,
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(sink) = self.sinks.lock().get_mut(self.index) {
            *sink = None;
        }
    }
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    /// Joins the work under `key`, or starts it with `work`. Must be called within a tokio runtime.
    pub(super) async fn join<F>(
        &self,
        key: &str,
        sink: &ProgressSink,
        work: impl FnOnce(FlightSinks) -> F,
    ) -> BoxliteResult<T>
    where
        F: Future<Output = BoxliteResult<T>> + Send + 'static,
    {
        let (flight, _seat) = self.board(key, sink, work);
        let mut outcome = flight.outcome.clone();
        let ended = outcome.wait_for(Option::is_some).await;
        match ended.ok().and_then(|outcome| outcome.clone()) {
            Some(outcome) => outcome,
            None => Err(BoxliteError::Stopped(
                format!("the runtime was shut down while {key} was under way").into(),
            )),
        }
    }

    fn board<F>(
        &self,
        key: &str,
        sink: &ProgressSink,
        work: impl FnOnce(FlightSinks) -> F,
    ) -> (Arc<Flight<T>>, Seat)
    where
        F: Future<Output = BoxliteResult<T>> + Send + 'static,
    {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let under_way = flights.get(key).and_then(Weak::upgrade);
        if let Some(flight) = under_way.filter(|flight| flight.outcome.borrow().is_none()) {
            let seat = flight.sinks.join(sink);
            return (flight, seat);
        }
        flights.retain(|_, flight| flight.strong_count() > 0);
        let sinks = FlightSinks::default();
        let seat = sinks.join(sink);
        let (announce, outcome) = watch::channel(None);
        let work = work(sinks.clone());
        let task = tokio::spawn(async move {
            // A panic of the work is the waiters' error, and nobody else's.
            announce.send_replace(Some(panics::caught(work).await));
        });
        let flight = Arc::new(Flight { outcome, sinks, task });
        flights.insert(key.to_owned(), Arc::downgrade(&flight));
        (flight, seat)
    }
}

#[cfg(test)]
#[path = "tests/flight.rs"]
mod tests;
