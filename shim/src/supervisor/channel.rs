//! The yamux connection over the byte pipe to the agent: one task drives it, others ask it for streams.
//!
//! Owns the connection and its settings. What the streams carry is their users' affair.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll};

use boxlite_proto::channel::{READ_BUFFER, SPLIT_SEND, STREAM_TABLE, STREAM_WINDOW, WRITE_BUFFER};
use futures::io::{AsyncRead, AsyncWrite, BufReader, BufWriter};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::compat::TokioAsyncReadCompatExt;
use yamux::{Connection, ConnectionError, Mode};

use super::log::log;
use crate::engine::AgentPipe;

/// Requests for streams that may wait.
const REQUESTS: usize = 64;

/// The settings that both ends share: fixed windows, frames that fill 32 KiB.
pub(crate) fn config() -> yamux::Config {
    let mut config = yamux::Config::default();
    // First no limit, since each setter checks its value against the other's.
    config.set_max_connection_receive_window(None);
    config.set_max_num_streams(STREAM_TABLE);
    config.set_max_connection_receive_window(Some(STREAM_TABLE * STREAM_WINDOW));
    config.set_split_send_size(SPLIT_SEND);
    config
}

/// The channel has ended: the machine is gone or going.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the channel to the agent has ended")]
pub(crate) struct ChannelEnded;

/// Asks the channel for streams.
#[derive(Clone)]
pub(crate) struct Opener(mpsc::Sender<oneshot::Sender<yamux::Stream>>);

impl Opener {
    /// A new stream. The agent hears of it with its first bytes, so its opener writes first.
    pub(crate) async fn open(&self) -> Result<yamux::Stream, ChannelEnded> {
        let (give, get) = oneshot::channel();
        self.0.send(give).await.map_err(|_| ChannelEnded)?;
        get.await.map_err(|_| ChannelEnded)
    }
}

/// Drives a channel over `pipe` until it ends; the handle then tells why. Requests wait until the pipe is open.
pub(crate) fn start(pipe: AgentPipe) -> io::Result<(Opener, JoinHandle<ConnectionError>)> {
    let (requests, queue) = mpsc::channel(REQUESTS);
    let running = match pipe {
        AgentPipe::Open(pipe) => {
            let pipe = std::os::unix::net::UnixStream::from(pipe);
            pipe.set_nonblocking(true)?;
            tokio::spawn(drive(UnixStream::from_std(pipe)?, queue))
        }
        AgentPipe::Expected(socket) => {
            socket.set_nonblocking(true)?;
            let socket = UnixListener::from_std(socket)?;
            tokio::spawn(async move {
                let accepted = socket.accept().await;
                // Whoever else connects finds nobody.
                drop(socket);
                match accepted {
                    Ok((pipe, _)) => drive(pipe, queue).await,
                    Err(error) => ConnectionError::Io(error),
                }
            })
        }
    };
    Ok((Opener(requests), running))
}

async fn drive(pipe: UnixStream, queue: mpsc::Receiver<oneshot::Sender<yamux::Stream>>) -> ConnectionError {
    let pipe = BufReader::with_capacity(READ_BUFFER, BufWriter::with_capacity(WRITE_BUFFER, pipe.compat()));
    let connection = Connection::new(pipe, config(), Mode::Client);
    let mut driver = Driver { connection, queue, waiting: VecDeque::new() };
    std::future::poll_fn(|cx| driver.poll(cx)).await
}

struct Driver<T> {
    connection: Connection<T>,
    queue: mpsc::Receiver<oneshot::Sender<yamux::Stream>>,
    /// Taken from the queue, not yet served: yamux waits while too many streams are unanswered by the agent.
    waiting: VecDeque<oneshot::Sender<yamux::Stream>>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    /// Ready when the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionError> {
        loop {
            if let Poll::Ready(error) = self.serve_requests(cx) {
                return Poll::Ready(error);
            }
            match self.connection.poll_next_inbound(cx) {
                // The agent opens none; one that does gets it reset.
                Poll::Ready(Some(Ok(stream))) => {
                    log!("refused a stream that the agent opened");
                    drop(stream);
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(error),
                Poll::Ready(None) => return Poll::Ready(ConnectionError::Closed),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn serve_requests(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionError> {
        loop {
            if self.waiting.is_empty() {
                match self.queue.poll_recv(cx) {
                    Poll::Ready(Some(request)) => self.waiting.push_back(request),
                    Poll::Ready(None) | Poll::Pending => return Poll::Pending,
                }
            }
            match self.connection.poll_new_outbound(cx) {
                Poll::Ready(Ok(stream)) => {
                    if let Some(request) = self.waiting.pop_front() {
                        // A requester that is gone drops the stream, of which the agent never hears.
                        let _ = request.send(stream);
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(error),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

#[cfg(test)]
mod tests;
