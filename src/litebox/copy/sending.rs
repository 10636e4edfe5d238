//! The bytes that go into the box.
//!
//! Owns the messages to the agent's program, and turning to the lane once there is much to send.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use boxlite_archive::CopyError;
use boxlite_proto::transfer::{BY_STREAM, FREE, LOCKED, Message, NO_LANE, SLOT_BYTES, SLOTS};
use nix::poll::PollFlags;

use super::lane::Lane;
use super::wire::{CHUNK, Wire};

/// Gathered before it goes by stream.
const ROOM: usize = 64 * 1024;

/// The sender.
pub(super) struct Sending {
    wire: Wire,
    lane: Option<Arc<Lane>>,
    way: Way,
    /// Bytes that went by stream.
    by_stream: u64,
    gathered: Vec<u8>,
}

/// How bytes go now.
enum Way {
    ByStream,
    ByLane {
        slot: u32,
        /// Bytes of it that are filled.
        at: u32,
        /// Slots that the box has not read yet.
        in_flight: u32,
    },
}

impl Sending {
    pub(super) fn new(wire: Wire, lane: Option<Arc<Lane>>) -> Self {
        Self { wire, lane, way: Way::ByStream, by_stream: 0, gathered: Vec::with_capacity(ROOM) }
    }

    /// Passes on what `source` has, to its end.
    pub(super) fn feed_from(&mut self, source: &OwnedFd) -> Result<(), CopyError> {
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = self.wire.attend(source, PollFlags::POLLIN, "read the archive from", |fd| {
                Ok(nix::unistd::read(fd, &mut buffer)?)
            })?;
            if read == 0 {
                return Ok(());
            }
            self.write_all(&buffer[..read]).map_err(CopyError::stream)?;
        }
    }

    /// Tells the other side that this was all.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.send_gathered()?;
        self.hand_over()?;
        self.wire.write_all(&Message::End.encode())?;
        self.wire.end();
        Ok(())
    }

    fn send_gathered(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        self.wire.write_all(&Message::Inline(self.gathered.len() as u32).encode())?;
        self.wire.write_all(&self.gathered)?;
        self.by_stream += self.gathered.len() as u64;
        self.gathered.clear();
        Ok(())
    }

    /// From here on by lane, if the box has it, too.
    fn turn_to_lane(&mut self) -> io::Result<()> {
        if self.lane.is_some() {
            match self.wire.await_answer()? {
                LOCKED => self.way = Way::ByLane { slot: 0, at: 0, in_flight: 0 },
                NO_LANE => self.lane = None,
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        Ok(())
    }

    /// Gives what is in the slot to the box, and waits until the next is free.
    fn hand_over(&mut self) -> io::Result<()> {
        let Way::ByLane { slot, at, in_flight } = &mut self.way else { return Ok(()) };
        if *at == 0 {
            return Ok(());
        }
        self.wire.write_all(&Message::Slot(*at).encode())?;
        *slot = slot.wrapping_add(1);
        *at = 0;
        *in_flight += 1;
        if *in_flight == SLOTS {
            if self.wire.await_answer()? != FREE {
                return Err(io::ErrorKind::InvalidData.into());
            }
            *in_flight -= 1;
        }
        Ok(())
    }
}

impl Write for Sending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match (&mut self.way, &self.lane) {
            (Way::ByLane { slot, at, .. }, Some(lane)) => {
                let taken = bytes.len().min((SLOT_BYTES - *at) as usize);
                lane.write_at(*slot, *at, &bytes[..taken])?;
                *at += taken as u32;
                if *at == SLOT_BYTES {
                    self.hand_over()?;
                }
                Ok(taken)
            }
            _ => {
                let taken = bytes.len().min(ROOM - self.gathered.len());
                self.gathered.extend_from_slice(&bytes[..taken]);
                if self.gathered.len() == ROOM {
                    self.send_gathered()?;
                    if self.by_stream >= BY_STREAM {
                        self.turn_to_lane()?;
                    }
                }
                Ok(taken)
            }
        }
    }

    /// Nothing is waited for before the end.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
