//! The bytes that come out of the box.
//!
//! Owns understanding the messages of the agent's program, which may say anything: it is the box's.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use boxlite_archive::CopyError;
use boxlite_proto::transfer::{FREE, LOCKED, MESSAGE, Message, NO_LANE};
use nix::poll::PollFlags;

use super::lane::Lane;
use super::wire::{CHUNK, Wire};

/// The receiver.
pub(super) struct Receiving {
    wire: Wire,
    lane: Option<Arc<Lane>>,
    /// The box has not said yet whether it has the lane, too.
    is_asked: bool,
    slot: u32,
    next: Next,
}

/// What is read next.
enum Next {
    Message,
    /// So many bytes follow in the stream.
    Inline(u32),
    /// Bytes of the present slot.
    Slot {
        at: u32,
        length: u32,
    },
    End,
}

impl Receiving {
    pub(super) fn new(wire: Wire, lane: Option<Arc<Lane>>) -> Self {
        let is_asked = lane.is_some();
        Self { wire, lane, is_asked, slot: 0, next: Next::Message }
    }

    /// Passes on what comes to `sink`, to its end.
    pub(super) fn drain_to(&mut self, sink: &OwnedFd) -> Result<(), CopyError> {
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = self.read(&mut buffer).map_err(CopyError::stream)?;
            if read == 0 {
                return Ok(());
            }
            let mut rest = &buffer[..read];
            while !rest.is_empty() {
                let written = self.wire.attend(sink, PollFlags::POLLOUT, "write the archive to", |fd| {
                    Ok(nix::unistd::write(fd, rest)?)
                })?;
                rest = &rest[written..];
            }
        }
    }

    /// Everything up to `limit` bytes; what is above is not waited for.
    pub(super) fn read_to_end(&mut self, limit: u64) -> Result<Vec<u8>, CopyError> {
        let mut bytes = Vec::new();
        Read::by_ref(self)
            .take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(CopyError::stream)?;
        Ok(bytes)
    }

    fn message(&mut self) -> io::Result<Next> {
        if std::mem::take(&mut self.is_asked) {
            let mut word = [0];
            self.wire.read_exact(&mut word)?;
            match word {
                [LOCKED] => {}
                [NO_LANE] => self.lane = None,
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        let mut wire = [0; MESSAGE];
        self.wire.read_exact(&mut wire)?;
        match Message::decode(wire) {
            Ok(Message::Inline(0)) => Ok(Next::Message),
            Ok(Message::Inline(length)) => Ok(Next::Inline(length)),
            Ok(Message::Slot(length)) if self.lane.is_some() => Ok(Next::Slot { at: 0, length }),
            Ok(Message::End) => Ok(Next::End),
            Ok(Message::Slot(_)) | Err(_) => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

impl Read for Receiving {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match (&mut self.next, &self.lane) {
                (Next::Message, _) => self.next = self.message()?,
                (Next::End, _) => return Ok(0),
                (Next::Slot { at, length }, Some(lane)) => {
                    let room = buffer.len().min((*length - *at) as usize);
                    lane.read_at(self.slot, *at, &mut buffer[..room])?;
                    *at += room as u32;
                    if at == length {
                        self.slot = self.slot.wrapping_add(1);
                        self.next = Next::Message;
                        // Who has sent all does not wait for it, and may be gone.
                        let _ = self.wire.answer(FREE);
                    }
                    return Ok(room);
                }
                (Next::Inline(length), _) => {
                    let room = buffer.len().min(*length as usize);
                    let read = self.wire.read(&mut buffer[..room])?;
                    if read == 0 && room > 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    *length -= read as u32;
                    if *length == 0 {
                        self.next = Next::Message;
                    }
                    return Ok(read);
                }
                (Next::Slot { .. }, None) => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }
}
