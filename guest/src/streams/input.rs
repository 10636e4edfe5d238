//! The stdin of an execution: from its taker into the process's pipe.
//!
//! Owns when the process sees EOF and when the taker learns that nobody reads. The taker's stream is only ever
//! dropped (which resets it), never half-closed: a writer at the host blocked for window would hang for ever.

use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures::io::AsyncRead;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use yamux::Stream;

use crate::streams::width::Width;
use crate::streams::{InputMode, Taker};
use crate::sys::poll_write;

/// Bytes on their way at most: as many as there can be of the taker's, since what comes in many small writes costs the
/// process, and an emulated CPU, a turn for each.
const CHUNK: usize = boxlite_proto::channel::STREAM_WINDOW;
/// Rounds before other tasks get their turn.
const ROUNDS: usize = 16;

#[derive(Debug)]
enum Command {
    Take(Taker),
    CloseAt(u64),
}

/// The handle on a stdin.
#[derive(Debug)]
pub(crate) struct Input {
    commands: UnboundedSender<Command>,
    arrived: AtomicBool,
    is_taken: Arc<AtomicBool>,
}

/// A stdin whose process has not started yet.
#[derive(Debug)]
pub(crate) struct Waiting {
    commands: UnboundedReceiver<Command>,
    is_taken: Arc<AtomicBool>,
    mode: InputMode,
}

impl Input {
    pub(crate) fn new(mode: InputMode) -> (Self, Waiting) {
        let (sender, commands) = unbounded_channel();
        let is_taken = Arc::new(AtomicBool::new(false));
        let input =
            Self { commands: sender, arrived: AtomicBool::new(false), is_taken: Arc::clone(&is_taken) };
        (input, Waiting { commands, is_taken, mode })
    }

    /// Gives the stream to a taker; one who had it is cut off.
    pub(crate) fn give(&self, taker: Taker) {
        self.arrived.store(true, Ordering::Relaxed);
        let _ = self.commands.send(Command::Take(taker));
    }

    /// Some taker has come already.
    pub(crate) fn has_arrived(&self) -> bool {
        self.arrived.load(Ordering::Relaxed)
    }

    /// A taker is connected.
    pub(crate) fn is_taken(&self) -> bool {
        self.is_taken.load(Ordering::Relaxed)
    }

    /// EOF once `total` bytes have reached the process.
    pub(crate) fn close_at(&self, total: u64) {
        let _ = self.commands.send(Command::CloseAt(total));
    }
}

impl Waiting {
    /// Starts feeding the write end of the process's pipe.
    pub(crate) fn start(self, sink: AsyncFd<OwnedFd>) {
        let Self { commands, is_taken, mode } = self;
        let buf = vec![0; CHUNK].into_boxed_slice();
        tokio::spawn(Feed {
            commands,
            mode,
            sink,
            taker: None,
            is_taken,
            buf,
            from: 0,
            to: 0,
            fed: 0,
            width: Width::default(),
            close_at: None,
        });
    }
}

#[derive(Debug)]
struct Feed {
    commands: UnboundedReceiver<Command>,
    mode: InputMode,
    sink: AsyncFd<OwnedFd>,
    taker: Option<Stream>,
    is_taken: Arc<AtomicBool>,
    buf: Box<[u8]>,
    from: usize,
    to: usize,
    fed: u64,
    width: Width,
    close_at: Option<u64>,
}

/// Whether the feed goes on.
enum Round {
    Moved,
    Still,
    /// The process has its EOF, or wants nothing more.
    Over,
}

impl Future for Feed {
    type Output = ();

    /// Ends with the pipe closed, and the taker's stream and all later ones dropped.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        for _ in 0..ROUNDS {
            match this.round(cx) {
                Round::Moved => {}
                Round::Still => return Poll::Pending,
                Round::Over => return Poll::Ready(()),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.is_taken.store(false, Ordering::Relaxed);
    }
}

impl Feed {
    fn round(&mut self, cx: &mut Context<'_>) -> Round {
        let mut moved = false;
        while let Poll::Ready(command) = self.commands.poll_recv(cx) {
            match command {
                Some(Command::Take(taker)) => {
                    self.taker = Some(taker.stream);
                    self.is_taken.store(true, Ordering::Relaxed);
                }
                Some(Command::CloseAt(total)) => self.close_at = Some(total),
                // The execution is forgotten: nobody can write any more.
                None => return Round::Over,
            }
            moved = true;
        }
        if self.from < self.to {
            return match poll_write(&self.sink, cx, &self.buf[self.from..self.to]) {
                Poll::Pending if moved => Round::Moved,
                Poll::Pending => Round::Still,
                Poll::Ready(Ok(n)) => {
                    self.from += n;
                    self.fed += n as u64;
                    self.width.passed(self.sink.get_ref(), self.fed);
                    Round::Moved
                }
                Poll::Ready(Err(_)) => Round::Over,
            };
        }
        if self.close_at.is_some_and(|total| self.fed >= total) || self.is_unread(cx) {
            return Round::Over;
        }
        self.hear(cx, moved)
    }

    fn hear(&mut self, cx: &mut Context<'_>, moved: bool) -> Round {
        let Some(stream) = &mut self.taker else { return if moved { Round::Moved } else { Round::Still } };
        (self.from, self.to) = (0, 0);
        let end = loop {
            if self.to == self.buf.len() {
                return Round::Moved;
            }
            match Pin::new(&mut *stream).poll_read(cx, &mut self.buf[self.to..]) {
                Poll::Ready(Ok(n)) if n > 0 => self.to += n,
                // Told again once these are on their way.
                _ if self.to > 0 => return Round::Moved,
                end => break end,
            }
        };
        match end {
            Poll::Pending if moved => Round::Moved,
            Poll::Pending => Round::Still,
            // A half-close is EOF in every mode; a lost connection only where nobody may come back.
            Poll::Ready(Ok(_)) if !stream.is_closed() => Round::Over,
            Poll::Ready(_) if self.mode == InputMode::Once => Round::Over,
            Poll::Ready(_) => {
                self.taker = None;
                self.is_taken.store(false, Ordering::Relaxed);
                Round::Moved
            }
        }
    }

    /// The process has closed its end; asked while there is nothing to write, so that an idle writer learns of it.
    fn is_unread(&self, cx: &mut Context<'_>) -> bool {
        while let Poll::Ready(Ok(mut guard)) = self.sink.poll_write_ready(cx) {
            if guard.ready().is_write_closed() {
                return true;
            }
            // Room in the pipe is no news; the next edge wakes us.
            guard.clear_ready();
        }
        false
    }
}
