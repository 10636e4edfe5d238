//! The newest bytes of one output stream, addressed by their offset in the whole stream.
//!
//! Owns the memory and the arithmetic: what is there, what has been sent, what had to be dropped. Does no I/O.

use std::ops::Range;

/// Most bytes that are kept.
pub(crate) const LIMIT: usize = 1024 * 1024;
/// What a ring grows to for bytes that have been sent: more than can be under way between here and the taker.
const HISTORY: usize = 512 * 1024;
/// What a ring begins with.
const START: usize = 64 * 1024;

/// Bytes `[oldest, head)` of a stream; those before `cursor` have been sent and are kept as long as there is room,
/// for a taker who comes back and says how far he had got.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    /// Length is a power of two, or 0 before the first byte.
    memory: Vec<u8>,
    head: u64,
    cursor: u64,
    /// Nothing before this is there, whatever the memory's size.
    floor: u64,
    /// What was given up although it was owed to the next taker, from the first such byte to the last.
    given_up: Option<Range<u64>>,
}

impl Ring {
    /// Bytes that ever went in.
    pub(crate) fn head(&self) -> u64 {
        self.head
    }

    /// The next byte to send.
    pub(crate) fn cursor(&self) -> u64 {
        self.cursor
    }

    fn oldest(&self) -> u64 {
        self.head.saturating_sub(self.memory.len() as u64).max(self.floor)
    }

    /// Bytes that wait to be sent.
    pub(crate) fn unsent_len(&self) -> usize {
        (self.head - self.cursor) as usize
    }

    fn at(&self, offset: u64) -> usize {
        (offset as usize) & (self.memory.len() - 1)
    }

    /// Something waits to be sent.
    pub(crate) fn has_unsent(&self) -> bool {
        self.cursor < self.head
    }

    /// Bytes of memory held.
    pub(crate) fn held(&self) -> usize {
        self.memory.len()
    }

    /// Room for the next bytes in one piece, at most `most`. Without `lossy` unsent bytes are never in it, so it is
    /// empty when they fill the ring.
    pub(crate) fn space(&mut self, most: usize, lossy: bool) -> &mut [u8] {
        // Grown at a turn of the ring as well, so that what has just been sent stays for who comes back.
        let sent_would_go = self.memory.len() < HISTORY && !self.memory.is_empty() && self.at(self.head) == 0;
        if self.unsent_len() == self.memory.len() || sent_would_go {
            self.grow();
        }
        let loses = lossy && self.memory.len() == LIMIT;
        let free = if loses { self.memory.len() } else { self.memory.len() - self.unsent_len() };
        if free == 0 {
            return &mut [];
        }
        let start = self.at(self.head);
        let end = self.memory.len().min(start + free.min(most));
        &mut self.memory[start..end]
    }

    fn grow(&mut self) {
        let length = (self.memory.len() * 2).clamp(START, LIMIT);
        if length != self.memory.len() {
            self.resize(length);
        }
    }

    /// Says that nothing will follow: no more memory is held than what is there needs.
    pub(crate) fn finish(&mut self) {
        let length = ((self.head - self.oldest()) as usize).next_power_of_two();
        if length < self.memory.len() {
            self.resize(length);
        }
    }

    /// Moves what is there, which must fit, to a memory of `length` bytes, a power of two.
    fn resize(&mut self, length: usize) {
        let mut memory = vec![0; length];
        let (oldest, head) = (self.oldest(), self.head);
        let mut offset = oldest;
        while offset < head {
            let from = self.at(offset);
            let to = (offset as usize) & (length - 1);
            let n = (self.memory.len() - from).min(length - to).min((head - offset) as usize);
            memory[to..to + n].copy_from_slice(&self.memory[from..from + n]);
            offset += n as u64;
        }
        self.floor = oldest;
        self.memory = memory;
    }

