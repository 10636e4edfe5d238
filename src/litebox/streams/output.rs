//! Reading a process's output, as text or as bytes.
//!
//! A stream that ends is compared with what the agent counted: a bare end of file can't be told from a cut.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use boxlite_proto::agent::StreamCount;
use bytes::Bytes;
use futures::{FutureExt, Stream};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Source, runtime_gone};
use crate::errors::{BoxliteError, BoxliteResult, Detail};

const CHUNK: usize = 64 * 1024;

/// One output stream, from its connection to the proof that nothing is missing.
pub(in crate::litebox) struct Output {
    state: OutputState,
    source: Source,
    received: u64,
    /// Made once, since clearing it for each poll would cost more than the read.
    buffer: Box<[u8]>,
    /// Keeps the other direction open.
    _write: Option<oneshot::Receiver<BoxliteResult<OwnedWriteHalf>>>,
}

enum OutputState {
    Connecting(oneshot::Receiver<BoxliteResult<OwnedReadHalf>>),
    Reading(OwnedReadHalf),
    Checking(JoinHandle<BoxliteResult<()>>),
    Done,
}

impl Output {
    pub(in crate::litebox) fn new(
        source: Source,
        read: oneshot::Receiver<BoxliteResult<OwnedReadHalf>>,
        write: Option<oneshot::Receiver<BoxliteResult<OwnedWriteHalf>>>,
    ) -> Self {
        let buffer = vec![0; CHUNK].into_boxed_slice();
        Self { state: OutputState::Connecting(read), source, received: 0, buffer, _write: write }
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<BoxliteResult<Bytes>>> {
        loop {
            match &mut self.state {
                OutputState::Connecting(connecting) => {
                    match ready!(connecting.poll_unpin(cx)).unwrap_or_else(|_| Err(runtime_gone())) {
                        Ok(half) => self.state = OutputState::Reading(half),
                        Err(error) => {
                            self.state = OutputState::Done;
                            return Poll::Ready(Some(Err(error)));
                        }
                    }
                }
                OutputState::Reading(half) => {
                    let mut buffer = ReadBuf::new(&mut self.buffer);
                    let read = ready!(Pin::new(half).poll_read(cx, &mut buffer));
                    let chunk = buffer.filled();
                    if read.is_ok() && !chunk.is_empty() {
                        self.received += chunk.len() as u64;
                        return Poll::Ready(Some(Ok(Bytes::copy_from_slice(chunk))));
                    }
                    // A reset is an end like any other: the count tells whether something is missing.
                    let check = check_complete(self.source.clone(), self.received);
                    self.state = OutputState::Checking(self.source.handle.spawn(check));
                }
                OutputState::Checking(checking) => {
                    let checked = ready!(checking.poll_unpin(cx)).unwrap_or_else(|_| Err(runtime_gone()));
                    self.state = OutputState::Done;
                    return Poll::Ready(checked.err().map(Err));
                }
                OutputState::Done => return Poll::Ready(None),
            }
        }
    }
}

/// Whether a reader that was given `received` bytes has had all there ever was from its first one on. `count` is as this
/// reader sees it: where another's would be, its `first` is 0.
pub(in crate::litebox) fn is_complete(count: &StreamCount, received: u64) -> bool {
    count.closed && count.first + received == count.total
}

/// Compares what was received with what the process wrote.
pub(in crate::litebox) async fn check_complete(source: Source, received: u64) -> BoxliteResult<()> {
    let asked = source.state().await;
    // The VM is gone, or keeps nothing of the execution any more: the counts at the process's end are the last word, if
    // it had one.
    let count = match &asked {
        Ok(state) => state.count.clone().unwrap_or_default(),
        Err(_) => source.last_count().await.unwrap_or_default(),
    };
    if is_complete(&count, received) {
        return Ok(());
    }
    Err(BoxliteError::Execution(match asked {
        Ok(state) if state.taken_over => {
            Detail::new(format!("output cut off after {received} bytes: another taker has taken the stream over"))
                .hint("who took it has what follows; the state of its stream tells from which byte on")
        }
        Ok(_) if count.closed && count.dropped > 0 => Detail::new(format!(
            "output cut off after {received} bytes: the box has given up {} bytes that nobody had taken",
            count.dropped
        ))
        .hint("take a command's output before many others end, or give the box more memory"),
        // Others may have written on after the process's end.
        Err(BoxliteError::NotFound(_)) => Detail::new(format!(
            "no word on whether {received} bytes are all of the output: the box keeps the counts of its 64 newest \
             ended commands only"
        ))
        .hint("read a command's output to its end before many others end"),
        _ => Detail::new(format!("output cut off after {received} bytes"))
            .hint("the box ended, or the connection to it broke"),
    }))
}

/// stdout or stderr as raw bytes, in chunks as they come. An error is the last item: the output was cut off.
pub struct ExecBytes {
    output: Output,
    /// Read already, as the beginning of a character that was not complete.
    carry: Vec<u8>,
}

impl Stream for ExecBytes {
    type Item = BoxliteResult<Bytes>;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !self.carry.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.carry).into())));
        }
        self.output.poll_chunk(cx)
    }
}

