//! The tokio runtime of one `BoxliteRuntime`, owned by a plain thread of its own: it can be used from inside anybody's
//! async runtime, and dropped there, which tokio's own type can't.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;

use crate::caller::Caller;
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::panics;

const WORKERS: usize = 2;
const MOST_BLOCKING_THREADS: usize = 8;
const STACK_BYTES: usize = 1 << 20;
/// Idle blocking threads end after this.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

type LastWill = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs the runtime's futures and blocking work.
#[derive(Debug)]
pub(crate) struct Executor {
    handle: Handle,
    end: Sender<LastWill>,
    ended: Receiver<()>,
}

impl Executor {
    /// Starts the threads. All signals are blocked on them.
    pub(crate) fn start() -> BoxliteResult<Self> {
        let (handle_out, handle_in) = bounded(1);
        let (end, end_in) = bounded::<LastWill>(1);
        let (ended_out, ended) = bounded(1);
        let own = move || {
            let runtime = match build() {
                Ok(runtime) => runtime,
                Err(error) => {
                    // The starter waits for exactly this message.
                    let _ = handle_out.send(Err(error));
                    return;
                }
            };
            let _ = handle_out.send(Ok(runtime.handle().clone()));
            if let Ok(last_will) = end_in.recv() {
                runtime.block_on(last_will);
            }
            runtime.shutdown_background();
            // Nobody may be waiting any more.
            let _ = ended_out.send(());
        };
        let exhausted = |error: io::Error| {
            BoxliteError::ResourceExhausted(
                Detail::new(format!("cannot start the runtime's threads: {error}"))
                    .hint("raise the limits on threads and open files"),
            )
        };
        with_signals_blocked(|| std::thread::Builder::new().name("boxlite-owner".into()).spawn(own))
            .map_err(exhausted)?;
        match handle_in.recv() {
            Ok(Ok(handle)) => Ok(Self { handle, end, ended }),
            Ok(Err(error)) => Err(exhausted(error)),
            Err(_) => Err(BoxliteError::Internal("the runtime's thread died at its start".into())),
        }
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs `last_will` to its end, then ends all threads. Does not wait.
    pub(crate) fn finish(&self, last_will: impl Future<Output = ()> + Send + 'static) {
        // A second end has nothing left to do.
        let _ = self.end.try_send(Box::pin(last_will));
    }

    /// Waits until the threads have ended, at most `limit`.
    pub(crate) fn wait_ended(&self, limit: Duration) {
        let _ = self.ended.recv_timeout(limit);
    }

    /// Runs a future here, for a caller on any executor. Dropping the returned future drops the work.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = BoxliteResult<T>> + Send + 'static,
    ) -> BoxliteResult<T> {
        run_on(&self.handle, work).await
    }

    /// Like [`Executor::run`], but the work goes on when the caller leaves.
    pub(crate) async fn run_to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = BoxliteResult<T>> + Send + 'static,
    ) -> BoxliteResult<T> {
        joined(spawn_on(&self.handle, work).await)
    }
}

/// As [`Executor::run`], for who has but the handle of its threads.
pub(crate) async fn run_on<T: Send + 'static>(
    handle: &Handle,
    work: impl Future<Output = BoxliteResult<T>> + Send + 'static,
) -> BoxliteResult<T> {
    joined(AbortOnDrop(spawn_on(handle, work)).await)
}

/// For whom the present task works; a panic is the work's error.
fn spawn_on<T: Send + 'static>(
    handle: &Handle,
    work: impl Future<Output = BoxliteResult<T>> + Send + 'static,
) -> JoinHandle<BoxliteResult<T>> {
    handle.spawn(Caller::current().scope(panics::caught(work)))
}

/// Runs blocking work on the current runtime's blocking threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> BoxliteResult<T> + Send + 'static,
) -> BoxliteResult<T> {
    let caller = Caller::current();
    joined(tokio::task::spawn_blocking(move || caller.scope_blocking(|| panics::caught_blocking(work))).await)
}

fn joined<T>(result: Result<BoxliteResult<T>, tokio::task::JoinError>) -> BoxliteResult<T> {
    result.unwrap_or_else(|_| Err(BoxliteError::Stopped(Detail::new("the runtime was shut down"))))
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, tokio::task::JoinError>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn build() -> io::Result<tokio::runtime::Runtime> {
    Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(MOST_BLOCKING_THREADS)
        .thread_keep_alive(KEEP_ALIVE)
        .thread_stack_size(STACK_BYTES)
        .thread_name("boxlite-worker")
        .enable_io()
        .enable_time()
        .build()
}

/// Runs `spawn` with every signal blocked on this thread, so that the new thread never takes the host's signals.
pub(crate) fn with_signals_blocked<T>(spawn: impl FnOnce() -> T) -> T {
    // SAFETY: both sets are ours and live across the calls; sigfillset makes the first valid, pthread_sigmask the other.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let result = spawn();
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_runs_from_inside_another_runtime_and_ends_with_the_executor() {
        let executor = Executor::start().unwrap();
        let host = Builder::new_current_thread().build().unwrap();
        let answer = host.block_on(executor.run(async { Ok(41 + 1) })).unwrap();
        assert_eq!(answer, 42);
        executor.finish(async {});
        executor.wait_ended(Duration::from_secs(60));
        let late = host.block_on(executor.run(async { Ok(()) })).unwrap_err();
        assert!(matches!(&late, BoxliteError::Stopped(text) if text.contains("shut down")));
    }

    #[test]
    fn dropping_the_future_drops_the_work() {
        struct Told(Sender<()>);
        impl Drop for Told {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let executor = Executor::start().unwrap();
        let (told, dropped) = bounded(1);
        let told = Told(told);
        let host = Builder::new_current_thread().enable_time().build().unwrap();
        host.block_on(async {
            let work = executor.run(async move {
                let _told = told;
                std::future::pending::<BoxliteResult<()>>().await
            });
            assert!(tokio::time::timeout(Duration::from_millis(20), work).await.is_err());
        });
        dropped.recv_timeout(Duration::from_secs(60)).unwrap();
        executor.finish(async {});
    }
}
