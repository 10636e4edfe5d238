//! What is typed into a terminal: bytes from its taker, and the end-of-file character when they end.
//!
//! Owns the input half of a terminal's stream. Output is the pump's.

use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll};

use nix::sys::termios::{LocalFlags, SpecialCharacterIndices, tcgetattr};
use tokio::io::unix::AsyncFd;

use crate::streams::InputMode;
use crate::sys::poll_write;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// More may come.
    Open,
    /// EOF after this many bytes.
    At(u64),
    /// EOF has been given.
    Given,
}

/// The bytes on their way into a terminal.
#[derive(Debug)]
pub(crate) struct Keyboard {
    mode: InputMode,
    pending: Vec<u8>,
    typed: u64,
    last: u8,
    end: End,
}

impl Keyboard {
    pub(crate) fn new(mode: InputMode) -> Self {
        Self { mode, pending: Vec::new(), typed: 0, last: b'\n', end: End::Open }
    }

    /// The next bytes are welcome.
    pub(crate) fn has_room(&self) -> bool {
        self.pending.is_empty()
    }

    /// Bytes from the taker.
    pub(crate) fn typed(&mut self, bytes: &[u8]) {
        if self.mode != InputMode::Null && self.end != End::Given {
            self.pending.extend_from_slice(bytes);
        }
    }

    /// The taker has closed its writing half: EOF follows what it sent.
    pub(crate) fn end(&mut self) {
        self.close_at(self.typed + self.pending.len() as u64);
    }

    /// EOF follows after `total` bytes.
    pub(crate) fn close_at(&mut self, total: u64) {
        if self.end != End::Given {
            self.end = End::At(total);
        }
    }

    /// The taker is gone.
    pub(crate) fn lost(&mut self) {
        if self.mode == InputMode::Once {
            self.end();
        }
    }

    /// Types what is there. True when something was moved.
    pub(crate) fn poll_type(&mut self, master: &AsyncFd<OwnedFd>, cx: &mut Context<'_>) -> bool {
        if self.pending.is_empty() {
            let End::At(total) = self.end else { return false };
            if self.typed < total {
                return false;
            }
            self.end = End::Given;
            self.pending = end_of_file(master.get_ref(), self.last);
            return true;
        }
        match poll_write(master, cx, &self.pending) {
            Poll::Pending => false,
            Poll::Ready(Ok(n)) => {
                self.last = self.pending[n.saturating_sub(1)];
                self.typed += n as u64;
                self.pending.drain(..n);
                true
            }
            // Nobody will ever read it.
            Poll::Ready(Err(_)) => {
                self.pending.clear();
                true
            }
        }
    }
}

/// The terminal's end-of-file character; twice in the middle of a line, where one only flushes it. A terminal in
/// raw mode has none.
fn end_of_file(master: &OwnedFd, last: u8) -> Vec<u8> {
    match tcgetattr(master.as_fd()) {
        Ok(modes) if modes.local_flags.contains(LocalFlags::ICANON) => {
            let eof = modes.control_chars[SpecialCharacterIndices::VEOF as usize];
            if last == b'\n' { vec![eof] } else { vec![eof, eof] }
        }
        _ => Vec::new(),
    }
}
