//! The host's end of the channel to a box's guest agent: calls over ttrpc, bytes over plain sockets.
//!
//! Knows sockets and messages; knows nothing of boxes' states.

mod connect;
mod errors;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use boxlite_proto::agent_ttrpc::AgentClient;
use boxlite_proto::stream::{self, BytesHeader};
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use crate::errors::BoxliteResult;

/// Time for calls that the agent answers at once.
const PROMPT: Duration = Duration::from_secs(30);

/// The way to one box's agent. Clones share one connection for calls; each byte stream has its own.
#[derive(Clone)]
pub(crate) struct Portal {
    socket: Arc<PathBuf>,
    client: Arc<Mutex<Option<AgentClient>>>,
}

impl std::fmt::Debug for Portal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Portal").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Portal {
    /// The portal of the box whose shim listens at `socket`. Connects at the first use.
    pub(crate) fn new(socket: &Path) -> Self {
        Self { socket: Arc::new(socket.to_owned()), client: Arc::new(Mutex::new(None)) }
    }

    /// The same agent's, whose socket has moved. The connection for calls stays.
    pub(crate) fn moved(&self, socket: &Path) -> Self {
        Self { socket: Arc::new(socket.to_owned()), client: self.client.clone() }
    }

    /// One call named `name`. A connection that breaks is forgotten: the next call makes a new one.
    pub(crate) async fn call<T, F>(
        &self,
        name: &str,
        call: impl FnOnce(AgentClient) -> F + Send,
    ) -> BoxliteResult<T>
    where
        F: Future<Output = ttrpc::Result<T>> + Send,
    {
        let answer = call(self.connected().await?).await;
        if let Err(error) = &answer
            && !matches!(error, ttrpc::Error::RpcStatus(_))
        {
            *self.client.lock().await = None;
        }
        answer.map_err(|error| errors::refused(name, error))
    }

    /// Makes sure that calls have a connection.
    pub(crate) async fn connect(&self) -> BoxliteResult<()> {
        self.connected().await.map(|_| ())
    }

    /// The connection for calls: made once, and shared.
    async fn connected(&self) -> BoxliteResult<AgentClient> {
        let mut client = self.client.lock().await;
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        let stream = connect::open(&self.socket, &[stream::CALLS]).await?;
        let connected =
            AgentClient::new(ttrpc::r#async::Client::new(ttrpc::r#async::transport::Socket::new(stream)));
        *client = Some(connected.clone());
        Ok(connected)
    }

    /// One byte stream of an execution.
    pub(crate) async fn bytes(&self, header: &BytesHeader) -> BoxliteResult<UnixStream> {
        connect::open(&self.socket, &header.encode()).await
    }
}

/// Context of a call that the agent answers at once.
pub(crate) fn prompt() -> ttrpc::context::Context {
    within(PROMPT)
}

/// Context of a call that may wait as long as the box lives.
pub(crate) fn patient() -> ttrpc::context::Context {
    ttrpc::context::Context::default()
}

/// Context of a call that must be answered within `limit`.
pub(crate) fn within(limit: Duration) -> ttrpc::context::Context {
    ttrpc::context::with_duration(limit)
}
