//! The bytes that the host sends, as an archive's source.
//!
//! Owns understanding the messages on stdin and answering them on stdout. What lies in a slot is read into memory by the
//! disk itself and handed on from there, without another copy.

use std::fs::File;
use std::io::{self, Read, Write};

use boxlite_archive::CopyError;
use boxlite_archive::direct::{Aligned, SECTOR};
use boxlite_archive::tar::Source;
use boxlite_proto::transfer::{FREE, MESSAGE, Message, SLOT_BYTES};

use super::lane::Lane;

/// Read from the stream at a time.
const CHUNK: usize = 256 * 1024;

/// What comes from the host.
pub(super) struct Incoming {
    stream: File,
    answers: File,
    lane: Option<Lane>,
    slot: u32,
    buffer: Aligned,
    /// What of the buffer has not been taken yet.
    from: usize,
    to: usize,
    /// Bytes that follow in the stream before the next message.
    follow: usize,
    has_ended: bool,
}

impl Incoming {
    pub(super) fn new(stream: File, answers: File, lane: Option<Lane>) -> Self {
        let buffer = Aligned::new(if lane.is_some() { SLOT_BYTES as usize } else { CHUNK });
        Self { stream, answers, lane, slot: 0, buffer, from: 0, to: 0, follow: 0, has_ended: false }
    }

    /// Takes the next bytes into the buffer, or notes that there are none.
    fn refill(&mut self) -> io::Result<()> {
        if self.follow == 0 {
            let mut wire = [0; MESSAGE];
            self.stream.read_exact(&mut wire)?;
            match Message::decode(wire) {
                Ok(Message::Inline(length)) => self.follow = length as usize,
                Ok(Message::Slot(length)) => return self.read_slot(length as usize),
                Ok(Message::End) => {
                    self.has_ended = true;
                    return Ok(());
                }
                Err(_) => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        let room = self.follow.min(CHUNK);
        let read = self.stream.read(&mut self.buffer.bytes_mut()[..room])?;
        if read == 0 && room > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.follow -= read;
        (self.from, self.to) = (0, read);
        Ok(())
    }

    fn read_slot(&mut self, length: usize) -> io::Result<()> {
        let lane = self.lane.as_ref().ok_or(io::ErrorKind::InvalidData)?;
        let sectors = length.next_multiple_of(SECTOR);
        lane.read(self.slot, &mut self.buffer.bytes_mut()[..sectors])?;
        self.slot = self.slot.wrapping_add(1);
        self.answers.write_all(&[FREE])?;
        (self.from, self.to) = (0, length);
        Ok(())
    }
}

impl Source for Incoming {
    type Error = CopyError;

    fn take(&mut self, max: usize) -> Result<&[u8], CopyError> {
        while self.from == self.to && !self.has_ended {
            match self.refill() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                refilled => refilled.map_err(CopyError::stream)?,
            }
        }
        let from = self.from;
        self.from = self.to.min(from.saturating_add(max));
        Ok(&self.buffer.bytes()[from..self.from])
    }
}
