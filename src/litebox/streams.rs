//! A process's streams in Rust: stdin to write to, stdout and stderr as streams of text or of bytes.
//!
//! Owns the connection of each; what is written to it and read from it is the two directions' own.

mod input;
mod output;

use std::sync::{Arc, OnceLock};

use boxlite_proto::agent::{CloseStdinRequest, StreamCount, StreamStateRequest, StreamStateResponse};
use boxlite_proto::agent_ttrpc::AgentClient;
use boxlite_proto::stream::{BytesHeader, OLDEST, Which};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::litebox::core::Once;
use crate::litebox::execution::Ended;
use crate::litebox::live::LiveBox;
use crate::model::id::random_bytes;
use crate::portal;

pub use input::ExecStdin;
pub use output::{ExecBytes, ExecStderr, ExecStdout};
pub(super) use output::{Output, check_complete, is_complete};

/// Draws the number by which one who takes streams is known to the agent.
pub(super) fn new_taker() -> u64 {
    let mut drawn = [0; 8];
    random_bytes(&mut drawn);
    u64::from_le_bytes(drawn).max(1)
}

/// The two directions of a connection that is being made; a direction nobody asks for stays open with its receiver.
pub(super) struct Halves {
    pub(super) read: oneshot::Receiver<BoxliteResult<OwnedReadHalf>>,
    pub(super) write: oneshot::Receiver<BoxliteResult<OwnedWriteHalf>>,
}

/// Connects to one of an execution's streams in the background.
pub(super) fn connect(source: &Source) -> Halves {
    let (read_out, read) = oneshot::channel();
    let (write_out, write) = oneshot::channel();
    let (portal, header) = (source.live.portal().clone(), source.header(OLDEST));
    source.handle.spawn(async move {
        // A receiver that is gone has lost interest in its direction.
        match portal.bytes(&header).await {
            Ok(stream) => {
                let (read_half, write_half) = stream.into_split();
                let _ = read_out.send(Ok(read_half));
                if let Err(Ok(write_half)) = write_out.send(Ok(write_half)) {
                    // Not shut down: what was given up before it was connected is a lost connection, no end of input.
                    write_half.forget();
                }
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

/// What is needed to connect to a stream, and to ask the agent about it.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) handle: Handle,
    pub(super) live: Arc<LiveBox>,
    pub(super) execution: String,
    pub(super) which: Which,
    pub(super) taker: u64,
    pub(super) end: Once<BoxliteResult<Ended>>,
    /// Where a stream that can't say so itself says that it was cut off.
    pub(super) cut: Arc<OnceLock<String>>,
}

impl Source {
    /// Asks for the stream of an execution that has begun.
    pub(super) fn header(&self, offset: u64) -> BytesHeader {
        let execution = self.execution.clone();
        BytesHeader { which: self.which, execution, offset, taker: self.taker, is_early: false }
    }

    /// How an output stream stands, as the agent counts it for this taker.
    pub(super) async fn state(&self) -> BoxliteResult<StreamStateResponse> {
        let request = StreamStateRequest {
            id: self.execution.clone(),
            which: self.which as u32,
            taker: self.taker,
            ..StreamStateRequest::default()
        };
        let call = |agent: AgentClient| async move { agent.stream_state(portal::patient(), &request).await };
        self.live.portal().call("stream state", call).await
    }

    /// How an output stream stood at the process's end, once that has come; `None` when nobody can tell.
    pub(super) async fn last_count(&self) -> Option<StreamCount> {
        let ended = self.end.get().await?.ok()?;
        Some(if self.which == Which::Stderr { ended.stderr } else { ended.stdout })
    }

    /// Ends the process's stdin once it has been given `total_bytes` since its start.
    pub(super) async fn close_stdin(self, total_bytes: u64) -> BoxliteResult<()> {
        let request = CloseStdinRequest { id: self.execution, total_bytes, ..CloseStdinRequest::default() };
        let call = |agent: AgentClient| async move { agent.close_stdin(portal::patient(), &request).await };
        self.live.portal().call("close stdin", call).await.map(|_| ())
    }
}
