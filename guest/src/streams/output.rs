//! One output stream of an execution: from its pipe or terminal to the taker, or into the ring.
//!
//! Owns the three states: *untaken* (kept up to the ring's limit; or all of it, for a pipe), *taken* (lossless, the
//! taker's pace is the process's), *detached* (as untaken). The process never gets SIGPIPE from here.

use std::future::Future;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use boxlite_proto::stream::OLDEST;
use futures::io::{AsyncRead, AsyncWrite};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use yamux::Stream;

use crate::streams::ring::Ring;
use crate::streams::terminal::Keyboard;
use crate::streams::{InputMode, OutputMode, Taker, farewell};
use crate::sys::{is_hung_up, lock, poll_read, readable_bytes};

/// Most bytes read at once.
const CHUNK: usize = 64 * 1024;
/// Rounds before other tasks get their turn.
const ROUNDS: usize = 16;

/// Byte totals, as the wire has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) total: u64,
    pub(crate) dropped: u64,
    pub(crate) closed: bool,
    pub(crate) first: u64,
    pub(crate) taken: bool,
}

#[derive(Debug)]
enum Command {
    Take(Taker),
    CloseInput(u64),
    Forget,
}

#[derive(Debug, Default)]
struct Book {
    count: Count,
    held: usize,
    /// Kept here for questions about what is still in the pipe.
    source: Option<Source>,
}

/// Where the bytes come from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// The read end of a pipe.
    Pipe(Arc<AsyncFd<OwnedFd>>),
    /// The master of a terminal, which also takes input.
    Terminal(Arc<AsyncFd<OwnedFd>>),
}

impl Source {
    fn fd(&self) -> &AsyncFd<OwnedFd> {
        match self {
            Self::Pipe(fd) | Self::Terminal(fd) => fd,
        }
    }
}

/// The handle on an output stream.
#[derive(Debug)]
pub(crate) struct Output {
    commands: UnboundedSender<Command>,
    book: Arc<Mutex<Book>>,
    /// No taker waits for any of it.
    idle: Arc<watch::Sender<bool>>,
    arrived: AtomicBool,
}

/// An output stream whose process has not started yet; takers may come already.
#[derive(Debug)]
pub(crate) struct Waiting {
    commands: UnboundedReceiver<Command>,
    book: Arc<Mutex<Book>>,
    idle: Arc<watch::Sender<bool>>,
    mode: OutputMode,
}

impl Output {
    /// A stream without a source yet.
    pub(crate) fn new(mode: OutputMode) -> (Self, Waiting) {
        let (sender, commands) = unbounded_channel();
        let book = Arc::new(Mutex::new(Book::default()));
        let idle = Arc::new(watch::Sender::new(false));
        let output = Self {
            commands: sender,
            book: Arc::clone(&book),
            idle: Arc::clone(&idle),
            arrived: AtomicBool::new(false),
        };
        (output, Waiting { commands, book, idle, mode })
    }

    /// Gives the stream to a taker; one who had it gets EOF.
    pub(crate) fn give(&self, taker: Taker) {
        self.arrived.store(true, Ordering::Relaxed);
        // A pump that has ended drops the taker's stream, which resets it.
        let _ = self.commands.send(Command::Take(taker));
    }

    /// Some taker has come already.
    pub(crate) fn has_arrived(&self) -> bool {
        self.arrived.load(Ordering::Relaxed)
    }

    /// EOF for a terminal's input once `total` bytes have reached it.
    pub(crate) fn close_input(&self, total: u64) {
        let _ = self.commands.send(Command::CloseInput(total));
    }

    /// Lets go of what is kept.
    pub(crate) fn forget(&self) {
        let _ = self.commands.send(Command::Forget);
    }

    /// Bytes of memory it holds.
    pub(crate) fn held(&self) -> usize {
        lock(&self.book).held
    }

    /// Returns when no taker waits for any of it.
    pub(crate) async fn delivered(&self) {
        if self.commands.is_closed() {
            return;
        }
        let mut idle = self.idle.subscribe();
        // A pump that is gone owes nothing to anyone.
        let _ = idle.wait_for(|idle| *idle).await;
    }

    /// The totals as of now, what lies in the pipe included.
    pub(crate) fn count(&self) -> Count {
        let book = lock(&self.book);
        let mut count = book.count;
        if let Some(source) = &book.source {
            count.total += readable_bytes(source.fd().get_ref().as_fd());
            // A terminal's last bytes may still be on their way inside the kernel: only its EOF is the end.
            count.closed = matches!(source, Source::Pipe(fd) if is_hung_up(fd.get_ref().as_fd()));
        } else if self.commands.is_closed() {
            // Nobody serves it: its process never began.
            count.closed = true;
        }
        count
    }
}

impl Waiting {
    /// Starts serving. Without a source the stream is empty and at its end.
    pub(crate) fn start(self, source: Option<Source>, input: InputMode) {
        let keyboard = match &source {
            Some(Source::Terminal(_)) => Some(Keyboard::new(input)),
            _ => None,
        };
        {
            let mut book = lock(&self.book);
            book.count.closed = source.is_none();
            book.source = source.clone();
        }
        let Self { commands, book, idle, mode } = self;
        let pump = Pump {
            commands,
            orphaned: false,
            book,
            idle,
            mode,
            ring: Ring::default(),
            source,
            taker: None,
            was_taken: false,
            keyboard,
        };
        tokio::spawn(pump);
    }
}

