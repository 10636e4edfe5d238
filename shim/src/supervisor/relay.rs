//! Carries bytes between a client of `agent.sock` and its stream to the agent, both ways, half-closes included.
//!
//! Understands nothing of what it carries. One small state per direction; both are polled from one task, so that a
//! byte passes through with one wake-up.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::io::AsyncWrite;
use futures::stream::Stream as _;
use nix::sys::socket::{Shutdown, shutdown};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;

use crate::sys;

/// Read from a client at a time: two frames.
pub(crate) const CHUNK: usize = 64 * 1024;

/// What a client's half-close means to the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HalfClose {
    /// The end of its input.
    IsEof,
    /// Nothing: the stream carries output. It is kept back, since after it yamux could not tell the agent any more
    /// that the reader has gone, and the agent's writer would hang.
    MeansNothing,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The client hung up; dropping the stream resets it, which tells the agent.
    ClientGone,
    /// The agent has sent all it had to send.
    AgentDone,
    /// The agent takes and gives nothing more, or the machine is gone.
    AgentReset,
}

/// From the client to the agent.
enum Up {
    Reading,
    Writing {
        from: usize,
        to: usize,
    },
    Closing,
    /// The agent has been told the end of its input.
    Closed,
    /// The client's half-close was kept back: waits for its hang-up. A registration of its own, whose readiness may
    /// be cleared without disturbing the other direction.
    Watching(AsyncFd<OwnedFd>),
}

/// From the agent to the client.
enum Down {
    Reading,
    Writing {
        packet: yamux::Packet,
        from: usize,
    },
    /// Nobody reads any more, but the agent still takes input.
    Discarding,
}

/// One client and its stream.
pub(crate) struct Relay<'a> {
    client: &'a UnixStream,
    stream: yamux::Stream,
    half_close: HalfClose,
    buffer: Vec<u8>,
    up: Up,
    down: Down,
}

impl<'a> Relay<'a> {
    /// `first` holds what the client has sent so far and must not be empty: with it the stream opens.
    pub(crate) fn new(
        client: &'a UnixStream,
        stream: yamux::Stream,
        half_close: HalfClose,
        mut first: Vec<u8>,
    ) -> Self {
        let to = first.len();
        first.resize(to.max(CHUNK), 0);
        Self {
            client,
            stream,
            half_close,
            buffer: first,
            up: Up::Writing { from: 0, to },
            down: Down::Reading,
        }
    }

    /// Runs until one side is done; the stream is dropped then.
    pub(crate) async fn exchange(mut self) -> Ending {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        if let Poll::Ready(ending) = self.poll_up(cx) {
            return Poll::Ready(ending);
        }
        self.poll_down(cx)
    }

    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        loop {
            match &mut self.up {
                Up::Reading => match ready!(poll_try(cx, Direction::Read, self.client, |client| {
                    client.try_read(&mut self.buffer)
                })) {
                    Ok(0) if sys::peer_has_hung_up(self.client) => return Poll::Ready(Ending::ClientGone),
                    Ok(0) => match self.half_close {
                        HalfClose::IsEof => self.up = Up::Closing,
                        HalfClose::MeansNothing => match sys::watch(self.client, Interest::WRITABLE) {
                            Ok(watched) => self.up = Up::Watching(watched),
                            Err(_) => return Poll::Ready(Ending::ClientGone),
                        },
                    },
                    Ok(to) => self.up = Up::Writing { from: 0, to },
                    Err(_) => return Poll::Ready(Ending::ClientGone),
                },
                Up::Writing { from, to } => {
                    match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.buffer[*from..*to])) {
                        Ok(written) => *from += written,
                        // Left for the other direction to find, which first hands on what the agent had sent.
                        Err(_) => return Poll::Pending,
                    }
                    if from == to {
                        self.up = Up::Reading;
                    }
                }
                Up::Closing => {
                    // An error means that the channel has ended, which the other direction finds.
                    let _ = ready!(Pin::new(&mut self.stream).poll_close(cx));
                    self.up = Up::Closed;
                }
                Up::Closed => return Poll::Pending,
                Up::Watching(watched) => {
                    if sys::peer_has_hung_up(self.client) {
                        return Poll::Ready(Ending::ClientGone);
                    }
                    match ready!(watched.poll_write_ready(cx)) {
                        Ok(mut guard) => guard.clear_ready(),
                        Err(_) => return Poll::Ready(Ending::ClientGone),
                    }
                }
            }
        }
    }

    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        loop {
            match &mut self.down {
                Down::Reading => match ready!(Pin::new(&mut self.stream).poll_next(cx)) {
                    Some(Ok(packet)) => self.down = Down::Writing { packet, from: 0 },
                    Some(Err(_)) => return Poll::Ready(Ending::AgentReset),
                    None => return Poll::Ready(self.agent_ending()),
                },
                Down::Writing { packet, from } => {
                    let rest = &packet.as_ref()[*from..];
                    if rest.is_empty() {
                        self.down = Down::Reading;
                        continue;
                    }
                    let written =
                        ready!(poll_try(cx, Direction::Write, self.client, |client| client.try_write(rest)));
                    match written {
                        Ok(written) => *from += written,
                        // The agent must learn at once that nobody reads, once it has what the client last wrote.
                        Err(_) if self.half_close == HalfClose::MeansNothing => {
                            let _ = self.poll_up(cx);
                            return Poll::Ready(Ending::ClientGone);
                        }
                        // The input counts; the other direction finds its end.
                        Err(_) => self.down = Down::Discarding,
                    }
                }
                Down::Discarding => match ready!(Pin::new(&mut self.stream).poll_next(cx)) {
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Poll::Ready(Ending::ClientGone),
                },
            }
        }
    }

    /// yamux knows a reset as "closed" though this end did not close.
    fn agent_ending(&self) -> Ending {
        if self.stream.is_closed() && !matches!(self.up, Up::Closed) {
            Ending::AgentReset
        } else {
            Ending::AgentDone
        }
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Read,
    Write,
}

/// `attempt` when the client is ready for it, as often as it turns out not to be.
fn poll_try<T>(
    cx: &mut Context<'_>,
    direction: Direction,
    client: &UnixStream,
    mut attempt: impl FnMut(&UnixStream) -> io::Result<T>,
) -> Poll<io::Result<T>> {
    loop {
        match direction {
            Direction::Read => ready!(client.poll_read_ready(cx))?,
            Direction::Write => ready!(client.poll_write_ready(cx))?,
        }
        match attempt(client) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return Poll::Ready(result),
        }
    }
}

/// Sees a client off after the agent's end: it gets EOF, and the socket is closed only once it has nothing unread
/// of the client's, since closing it earlier would show the client a reset before the last bytes.
pub(crate) async fn see_off(client: &UnixStream, ending: Ending) {
    let how = match ending {
        Ending::ClientGone => return,
        Ending::AgentDone => Shutdown::Write,
        // Nobody takes the client's bytes: its next write fails with EPIPE.
        Ending::AgentReset => Shutdown::Both,
    };
    if shutdown(client.as_raw_fd(), how).is_err() {
        return;
    }
    let mut scrap = vec![0; 4096];
    let drained = poll_fn(|cx| {
        loop {
            match ready!(poll_try(cx, Direction::Read, client, |client| client.try_read(&mut scrap))) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
    });
    drained.await;
}

#[cfg(test)]
mod tests;
