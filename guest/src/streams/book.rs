//! What is counted of one output stream: its bytes, who took it and from where on, what it holds.
//!
//! Owns the figures. Those who read and send keep them; nothing here moves a byte.

use std::collections::VecDeque;

/// Takers that are remembered; one that is not is told nothing of where it began, which never makes its bytes look whole.
const TAKERS: usize = 1024;

/// Byte totals, as the wire has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) total: u64,
    pub(crate) dropped: u64,
    pub(crate) closed: bool,
    /// The first byte that `taker` was owed; 0 when there is none.
    pub(crate) first: u64,
    pub(crate) taker: u64,
    /// Somebody is connected.
    pub(crate) taken: bool,
    /// Another one came after `taker`.
    pub(crate) taken_over: bool,
}

/// Memory that an output stream takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) bytes: usize,
    /// In it is what was promised to whoever takes the stream first.
    pub(crate) is_promised: bool,
}

/// The figures of one stream.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) total: u64,
    pub(super) dropped: u64,
    pub(super) closed: bool,
    pub(super) taken: bool,
    pub(super) held: Held,
    /// Name and first byte owed. Each name is there once; the last one is the present taker, or was it.
    takers: VecDeque<(u64, u64)>,
}

impl Book {
    /// Where the taker of this name began when it came before; it is forgotten with that.
    pub(super) fn comes_again(&mut self, taker: u64) -> Option<u64> {
        let at = self.takers.iter().position(|(name, _)| *name == taker)?;
        self.takers.remove(at).map(|(_, first)| first)
    }

    /// The stream is this taker's from now on.
    pub(super) fn take(&mut self, taker: u64, first: u64) {
        if self.takers.len() == TAKERS {
            self.takers.pop_front();
        }
        self.takers.push_back((taker, first));
        self.taken = true;
        self.held.is_promised = false;
    }

    /// The totals, with where the present or last taker began.
    pub(super) fn count(&self) -> Count {
        self.count_from(self.takers.back())
    }

    /// The totals, with where the taker of this name began, if it is known.
    pub(super) fn count_of(&self, taker: u64) -> Count {
        self.count_from(self.takers.iter().find(|(name, _)| *name == taker))
    }

    fn count_from(&self, taker: Option<&(u64, u64)>) -> Count {
        let (taker, first) = taker.copied().unwrap_or_default();
        Count {
            total: self.total,
            dropped: self.dropped,
            closed: self.closed,
            first,
            taker,
            taken: self.taken,
            taken_over: taker != 0 && self.takers.back().is_some_and(|(last, _)| *last != taker),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_taker_keeps_its_own_beginning() {
        let mut book = Book::default();
        assert_eq!((book.count().taker, book.count_of(7).first), (0, 0));
        book.take(7, 5);
        book.take(8, 100);
        let (earlier, later, stranger) = (book.count_of(7), book.count_of(8), book.count_of(9));
        assert_eq!((earlier.first, earlier.taken_over), (5, true));
        assert_eq!((later.first, later.taken_over), (100, false));
        assert_eq!((stranger.first, stranger.taker, stranger.taken_over), (0, 0, false));
        assert_eq!(book.count(), later);
        assert_eq!(book.comes_again(7), Some(5));
        book.take(7, 5);
        assert!(book.count_of(8).taken_over && !book.count_of(7).taken_over);
    }

    #[test]
    fn the_oldest_takers_are_forgotten() {
        let mut book = Book::default();
        for taker in 1..=TAKERS as u64 + 1 {
            book.take(taker, taker);
        }
        assert_eq!(book.count_of(1), Count { taken: true, ..Count::default() });
        assert_eq!(book.count_of(2).first, 2);
    }
}
