//! An execution's streams and its end as descriptors, for event loops that are not ours.
//!
//! A descriptor is given away: nothing here reads, writes or closes it afterwards.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use boxlite_proto::agent::StreamCount;
use boxlite_proto::stream::Which;
use tokio::runtime::Handle;

use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::litebox::execution::Execution;

/// What is known of an output stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// Offset of the first byte that the present taker got, or the last one.
    pub first: u64,
    /// Bytes the process has written.
    pub total: u64,
    /// Bytes that were dropped because nobody took them.
    pub dropped: u64,
    /// No process holds the stream's other end any more.
    pub closed: bool,
}

impl From<StreamCount> for StreamState {
    fn from(count: StreamCount) -> Self {
        Self { first: count.first, total: count.total, dropped: count.dropped, closed: count.closed }
    }
}

impl Execution {
    /// Connects to one of the execution's streams; an output stream begins at `offset`, or at the oldest byte still
    /// there. Who was connected to it before gets an end of file.
    pub(crate) async fn connect(&self, which: Which, offset: u64) -> BoxliteResult<UnixStream> {
        let (live, id) = (self.live().clone(), self.id().clone());
        let connected = async move {
            match live.portal().bytes(&id, which, offset).await {
                Ok(stream) => stream.into_std().map_err(|error| unusable("a stream", &error)),
                Err(error) => Err(live.explain(error).await),
            }
        };
        self.core().run(connected).await
    }

    /// How an output stream stands. After the box's end: how it stood at the process's end.
    ///
    /// # Errors
    /// `NotFound` when the box knows nothing of the execution any more, `Stopped` when the box has ended without a word.
    pub async fn stream_state(&self, stderr: bool) -> BoxliteResult<StreamState> {
        let which = if stderr { Which::Stderr } else { Which::Stdout };
        let source = self.source(which);
        let asked = async move {
            let error = match source.count().await {
                Ok(count) => return Ok(count),
                Err(error) => source.live.explain(error).await,
            };
            // Only a box that is gone has left its last word to us.
            if matches!(error, BoxliteError::Stopped(_)) && source.live.process().has_ended() {
                return source.last_count().await.ok_or(error);
            }
            Err(error)
        };
        self.core().run(asked).await.map(StreamState::from)
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
        let _tells = tells;
        end.await;
    });
    Ok(told.into())
}

/// The end that is kept. A forked child may have a copy, so closing it would say nothing.
struct Teller(UnixStream);

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