impl std::fmt::Debug for ExecBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExecBytes").field("received", &self.output.received).finish_non_exhaustive()
    }
}

/// Text out of chunks of bytes: never split inside a character; what is no UTF-8 becomes U+FFFD.
struct Text {
    output: Output,
    /// The beginning of a character whose rest has yet to come.
    carry: Vec<u8>,
}

impl Text {
    fn poll_text(&mut self, cx: &mut Context<'_>) -> Poll<Option<String>> {
        loop {
            match ready!(self.output.poll_chunk(cx)) {
                Some(Ok(chunk)) => {
                    self.carry.extend_from_slice(&chunk);
                    let whole = self.carry.len() - incomplete_tail(&self.carry);
                    if whole > 0 {
                        let text = String::from_utf8_lossy(&self.carry[..whole]).into_owned();
                        self.carry.drain(..whole);
                        return Poll::Ready(Some(text));
                    }
                }
                // Text has no place for an error: whoever waits for the process is told.
                Some(Err(error)) => {
                    let _ = self.output.source.cut.set(error.to_string());
                }
                None if self.carry.is_empty() => return Poll::Ready(None),
                None => {
                    let rest = String::from_utf8_lossy(&self.carry).into_owned();
                    self.carry.clear();
                    return Poll::Ready(Some(rest));
                }
            }
        }
    }
}

/// Length of the unfinished character at the end of `bytes`, 0 to 3.
fn incomplete_tail(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let byte = bytes[bytes.len() - back];
        let needs = match byte {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => return 0,
        };
        return if needs > back { back } else { 0 };
    }
    0
}

macro_rules! text_stream {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name(Text);

        impl $name {
            pub(in crate::litebox) fn new(output: Output) -> Self {
                Self(Text { output, carry: Vec::new() })
            }

            /// The same stream as raw bytes, lossless and with a word about a cut.
            pub fn bytes(self) -> ExecBytes {
                ExecBytes { output: self.0.output, carry: self.0.carry }
            }
        }

        impl Stream for $name {
            type Item = String;
            fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<String>> {
                self.0.poll_text(cx)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).field("received", &self.0.output.received).finish_non_exhaustive()
            }
        }
    };
}

text_stream!(
    /// What a process writes to stdout (or its terminal), as text. That it was cut off is told by the `error_message` of
    /// [`Execution::wait`](crate::Execution::wait).
    ExecStdout
);
text_stream!(
    /// What a process writes to stderr, as text. That it was cut off is told as for [`ExecStdout`].
    ExecStderr
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_is_never_split() {
        for text in ["a", "é", "€", "😀", "", "x😀"] {
            let bytes = text.as_bytes();
            assert_eq!(incomplete_tail(bytes), 0, "{text:?}");
        }
        assert_eq!(incomplete_tail(&"é".as_bytes()[..1]), 1);
        assert_eq!(incomplete_tail(&"€".as_bytes()[..2]), 2);
        assert_eq!(incomplete_tail(&"😀".as_bytes()[..3]), 3);
        assert_eq!(incomplete_tail(b"a\xff"), 0);
        assert_eq!(incomplete_tail(b"\x80\x80\x80\x80"), 0);
    }
}
