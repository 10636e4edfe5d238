//! An execution's streams and its end as descriptors, for event loops that are not ours.
//!
//! A descriptor is given away: nothing here reads, writes or closes it afterwards.

use std::future::Future;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use boxlite_proto::agent::StreamCount;
use boxlite_proto::stream::Which;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;

use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::litebox::execution::Execution;
use crate::litebox::streams::Source;

/// What is known of an output stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// Offset of the first byte that whoever took the stream through this handle was owed, 0 when nobody did. It is the
    /// first byte that came, unless kept output had to be given up before: then that is what was lost first.
    pub first: u64,
    /// Bytes the process has written.
    pub total: u64,
    /// Bytes that were dropped because nobody took them.
    pub dropped: u64,
    /// No process holds the stream's other end any more.
    pub closed: bool,
    /// Somebody else has taken the stream since it was taken through this handle.
    pub taken_over: bool,
}

impl StreamState {
    fn new(count: &StreamCount, taken_over: bool) -> Self {
        let StreamCount { first, total, dropped, closed, .. } = *count;
        Self { first, total, dropped, closed, taken_over }
    }
}

impl Execution {
    /// Connects to one of the execution's streams; an output stream begins at `offset`, or at the oldest byte still
    /// there. Who was connected to it before gets an end of file.
    pub(crate) async fn connect(&self, which: Which, offset: u64) -> BoxliteResult<UnixStream> {
        let source = self.source(which);
        let connected = async move {
            // While it runs the box knows it. Once it has ended the box may have forgotten it, and a stream would only end.
            if source.end.has_come() {
                source.is_known().await?;
            }
            match source.live.portal().bytes(&source.header(offset)).await {
                Ok(stream) => stream.into_std().map_err(|error| unusable("a stream", &error)),
                Err(error) => Err(source.live.explain(error).await),
            }
        };
        self.core().run(connected).await
    }

    /// How an output stream stands, for whoever took it through this handle: all from its first byte on has come when
    /// `first` and the bytes received make `total`, and it is `closed`. After the box's end: how it stood at the
    /// process's end.
    ///
    /// # Errors
    /// `NotFound` when the box knows nothing of the execution any more, `Stopped` when the box has ended without a word.
    pub async fn stream_state(&self, stderr: bool) -> BoxliteResult<StreamState> {
        let which = if stderr { Which::Stderr } else { Which::Stdout };
        let source = self.source(which);
        let asked = async move {
            let error = match source.state().await {
                Ok(state) => return Ok(StreamState::new(&state.count, state.taken_over)),
                Err(error) => source.live.explain(error).await,
            };
            // Only a box that is gone has left its last word to us.
            if matches!(error, BoxliteError::Stopped(_)) && source.live.process().has_ended() {
                let last = source.last_count().await.ok_or(error)?;
                return Ok(StreamState::new(&last, false));
            }
            Err(error)
        };
        self.core().run(asked).await
    }

    /// Ends the process's stdin once it has been given `total_bytes` since its start.
    ///
    /// # Errors
    /// As for a call to the box.
    pub async fn close_stdin(&self, total_bytes: u64) -> BoxliteResult<()> {
        let source = self.source(Which::Stdin);
        let told = async move {
            let live = source.live.clone();
            match source.close_stdin(total_bytes).await {
                Ok(()) => Ok(()),
                Err(error) => Err(live.explain(error).await),
            }
        };
        self.core().run(told).await
    }

    /// A descriptor that can be read from, with nothing to read, for ever once the process has ended or nobody can tell
    /// any more how it does.
    pub(crate) fn exit_descriptor(&self) -> BoxliteResult<OwnedFd> {
        let end = self.end();
        readable_after(self.core().executor.handle(), async move { drop(end.get().await) })
    }
}

impl Source {
    /// The box still knows the execution.
    async fn is_known(&self) -> BoxliteResult<()> {
        // Every execution has this one.
        let any = Self { which: Which::Stdout, ..self.clone() };
        match any.state().await {
            Ok(_) => Ok(()),
            Err(BoxliteError::NotFound(_)) => Err(BoxliteError::NotFound(
                Detail::new(format!("the box has forgotten execution {}, which has ended", self.execution))
                    .subject(self.execution.as_str())
                    .hint("take a command's streams before 64 others have ended after it"),
            )),
            Err(error) => Err(self.live.explain(error).await),
        }
    }
}

/// A descriptor that can be read from, with nothing to read, for ever once `end` has come, or can't come any more.
pub(super) fn readable_after(
    handle: &Handle,
    end: impl Future<Output = ()> + Send + 'static,
) -> BoxliteResult<OwnedFd> {
    let pair = || {
        let (told, tells) = UnixStream::pair()?;
        tells.set_nonblocking(true)?;
        Ok((told, Teller(tells)))
    };
    let (told, tells) = pair().map_err(|error: io::Error| unusable("a descriptor for the end", &error))?;
    handle.spawn(async move {
        // SAFETY: a Teller gives out the one descriptor it owns, until it is dropped, which AsyncFd does last.
        match unsafe { AsyncFd::register_with_interest(tells, Interest::READABLE) } {
            Ok(tells) => tokio::select! {
                () = end => {}
                () = unwanted(&tells) => {}
            },
            // What can't be watched stays until the end.
            Err(error) => {
                let (_tells, _) = error.into_parts();
                end.await;
            }
        }
    });
    Ok(told.into())
}

/// Returns when nobody holds the other end any more: whoever gives up waiting must not cost a descriptor until the end.
async fn unwanted(tells: &AsyncFd<Teller>) {
    while let Ok(mut guard) = tells.readable().await {
        match guard.try_io(|tells| (&tells.get_ref().0).read(&mut [0; 64])) {
            // Nobody is meant to write there; not ready any more.
            Ok(Ok(1..)) | Err(_) => {}
            Ok(Ok(0) | Err(_)) => return,
        }
    }
}

/// The end that is kept. A forked child may have a copy, so closing it would say nothing.
struct Teller(UnixStream);

impl AsRawFd for Teller {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        // Fails only when the other end is gone, and then nobody waits.
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}

fn unusable(what: &str, error: &io::Error) -> BoxliteError {
    let mut detail = Detail::new(format!("{what} can't be made: {error}"))
        .hint("raise the limit on open files (ulimit -n), or close descriptors of ended commands");
    if let Some(errno) = error.raw_os_error() {
        detail = detail.errno(errno);
    }
    BoxliteError::ResourceExhausted(detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::sync::Arc;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    #[tokio::test]
    async fn who_gives_up_waiting_leaves_nothing() {
        let held = Arc::new(());
        let also = held.clone();
        let told = readable_after(&Handle::current(), async move {
            let _also = also;
            std::future::pending::<()>().await;
        })
        .unwrap();
        let mut ends = [PollFd::new(told.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut ends, PollTimeout::ZERO).unwrap(), 0);
        drop(told);
        for _ in 0..12_000 {
            if Arc::strong_count(&held) == 1 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("the task stays");
    }

    #[tokio::test]
    async fn the_end_is_told_for_ever() {
        let told = readable_after(&Handle::current(), async {}).unwrap();
        for _ in 0..12_000 {
            let mut ends = [PollFd::new(told.as_fd(), PollFlags::POLLIN)];
            if poll(&mut ends, PollTimeout::ZERO).unwrap() == 1 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("it is never told");
    }
}
