//! The handle on an output stream of an execution, for those who give it to takers, ask about it, or gather it.
//!
//! Moves no byte: that is `pump`'s.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::streams::book::{Book, Count, Held};
use crate::streams::pump::{Command, Extent, Gathered, Shared, Waiting};
use crate::streams::source::Source;
use crate::streams::{OutputMode, Taker};
use crate::sys::{is_hung_up, lock, readable_bytes};

/// The handle on an output stream.
#[derive(Debug)]
pub(crate) struct Output {
    commands: UnboundedSender<Command>,
    shared: Shared,
    arrived: AtomicBool,
}

impl Output {
    /// A stream without a source yet. [`Output::is_too_long`] is about more than `gathered` bytes.
    pub(crate) fn new(mode: OutputMode, gathered: u64) -> (Self, Waiting) {
        let (sender, commands) = unbounded_channel();
        let shared = Shared::new();
        let output = Self { commands: sender, shared: shared.clone(), arrived: AtomicBool::new(false) };
        (output, Waiting { commands, shared, gathered, mode })
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
        let mut extent = self.shared.extent.subscribe();
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
        lock(&self.shared.ledger).book.held
    }

    /// Returns when no taker waits for any of it.
    pub(crate) async fn delivered(&self) {
        if self.commands.is_closed() {
            return;
        }
        let mut idle = self.shared.idle.subscribe();
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
        let ledger = lock(&self.shared.ledger);
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