    /// Says that the first `n` bytes of the last `space` have been filled. Returns how many unsent bytes that cost.
    pub(crate) fn filled(&mut self, n: usize) -> u64 {
        self.head += n as u64;
        let lost = self.oldest().saturating_sub(self.cursor);
        self.cursor += lost;
        lost
    }

    /// The next unsent bytes that lie in one piece.
    pub(crate) fn unsent(&self) -> &[u8] {
        if !self.has_unsent() {
            return &[];
        }
        let start = self.at(self.cursor);
        let end = self.memory.len().min(start + self.unsent_len());
        &self.memory[start..end]
    }

    /// Says that `n` of the unsent bytes are on their way.
    pub(crate) fn sent(&mut self, n: usize) {
        self.cursor = self.head.min(self.cursor + n as u64);
    }

    /// Goes to `offset`, or as near as what is kept allows. Returns the first byte that is owed from there on: the next to
    /// be sent, or an earlier one that was given up.
    pub(crate) fn seek(&mut self, offset: u64) -> u64 {
        self.cursor = offset.clamp(self.oldest(), self.head);
        match &self.given_up {
            Some(lost) if offset < lost.end => self.cursor.min(offset.max(lost.start)),
            _ => self.cursor,
        }
    }

    /// Stays where it is. Returns the first byte that is owed to who comes now, as [`Ring::seek`] does.
    pub(crate) fn resume(&self) -> u64 {
        self.given_up.as_ref().map_or(self.cursor, |lost| lost.start)
    }

    /// Gives up what is kept. Returns how many unsent bytes that cost.
    pub(crate) fn clear(&mut self) -> u64 {
        let lost = self.head - self.cursor;
        if lost > 0 {
            let start = self.resume();
            self.given_up = Some(start..self.head);
        }
        self.memory = Vec::new();
        self.cursor = self.head;
        self.floor = self.head;
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Byte at `offset` of the test's endless stream.
    fn byte(offset: u64) -> u8 {
        (offset.wrapping_mul(31) >> 3) as u8
    }

    fn put(ring: &mut Ring, mut n: usize, lossy: bool) -> (usize, u64) {
        let (mut done, mut lost) = (0, 0);
        while n > 0 {
            let head = ring.head();
            let space = ring.space(n, lossy);
            if space.is_empty() {
                break;
            }
            let k = space.len();
            for (i, slot) in space.iter_mut().enumerate() {
                *slot = byte(head + i as u64);
            }
            lost += ring.filled(k);
            done += k;
            n -= k;
        }
        (done, lost)
    }

    fn take(ring: &mut Ring, mut n: usize) {
        while n > 0 && ring.has_unsent() {
            let cursor = ring.cursor();
            let k = ring.unsent().len().min(n);
            for (i, found) in ring.unsent()[..k].iter().enumerate() {
                assert_eq!(*found, byte(cursor + i as u64));
            }
            ring.sent(k);
            n -= k;
        }
    }

    #[test]
    fn lossless_stops_at_the_limit_and_loses_nothing() {
        let mut ring = Ring::default();
        assert_eq!(put(&mut ring, 3 * LIMIT, false), (LIMIT, 0));
        take(&mut ring, 1000);
        assert_eq!(put(&mut ring, LIMIT, false), (1000, 0));
        take(&mut ring, 2 * LIMIT);
        assert_eq!((ring.cursor(), ring.head()), (LIMIT as u64 + 1000, LIMIT as u64 + 1000));
    }

    #[test]
    fn lossy_keeps_the_newest_and_counts_the_rest() {
        let mut ring = Ring::default();
        let (done, lost) = put(&mut ring, 3 * LIMIT + 77, true);
        assert_eq!(done, 3 * LIMIT + 77);
        assert_eq!(lost, 2 * LIMIT as u64 + 77);
        assert_eq!(ring.cursor(), lost);
        take(&mut ring, 4 * LIMIT);
        assert_eq!(ring.cursor(), ring.head());
    }

    #[test]
    fn a_taker_may_go_back_as_far_as_is_kept() {
        let mut ring = Ring::default();
        put(&mut ring, 5000, false);
        take(&mut ring, 5000);
        assert_eq!(ring.seek(1234), 1234);
        take(&mut ring, 5000);
        assert_eq!(ring.seek(99_999), 5000);
        put(&mut ring, LIMIT + 10, true);
        assert_eq!(ring.seek(0), 5010);
        take(&mut ring, LIMIT);
    }

    #[test]
    fn random_walks_never_lose_or_reorder() {
        let mut state = 12345_u64;
        let mut next = |bound: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % bound
        };
        let mut ring = Ring::default();
        let mut total = 0;
        for _ in 0..2000 {
            let (done, lost) = put(&mut ring, next(200_000), false);
            assert_eq!(lost, 0);
            total += done as u64;
            take(&mut ring, next(200_000));
        }
        assert_eq!(ring.head(), total);
    }

