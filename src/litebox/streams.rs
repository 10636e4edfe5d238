//! A process's streams in Rust: stdin to write to, stdout and stderr as streams of text or of bytes.
//!
//! A stream that ends is compared with what the agent counted: a bare end of file can't be told from a cut.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use boxlite_proto::agent::{StreamCount, StreamStateRequest};
use boxlite_proto::agent_ttrpc::AgentClient;
use boxlite_proto::stream::{OLDEST, Which};
use bytes::Bytes;
use futures::{FutureExt, Stream};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::litebox::core::Once;
use crate::litebox::execution::Ended;
use crate::litebox::live::LiveBox;
use crate::portal;

const CHUNK: usize = 64 * 1024;

/// The two directions of a connection that is being made; a direction nobody asks for stays open with its receiver.
pub(super) struct Halves {
    pub(super) read: oneshot::Receiver<BoxliteResult<OwnedReadHalf>>,
    pub(super) write: oneshot::Receiver<BoxliteResult<OwnedWriteHalf>>,
}

/// Connects to one of an execution's streams in the background.
pub(super) fn connect(handle: &Handle, live: &Arc<LiveBox>, execution: &str, which: Which) -> Halves {
    let (read_out, read) = oneshot::channel();
    let (write_out, write) = oneshot::channel();
    let (portal, execution) = (live.portal().clone(), execution.to_owned());
    handle.spawn(async move {
        // A receiver that is gone has lost interest in its direction.
        match portal.bytes(&execution, which, OLDEST).await {
            Ok(stream) => {
                let (read_half, write_half) = stream.into_split();
                let _ = read_out.send(Ok(read_half));
                let _ = write_out.send(Ok(write_half));
            }
            Err(error) => {
                let _ = read_out.send(Err(error.clone()));
                let _ = write_out.send(Err(error));
            }
        }
    });
    Halves { read, write }
}

fn runtime_gone() -> BoxliteError {
    BoxliteError::Stopped(Detail::new("the runtime was shut down"))
}

/// The way to write to a process. Dropping it is the end of its stdin, unless that is kept.
#[derive(Debug)]
pub struct ExecStdin {
    half: StdinHalf,
    /// Keeps the other direction open.
    _read: Option<oneshot::Receiver<BoxliteResult<OwnedReadHalf>>>,
}

#[derive(Debug)]
enum StdinHalf {
    Connecting(oneshot::Receiver<BoxliteResult<OwnedWriteHalf>>),
    Open(OwnedWriteHalf),
    Closed,
}

impl ExecStdin {
    pub(super) fn new(
        write: oneshot::Receiver<BoxliteResult<OwnedWriteHalf>>,
        read: Option<oneshot::Receiver<BoxliteResult<OwnedReadHalf>>>,
    ) -> Self {
        Self { half: StdinHalf::Connecting(write), _read: read }
    }

    /// Writes all of `data`; waits while the process does not read.
    ///
    /// # Errors
    /// `Execution` when the process has closed its stdin or this was closed.
    pub async fn write_all(&mut self, data: &[u8]) -> BoxliteResult<()> {
        self.connected().await?;
        match &mut self.half {
            StdinHalf::Open(half) => half.write_all(data).await.map_err(|error| {
                BoxliteError::Execution(Detail::new(format!(
                    "the process no longer reads its stdin: {error}"
                )))
            }),
            _ => Err(BoxliteError::Execution(Detail::new("stdin was closed"))),
        }
    }

    /// Ends the stream: the process reads EOF.
    pub async fn close(&mut self) -> BoxliteResult<()> {
        self.connected().await?;
        if let StdinHalf::Open(mut half) = std::mem::replace(&mut self.half, StdinHalf::Closed) {
            // A process that is gone needs no EOF.
            let _ = half.shutdown().await;
        }
        Ok(())
    }

