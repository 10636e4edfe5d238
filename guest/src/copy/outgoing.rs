//! The bytes that go to the host.
//!
//! Owns the messages on stdout and the answers on stdin. What is large and lies as the disk wants it goes into a slot from
//! where it is; the rest is gathered first.

use std::fs::File;
use std::io::{self, Read, Write};

use boxlite_archive::direct::{Aligned, SECTOR, is_aligned};
use boxlite_proto::transfer::{BY_STREAM, FREE, Message, SLOT_BYTES, SLOTS};

use super::lane::Lane;

/// Gathered before it goes.
const ROOM: usize = 64 * 1024;
/// What is smaller is gathered, however it lies.
const LARGE: usize = 32 * 1024;

/// What goes to the host.
pub(super) struct Outgoing {
    stream: File,
    answers: File,
    lane: Option<Lane>,
    by_stream: u64,
    slot: u32,
    /// Bytes of the present slot that are on the disk.
    at: usize,
    /// Slots that the host has not read yet.
    in_flight: u32,
    gathered: Aligned,
    length: usize,
}

impl Outgoing {
    pub(super) fn new(stream: File, answers: File, lane: Option<Lane>) -> Self {
        let gathered = Aligned::new(ROOM);
        Self { stream, answers, lane, by_stream: 0, slot: 0, at: 0, in_flight: 0, gathered, length: 0 }
    }

    /// Says that this was all.
    pub(super) fn end(mut self) -> io::Result<()> {
        self.send_gathered()?;
        self.hand_over()?;
        self.stream.write_all(&Message::End.encode())
    }

    fn uses_lane(&self) -> bool {
        self.lane.is_some() && self.by_stream >= BY_STREAM
    }

    /// Room for so many more bytes in the gathered ones.
    fn room(&self) -> usize {
        let here = ROOM - self.length;
        if self.uses_lane() { here.min(SLOT_BYTES as usize - self.at - self.length) } else { here }
    }

    fn gather(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.room());
        self.gathered.bytes_mut()[self.length..][..taken].copy_from_slice(&bytes[..taken]);
        self.length += taken;
        if self.room() == 0 {
            self.send_gathered()?;
        }
        Ok(taken)
    }

    fn send_gathered(&mut self) -> io::Result<()> {
        let length = std::mem::take(&mut self.length);
        if length == 0 {
            return Ok(());
        }
        if self.uses_lane() {
            let sectors = length.next_multiple_of(SECTOR);
            put(self.lane.as_ref(), self.slot, &self.gathered.bytes()[..sectors], self.at)?;
            return self.advance(length);
        }
        self.by_stream += length as u64;
        self.stream.write_all(&Message::Inline(length as u32).encode())?;
        self.stream.write_all(&self.gathered.bytes()[..length])
    }

    /// So many more bytes lie in the slot.
    fn advance(&mut self, length: usize) -> io::Result<()> {
        self.at += length;
        // What does not fill its last sector would be overwritten by what follows: the next slot takes that.
        if self.at == SLOT_BYTES as usize || !self.at.is_multiple_of(SECTOR) {
            self.hand_over()
        } else {
            Ok(())
        }
    }

    /// Gives the slot to the host, and waits until the next is free.
    fn hand_over(&mut self) -> io::Result<()> {
        if self.at == 0 {
            return Ok(());
        }
        self.stream.write_all(&Message::Slot(self.at as u32).encode())?;
        self.at = 0;
        self.slot = self.slot.wrapping_add(1);
        self.in_flight += 1;
        while self.in_flight == SLOTS {
            let mut answer = [0];
            self.answers.read_exact(&mut answer)?;
            if answer != [FREE] {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.in_flight -= 1;
        }
        Ok(())
    }
}

fn put(lane: Option<&Lane>, slot: u32, sectors: &[u8], at: usize) -> io::Result<()> {
    lane.ok_or(io::ErrorKind::InvalidData)?.write(slot, sectors, at)
}

impl Write for Outgoing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.uses_lane() || bytes.len() < LARGE || !self.length.is_multiple_of(SECTOR) {
            return self.gather(bytes);
        }
        let room = SLOT_BYTES as usize - self.at - self.length;
        let whole = bytes.len().min(room) / SECTOR * SECTOR;
        if whole == 0 || !is_aligned(&bytes[..whole]) {
            return self.gather(bytes);
        }
        self.send_gathered()?;
        put(self.lane.as_ref(), self.slot, &bytes[..whole], self.at)?;
        self.advance(whole)?;
        Ok(whole)
    }

    /// Nothing is waited for before the end.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