    #[test]
    fn a_ring_that_grows_brings_nothing_back() {
        let mut ring = Ring::default();
        put(&mut ring, HISTORY, false);
        take(&mut ring, HISTORY);
        put(&mut ring, HISTORY, false);
        put(&mut ring, 1000, false);
        assert_eq!(ring.held(), 2 * HISTORY);
        assert_eq!(ring.seek(0), HISTORY as u64, "the bytes before were overwritten");
        take(&mut ring, LIMIT);
    }

    #[test]
    fn what_was_given_up_stays_owed() {
        let mut ring = Ring::default();
        put(&mut ring, 100, false);
        take(&mut ring, 40);
        assert_eq!(ring.clear(), 60);
        assert_eq!((ring.held(), ring.head(), ring.cursor()), (0, 100, 100));
        put(&mut ring, 10, false);
        // Whoever wants any of it gets what is there, and is owed the rest.
        assert_eq!((ring.resume(), ring.cursor()), (40, 100));
        assert_eq!((ring.seek(0), ring.cursor()), (40, 100));
        assert_eq!((ring.seek(70), ring.cursor()), (70, 100));
        assert_eq!((ring.seek(100), ring.cursor()), (100, 100));
        take(&mut ring, 100);
        assert_eq!(ring.cursor(), 110);
        put(&mut ring, 5, false);
        assert_eq!(ring.clear(), 5);
        assert_eq!((ring.resume(), ring.seek(103)), (40, 103));
    }

    #[test]
    fn what_was_sent_is_given_up_for_nothing() {
        let mut ring = Ring::default();
        put(&mut ring, 100, false);
        take(&mut ring, 100);
        assert_eq!(ring.clear(), 0);
        assert_eq!((ring.resume(), ring.seek(0)), (100, 100));
    }

    #[test]
    fn a_finished_ring_holds_what_is_there_and_no_more() {
        let mut ring = Ring::default();
        put(&mut ring, 5, false);
        ring.finish();
        assert_eq!(ring.held(), 8);
        assert_eq!(ring.seek(2), 2);
        take(&mut ring, 5);
        assert_eq!((ring.cursor(), ring.seek(0)), (5, 0));
        // Wrapped around: the oldest bytes lie behind the newest.
        let mut ring = Ring::default();
        put(&mut ring, LIMIT + 300_000, true);
        ring.finish();
        assert_eq!((ring.held(), ring.seek(0)), (LIMIT, 300_000));
        let mut ring = Ring::default();
        put(&mut ring, 300_000, false);
        ring.clear();
        put(&mut ring, 70_000, false);
        ring.finish();
        assert_eq!((ring.held(), ring.seek(300_000)), (131_072, 300_000));
        take(&mut ring, LIMIT);
        assert_eq!(ring.cursor(), 370_000);
        let mut empty = Ring::default();
        empty.finish();
        assert_eq!(empty.held(), 0);
    }
}
