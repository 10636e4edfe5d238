//! One output stream of an execution: from its pipe or terminal to the taker, or into the ring.
//!
//! Owns the three states: *untaken* (kept up to the ring's limit; or all of it, for a pipe), *taken* (lossless, the
//! taker's pace is the process's), *detached* (as untaken). The process never gets SIGPIPE from here.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use boxlite_proto::stream::OLDEST;
use futures::io::{AsyncRead, AsyncWrite};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};
use yamux::Stream;

use crate::streams::book::{Book, Count, Held};
use crate::streams::ring::Ring;
use crate::streams::terminal::Keyboard;
use crate::streams::width::Width;
use crate::streams::{InputMode, OutputMode, Taker, farewell};
use crate::sys::eager::EagerFd;
use crate::sys::{is_hung_up, lock, poll_read, readable_bytes};

/// Most bytes read at once.
const CHUNK: usize = 256 * 1024;
/// With more than this yet to be sent to a taker nothing is read: the process is to write a lot while we send, and we are
/// to send a lot while it waits. A full ring would be emptied and filled frame by frame, and each turn from one to the
/// other costs an emulated CPU what it has cached of page tables and of translated code.
const ENOUGH: usize = 64 * 1024;
/// Bytes read of a stream that nothing has been read of yet.
const LITTLE: usize = 1024;
/// Rounds before other tasks get their turn.
const ROUNDS: usize = 16;

#[derive(Debug)]
enum Command {
    Take(Taker),
    Gather(oneshot::Sender<Gathered>),
    CloseInput(u64),
    Forget,
}

/// What a stream held when it was asked for in one piece.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) bytes: Vec<u8>,
    /// Others have taken it before: there was more.
    pub(crate) was_taken: bool,
    /// Some of it had been given up.
    pub(crate) given_up: bool,
}

/// How much there is of a stream, for those who would like to have it in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// There may come more.
    Open,
    /// More than was asked for.
    TooLong,
    /// That was all.
    Whole,
}

#[derive(Debug, Default)]
struct Ledger {
    book: Book,
    /// Kept here for questions about what is still in the pipe.
    source: Option<Source>,
}

/// Where the bytes come from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// The read end of a pipe.
    Pipe(Arc<EagerFd>),
    /// The master of a terminal, which also takes input.
    Terminal(Arc<AsyncFd<OwnedFd>>),
}

impl Source {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Pipe(fd) => fd.as_fd(),
            Self::Terminal(fd) => fd.get_ref().as_fd(),
        }
    }

    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Pipe(fd) => fd.poll(cx, |fd| nix::unistd::read(fd, buf)),
            Self::Terminal(fd) => poll_read(fd, cx, buf),
        }
    }
}

/// The handle on an output stream.
#[derive(Debug)]
pub(crate) struct Output {
    commands: UnboundedSender<Command>,
    ledger: Arc<Mutex<Ledger>>,
    /// No taker waits for any of it.
    idle: Arc<watch::Sender<bool>>,
    extent: Arc<watch::Sender<Extent>>,
    arrived: AtomicBool,
}

/// An output stream whose process has not started yet; takers may come already.
#[derive(Debug)]
pub(crate) struct Waiting {
    commands: UnboundedReceiver<Command>,
    ledger: Arc<Mutex<Ledger>>,
    idle: Arc<watch::Sender<bool>>,
    extent: Arc<watch::Sender<Extent>>,
    gathered: u64,
    mode: OutputMode,
}

impl Output {
    /// A stream without a source yet. [`Output::is_too_long`] is about more than `gathered` bytes.
    pub(crate) fn new(mode: OutputMode, gathered: u64) -> (Self, Waiting) {
        let (sender, commands) = unbounded_channel();
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let idle = Arc::new(watch::Sender::new(false));
        let extent = Arc::new(watch::Sender::new(Extent::Open));
        let output = Self {
            commands: sender,
            ledger: Arc::clone(&ledger),
            idle: Arc::clone(&idle),
            extent: Arc::clone(&extent),
            arrived: AtomicBool::new(false),
        };
        (output, Waiting { commands, ledger, idle, extent, gathered, mode })
    }

    /// Returns when more has come than is gathered, which may be never.
    pub(crate) async fn is_too_long(&self) {
        self.becomes(Extent::TooLong).await;
    }

    /// Returns when all of it has come, unless it is too long to be gathered.
    pub(crate) async fn is_whole(&self) {
        self.becomes(Extent::Whole).await;
    }

    async fn becomes(&self, wanted: Extent) {
        let mut extent = self.extent.subscribe();
        // The sender lives as long as we do.
        let _ = extent.wait_for(|extent| *extent == wanted).await;
    }