    async fn connected(&mut self) -> BoxliteResult<()> {
        if let StdinHalf::Connecting(connecting) = &mut self.half {
            let connected = connecting.await.unwrap_or_else(|_| Err(runtime_gone()));
            // The answer comes once: what failed is closed.
            self.half = StdinHalf::Closed;
            self.half = StdinHalf::Open(connected?);
        }
        Ok(())
    }
}

/// One output stream, from its connection to the proof that nothing is missing.
pub(super) struct Output {
    state: OutputState,
    source: Source,
    received: u64,
    /// Keeps the other direction open.
    _write: Option<oneshot::Receiver<BoxliteResult<OwnedWriteHalf>>>,
}

/// What is needed to ask whether a stream is complete.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) handle: Handle,
    pub(super) live: Arc<LiveBox>,
    pub(super) execution: String,
    pub(super) which: Which,
    pub(super) end: Once<BoxliteResult<Ended>>,
}

enum OutputState {
    Connecting(oneshot::Receiver<BoxliteResult<OwnedReadHalf>>),
    Reading(OwnedReadHalf),
    Checking(JoinHandle<BoxliteResult<()>>),
    Done,
}

impl Output {
    pub(super) fn new(
        source: Source,
        read: oneshot::Receiver<BoxliteResult<OwnedReadHalf>>,
        write: Option<oneshot::Receiver<BoxliteResult<OwnedWriteHalf>>>,
    ) -> Self {
        Self { state: OutputState::Connecting(read), source, received: 0, _write: write }
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
                    let mut chunk = vec![0; CHUNK];
                    let mut buffer = ReadBuf::new(&mut chunk);
                    let read = ready!(Pin::new(half).poll_read(cx, &mut buffer));
                    let length = buffer.filled().len();
                    if read.is_ok() && length > 0 {
                        self.received += length as u64;
                        chunk.truncate(length);
                        return Poll::Ready(Some(Ok(chunk.into())));
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

/// Whether a reader that was given `received` bytes has had all there ever was.
pub(super) fn is_complete(count: &StreamCount, received: u64) -> bool {
    count.closed && count.first + received == count.total
}

/// Compares what was received with what the process wrote.
pub(super) async fn check_complete(source: Source, received: u64) -> BoxliteResult<()> {
    let asked = async {
        let request = StreamStateRequest {
            id: source.execution.clone(),
            which: source.which as u32,
            ..StreamStateRequest::default()
        };
        let call = |agent: AgentClient| async move { agent.stream_state(portal::prompt(), &request).await };
        let answer = source.live.portal().call("stream state", call).await?;
        Ok::<StreamCount, BoxliteError>(answer.count.unwrap_or_default())
    };
    let count = match asked.await {
        Ok(count) => count,
        // The VM is gone; the counts at the process's end are the last word, if it had one.
        Err(_) => match source.end.get().await {
            Some(Ok(ended)) if source.which == Which::Stderr => ended.stderr,
            Some(Ok(ended)) => ended.stdout,
            _ => StreamCount::default(),
        },
    };
    if is_complete(&count, received) {
        return Ok(());
    }
    Err(BoxliteError::Execution(
        Detail::new(format!("output cut off after {received} bytes"))
            .hint("the box ended, or another taker has taken the stream over"),
    ))
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
                // Text has no place for an error; the bytes form reports it.
                Some(Err(_)) | None if self.carry.is_empty() => return Poll::Ready(None),
                Some(Err(_)) | None => {
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
            pub(super) fn new(output: Output) -> Self {
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
    /// What a process writes to stdout (or its terminal), as text.
    ExecStdout
);
text_stream!(
    /// What a process writes to stderr, as text.
    ExecStderr
);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stdin_that_could_not_be_connected_stays_closed() {
        let (connected, connecting) = oneshot::channel();
        connected.send(Err(BoxliteError::Portal("gone".into()))).unwrap();
        let mut stdin = ExecStdin::new(connecting, None);
        assert!(matches!(stdin.write_all(b"x").await, Err(BoxliteError::Portal(_))));
        assert!(matches!(stdin.write_all(b"x").await, Err(BoxliteError::Execution(_))));
        stdin.close().await.unwrap();
    }

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
