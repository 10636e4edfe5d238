//! What moves the bytes of an output stream: from its pipe or terminal to the taker, or into the ring.
//!
//! Owns the three states: *untaken* (kept up to the ring's limit; or all of it, for a pipe), *taken* (lossless, the
//! taker's pace is the process's), *detached* (as untaken). The process never gets SIGPIPE from here.

use std::future::Future;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use boxlite_proto::stream::OLDEST;
use futures::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{oneshot, watch};
use yamux::Stream;

use crate::streams::book::{Book, Held};
use crate::streams::ring::Ring;
use crate::streams::source::Source;
use crate::streams::terminal::Keyboard;
use crate::streams::width::Width;
use crate::streams::{InputMode, OutputMode, Taker, farewell};
use crate::sys::lock;

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

/// What the stream's handle asks of it.
#[derive(Debug)]
pub(super) enum Command {
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
pub(super) enum Extent {
    /// There may come more.
    Open,
    /// More than was asked for.
    TooLong,
    /// That was all.
    Whole,
}

/// What pump and handle share.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) ledger: Arc<Mutex<Ledger>>,
    /// No taker waits for any of it.
    pub(super) idle: Arc<watch::Sender<bool>>,
    pub(super) extent: Arc<watch::Sender<Extent>>,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            ledger: Arc::new(Mutex::new(Ledger::default())),
            idle: Arc::new(watch::Sender::new(false)),
            extent: Arc::new(watch::Sender::new(Extent::Open)),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) book: Book,
    /// Kept here for questions about what is still in the pipe.
    pub(super) source: Option<Source>,
}

/// An output stream whose process has not started yet; takers may come already.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(super) commands: UnboundedReceiver<Command>,
    pub(super) shared: Shared,
    pub(super) gathered: u64,
    pub(super) mode: OutputMode,
}

impl Waiting {
    /// Starts serving. Without a source the stream is empty and at its end.
    pub(crate) fn start(self, source: Option<Source>, input: InputMode) {
        let keyboard = match &source {
            Some(Source::Terminal(_)) => Some(Keyboard::new(input)),
            _ => None,
        };
        let Self { commands, shared, gathered, mode } = self;
        {
            let mut ledger = lock(&shared.ledger);
            ledger.book.closed = source.is_none();
            ledger.source = source.clone();
        }
        if source.is_none() {
            shared.extent.send_replace(Extent::Whole);
        }
        tokio::spawn(Pump {
            commands,
            orphaned: false,
            shared,
            gathered,
            mode,
            ring: Ring::default(),
            source,
            taker: None,
            was_taken: false,
            keyboard,
            width: Width::default(),
        });
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
    shared: Shared,
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
                this.shared.idle.send_if_modified(|was| std::mem::replace(was, idle) != idle);
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
                    let book = &mut lock(&self.shared.ledger).book;
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
        let book = &mut lock(&self.shared.ledger).book;
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
        lock(&self.shared.ledger).book.held.is_promised = false;
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
        self.shared.extent.send_if_modified(|was| {
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
        lock(&self.shared.ledger).book.taken = false;
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
            lock(&self.shared.ledger).book.taken = false;
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
                let mut ledger = lock(&self.shared.ledger);
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
                let mut ledger = lock(&self.shared.ledger);
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