    /// Takes what has come so far. From now on the stream is a detached one.
    pub(crate) async fn gather(&self) -> Gathered {
        let (give, get) = oneshot::channel();
        let _ = self.commands.send(Command::Gather(give));
        // A pump that is gone has nothing.
        get.await.unwrap_or_default()
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

    /// The memory it holds.
    pub(crate) fn held(&self) -> Held {
        lock(&self.ledger).book.held
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

    /// The totals as of now, what lies in the pipe included, with where the present or last taker began.
    pub(crate) fn count(&self) -> Count {
        self.as_of_now(Book::count)
    }

    /// The totals as of now as the taker of this name sees them.
    pub(crate) fn count_of(&self, taker: u64) -> Count {
        self.as_of_now(|book| book.count_of(taker))
    }

    fn as_of_now(&self, count: impl FnOnce(&Book) -> Count) -> Count {
        let ledger = lock(&self.ledger);
        let mut count = count(&ledger.book);
        if let Some(source) = &ledger.source {
            count.total += readable_bytes(source.fd());
            // A terminal's last bytes may still be on their way inside the kernel: only its EOF is the end.
            count.closed = matches!(source, Source::Pipe(fd) if is_hung_up(fd.as_fd()));
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
            let mut ledger = lock(&self.ledger);
            ledger.book.closed = source.is_none();
            ledger.source = source.clone();
        }
        let Self { commands, ledger, idle, extent, gathered, mode } = self;
        if source.is_none() {
            extent.send_replace(Extent::Whole);
        }
        let pump = Pump {
            commands,
            orphaned: false,
            ledger,
            idle,
            extent,
            gathered,
            mode,
            ring: Ring::default(),
            source,
            taker: None,
            was_taken: false,
            keyboard,
            width: Width::default(),
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
    ledger: Arc<Mutex<Ledger>>,
    idle: Arc<watch::Sender<bool>>,
    extent: Arc<watch::Sender<Extent>>,
    /// Bytes beyond which it is too long to be gathered; 0: nobody will, or that has been told.
    gathered: u64,
    mode: OutputMode,
    ring: Ring,
    source: Option<Source>,
    taker: Option<Taken>,
    was_taken: bool,
    keyboard: Option<Keyboard>,
    width: Width,
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
            // Who asked and has left has lost it, like a taker who goes away.
            Poll::Ready(Some(Command::Gather(give))) => drop(give.send(self.gather())),
            Poll::Ready(Some(Command::CloseInput(total))) => {
                if let Some(keyboard) = &mut self.keyboard {
                    keyboard.close_at(total);
                }
            }
            Poll::Ready(Some(Command::Forget)) => {
                if self.taker.is_none() {
                    let lost = self.ring.clear();
                    let book = &mut lock(&self.ledger).book;
                    book.dropped += lost;
                    book.held = Held::default();
                }
            }
        }
        true
    }

    fn take_over(&mut self, taker: Taker) {
        if let Some(earlier) = self.taker.take() {
            farewell(earlier.stream);
        }
        let book = &mut lock(&self.ledger).book;
        let first = match (taker.offset, book.comes_again(taker.name)) {
            // It was never given the stream that it was to read from there on: its call was cut off.
            (OLDEST, Some(first)) => first.min(self.ring.seek(first)),
            (OLDEST, None) => self.ring.resume(),
            (offset, _) => self.ring.seek(offset),
        };
        book.take(taker.name, first);
        self.was_taken = true;
        self.taker = Some(Taken { stream: taker.stream, heard_out: false });
    }

    /// Hands over in one piece what nobody has been sent yet.
    fn gather(&mut self) -> Gathered {
        let was_taken = std::mem::replace(&mut self.was_taken, true);
        let given_up = self.ring.resume() < self.ring.cursor();
        lock(&self.ledger).book.held.is_promised = false;
        let mut bytes = Vec::new();
        while !was_taken && self.ring.has_unsent() {
            let piece = self.ring.unsent();
            bytes.extend_from_slice(piece);
            let length = piece.len();
            self.ring.sent(length);
        }
        Gathered { bytes, was_taken, given_up }
    }

    /// The first word on it is the last.
    fn has_extent(&self, extent: Extent) {
        self.extent.send_if_modified(|was| {
            let is_news = *was == Extent::Open;
            if is_news {
                *was = extent;
            }
            is_news
        });
    }

    /// The taker is gone without having read to the end.
    fn detach(&mut self) {
        self.taker = None;
        lock(&self.ledger).book.taken = false;
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
            lock(&self.ledger).book.taken = false;
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
        if self.taker.is_some() && self.ring.unsent_len() > ENOUGH {
            // Sending goes on before, and comes back here.
            return false;
        }
        let waits = self.taker.is_some() || (self.mode == OutputMode::Pipe && !self.was_taken);
        let mut little = [0; LITTLE];
        let is_first = self.ring.held() == 0;
        let space = if is_first { &mut little[..] } else { self.ring.space(CHUNK, !waits) };
        if space.is_empty() {
            return false;
        }
        match source.poll_read(cx, space) {
            Poll::Pending => false,
            Poll::Ready(Ok(n)) if n > 0 => {
                if is_first {
                    // Most streams stay empty: a ring is made for what there is.
                    self.ring.space(CHUNK, false)[..n].copy_from_slice(&little[..n]);
                }
                let lost = self.ring.filled(n);
                let is_promised = self.mode == OutputMode::Pipe && !self.was_taken;
                let mut ledger = lock(&self.ledger);
                ledger.book.total = self.ring.head();
                ledger.book.dropped += lost;
                ledger.book.held = Held { bytes: self.ring.held(), is_promised };
                drop(ledger);
                if let Some(Source::Pipe(pipe)) = &self.source {
                    self.width.passed(pipe.as_fd(), self.ring.head());
                }
                if self.gathered > 0 && self.ring.head() > self.gathered {
                    // Told once: what follows needs no comparing.
                    self.gathered = 0;
                    self.has_extent(Extent::TooLong);
                }
                true
            }
            // A terminal whose last user is gone answers EIO.
            Poll::Ready(Ok(_) | Err(_)) => {
                self.source = None;
                self.ring.finish();
                let mut ledger = lock(&self.ledger);
                ledger.book.closed = true;
                ledger.book.held.bytes = self.ring.held();
                ledger.source = None;
                drop(ledger);
                self.has_extent(Extent::Whole);
                true
            }
        }
    }
}
