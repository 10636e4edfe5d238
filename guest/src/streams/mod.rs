//! The byte streams of executions, between a process's pipes or terminal and whoever takes them.
//!
//! Owns what is kept, what is dropped, and who gets it. Knows no processes and no calls.

pub(crate) mod book;
pub(crate) mod input;
pub(crate) mod output;
pub(crate) mod parking;
pub(crate) mod pump;
mod ring;
pub(crate) mod source;
mod terminal;
#[cfg(test)]
mod tests;
mod width;

use futures::{AsyncReadExt, AsyncWriteExt};
use yamux::Stream;

/// What happens to stdin's far end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InputMode {
    /// There is none.
    Null,
    /// Losing the connection is EOF.
    Once,
    /// Only a half-close or CloseStdin is EOF.
    Keep,
}

/// What happens to output that nobody has taken yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutputMode {
    /// The newest is kept, the process never waits.
    Retain,
    /// All is kept, the process waits.
    Pipe,
    /// There is none.
    Null,
}

/// One party that wants a stream.
#[derive(Debug)]
pub(crate) struct Taker {
    pub(crate) stream: Stream,
    /// Where an output stream is to begin; `boxlite_proto::stream::OLDEST` for the oldest undelivered byte.
    pub(crate) offset: u64,
    /// Who it is, see `boxlite_proto::stream`.
    pub(crate) name: u64,
}

/// Gives a stream its end of file, then reads and discards until the host has closed its side as well: dropped
/// before that, a writer at the host would never learn that nobody reads.
pub(crate) fn farewell(mut stream: Stream) {
    tokio::spawn(async move {
        if stream.close().await.is_ok() {
            let mut discarded = [0; 1024];
            while stream.read(&mut discarded).await.is_ok_and(|n| n > 0) {}
        }
    });
}