#[derive(Debug)]
struct Taken {
    stream: Stream,
    /// The host has said its last word on this stream.
    heard_out: bool,
}

#[derive(Debug)]
struct Pump {
    commands: UnboundedReceiver<Command>,
    orphaned: bool,
    book: Arc<Mutex<Book>>,
    idle: Arc<watch::Sender<bool>>,
    mode: OutputMode,
    ring: Ring,
    source: Option<Source>,
    taker: Option<Taken>,
    was_taken: bool,
    keyboard: Option<Keyboard>,
}

impl Future for Pump {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        for _ in 0..ROUNDS {
            let mut moved = this.obey(cx);
            moved |= this.send(cx);
            moved |= this.hear(cx);
            moved |= this.type_in(cx);
            moved |= this.collect(cx);
            if this.orphaned && this.taker.is_none() {
                return Poll::Ready(());
            }
            if !moved {
                let idle = this.taker.is_none();
                this.idle.send_if_modified(|was| std::mem::replace(was, idle) != idle);
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Pump {
    /// Takes the commands that have come.
    fn obey(&mut self, cx: &mut Context<'_>) -> bool {
        if self.orphaned {
            return false;
        }
        match self.commands.poll_recv(cx) {
            Poll::Pending => return false,
            Poll::Ready(None) => self.orphaned = true,
            Poll::Ready(Some(Command::Take(taker))) => self.take_over(taker),
            Poll::Ready(Some(Command::CloseInput(total))) => {
                if let Some(keyboard) = &mut self.keyboard {
                    keyboard.close_at(total);
                }
            }
            Poll::Ready(Some(Command::Forget)) => {
                if self.taker.is_none() {
                    let lost = self.ring.clear();
                    let mut book = lock(&self.book);
                    book.count.dropped += lost;
                    book.held = 0;
                }
            }
        }
        true
    }

    fn take_over(&mut self, taker: Taker) {
        if let Some(earlier) = self.taker.take() {
            farewell(earlier.stream);
        }
        let first = match taker.offset {
            OLDEST => self.ring.cursor(),
            offset => self.ring.seek(offset),
        };
        let mut book = lock(&self.book);
        book.count.first = first;
        book.count.taken = true;
        self.was_taken = true;
        self.taker = Some(Taken { stream: taker.stream, heard_out: false });
    }

    /// The taker is gone without having read to the end.
    fn detach(&mut self) {
        self.taker = None;
        lock(&self.book).count.taken = false;
        if let Some(keyboard) = &mut self.keyboard {
            keyboard.lost();
        }
    }

    /// Passes kept bytes to the taker, and at the end of all its EOF.
    fn send(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(taker) = &mut self.taker else { return false };
        if self.ring.has_unsent() {
            return match Pin::new(&mut taker.stream).poll_write(cx, self.ring.unsent()) {
                Poll::Pending => false,
                Poll::Ready(Ok(n)) => {
                    self.ring.sent(n);
                    true
                }
                Poll::Ready(Err(_)) => {
                    self.detach();
                    true
                }
            };
        }
        if self.source.is_some() {
            return false;
        }
        if let Some(taker) = self.taker.take() {
            lock(&self.book).count.taken = false;
            farewell(taker.stream);
        }
        true
    }

    /// Listens to the taker: a terminal's input; for pipes only whether it is still there.
    fn hear(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(taker) = &mut self.taker else { return false };
        if taker.heard_out || self.keyboard.as_ref().is_some_and(|keyboard| !keyboard.has_room()) {
            return false;
        }
        let mut buf = [0; 4096];
        match Pin::new(&mut taker.stream).poll_read(cx, &mut buf) {
            Poll::Pending => false,
            Poll::Ready(Ok(0)) if !taker.stream.is_closed() => {
                taker.heard_out = true;
                if let Some(keyboard) = &mut self.keyboard {
                    keyboard.end();
                }
                true
            }
            Poll::Ready(Ok(0) | Err(_)) => {
                self.detach();
                true
            }
            Poll::Ready(Ok(n)) => {
                if let Some(keyboard) = &mut self.keyboard {
                    keyboard.typed(&buf[..n]);
                }
                true
            }
        }
    }

    /// Moves typed bytes on into the terminal.
    fn type_in(&mut self, cx: &mut Context<'_>) -> bool {
        match (&mut self.keyboard, &self.source) {
            (Some(keyboard), Some(Source::Terminal(master))) => keyboard.poll_type(master, cx),
            _ => false,
        }
    }

    /// Reads from the process as far as the stream's state allows.
    fn collect(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(source) = &self.source else { return false };
        let waits = self.taker.is_some() || (self.mode == OutputMode::Pipe && !self.was_taken);
        let space = self.ring.space(CHUNK, !waits);
        if space.is_empty() {
            return false;
        }
        match poll_read(source.fd(), cx, space) {
            Poll::Pending => false,
            Poll::Ready(Ok(n)) if n > 0 => {
                let lost = self.ring.filled(n);
                let mut book = lock(&self.book);
                book.count.total = self.ring.head();
                book.count.dropped += lost;
                book.held = self.ring.held();
                true
            }
            // A terminal whose last user is gone answers EIO.
            Poll::Ready(Ok(_) | Err(_)) => {
                self.source = None;
                let mut book = lock(&self.book);
                book.count.closed = true;
                book.source = None;
                true
            }
        }
    }
}
