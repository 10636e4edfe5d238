//! A process's streams in Rust: stdin to write to, stdout and stderr as streams of text or of bytes.
//!
//! Owns the connection of each; what is written to it and read from it is the two directions' own.

mod input;
mod output;

use std::sync::Arc;

use boxlite_proto::agent::{CloseStdinRequest, StreamCount, StreamStateRequest};
use boxlite_proto::agent_ttrpc::AgentClient;
use boxlite_proto::stream::{OLDEST, Which};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::litebox::core::Once;
use crate::litebox::execution::Ended;
use crate::litebox::live::LiveBox;
use crate::portal;

pub use input::ExecStdin;
pub use output::{ExecBytes, ExecStderr, ExecStdout};
pub(super) use output::{Output, check_complete, is_complete};

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

/// What is needed to ask the agent about a stream.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) handle: Handle,
    pub(super) live: Arc<LiveBox>,
    pub(super) execution: String,
    pub(super) which: Which,
    pub(super) end: Once<BoxliteResult<Ended>>,
}

impl Source {
    /// How an output stream stands, as the agent counts it.
    pub(super) async fn count(&self) -> BoxliteResult<StreamCount> {
        let request = StreamStateRequest {
            id: self.execution.clone(),
            which: self.which as u32,
            ..StreamStateRequest::default()
        };
        let call = |agent: AgentClient| async move { agent.stream_state(portal::prompt(), &request).await };
        let answer = self.live.portal().call("stream state", call).await?;
        Ok(answer.count.unwrap_or_default())
    }

    /// How an output stream stood at the process's end, once that has come; `None` when nobody can tell.
    pub(super) async fn last_count(&self) -> Option<StreamCount> {
        let ended = self.end.get().await?.ok()?;
        Some(if self.which == Which::Stderr { ended.stderr } else { ended.stdout })
    }

    /// Ends the process's stdin once it has been given `total_bytes` since its start.
    pub(super) async fn close_stdin(self, total_bytes: u64) -> BoxliteResult<()> {
        let request = CloseStdinRequest { id: self.execution, total_bytes, ..CloseStdinRequest::default() };
        let call = |agent: AgentClient| async move { agent.close_stdin(portal::prompt(), &request).await };
        self.live.portal().call("close stdin", call).await.map(|_| ())
    }
}
