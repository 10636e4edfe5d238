//! The first bytes of a yamux stream: what it is for.
//!
//! Who opens a stream writes first (yamux tells the peer with the first frame). Layout, little endian:
//!
//! ```text
//! 'C'                                        ttrpc calls follow
//! 'E'                                        events: the agent writes lines, see `event`
//! 'T' which:u8 id_len:u8 id offset:u64 taker:u64 flags:u8
//!                                            raw bytes of one execution's stream follow, nothing framed
//! ```
//!
//! `offset` asks an output stream to begin at that byte; `OLDEST` means "the oldest byte still there". `taker` is a number
//! that the host has drawn for whoever takes: by it the state of the stream is asked for, and one who takes it twice from
//! `OLDEST` on is given it from where it was to begin the first time. The lowest bit of `flags` says that the execution's
//! Exec may still be on its way.

/// First byte of a stream that carries ttrpc calls.
pub const CALLS: u8 = b'C';
/// First byte of a stream on which the agent writes events.
pub const EVENTS: u8 = b'E';
/// First byte of a stream that carries one execution's bytes.
pub const BYTES: u8 = b'T';

/// Begin at the oldest byte that is still there.
pub const OLDEST: u64 = u64::MAX;

/// What the shim answers to each connection on `agent.sock`, one byte, before anything of the agent's.
pub mod admission {
    /// The stream is open.
    pub const OPEN: u8 = 0;
    /// Too many streams are open on this box.
    pub const FULL: u8 = 1;
    /// The agent is gone or going.
    pub const GONE: u8 = 2;
}

/// Which of an execution's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Which {
    /// Towards the process.
    Stdin = 0,
    /// From the process; with a tty both directions and everything it prints.
    Stdout = 1,
    /// From the process.
    Stderr = 2,
}

impl Which {
    /// The stream with this number on the wire.
    pub fn from_wire(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Stdin),
            1 => Some(Self::Stdout),
            2 => Some(Self::Stderr),
            _ => None,
        }
    }
}

/// Says whose bytes a stream carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BytesHeader {
    /// Which stream of the execution.
    pub which: Which,
    /// The execution's id, at most 255 bytes.
    pub execution: String,
    /// Where an output stream begins.
    pub offset: u64,
    /// Who takes it; never 0.
    pub taker: u64,
    /// The execution's Exec may still be on its way.
    pub is_early: bool,
}

/// What follows the id: offset, taker, flags.
const TAIL: usize = 8 + 8 + 1;
const IS_EARLY: u8 = 1;

/// A header that can't be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadHeader;

impl BytesHeader {
    /// The header on the wire, its kind byte included. An id above 255 bytes is cut, which no minted id is.
    pub fn encode(&self) -> Vec<u8> {
        let id = &self.execution.as_bytes()[..self.execution.len().min(255)];
        let mut out = Vec::with_capacity(3 + id.len() + TAIL);
        out.extend_from_slice(&[BYTES, self.which as u8, id.len() as u8]);
        out.extend_from_slice(id);
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.taker.to_le_bytes());
        out.push(if self.is_early { IS_EARLY } else { 0 });
        out
    }

    /// How many bytes follow the two after the kind byte (`which`, `id_len`).
    pub fn rest_len(id_len: u8) -> usize {
        usize::from(id_len) + TAIL
    }

    /// Puts a header together from its parts as read.
    pub fn decode(which: u8, rest: &[u8]) -> Result<Self, BadHeader> {
        let which = Which::from_wire(which).ok_or(BadHeader)?;
        let (rest, [flags]) = rest.split_last_chunk::<1>().ok_or(BadHeader)?;
        let (rest, taker) = rest.split_last_chunk::<8>().ok_or(BadHeader)?;
        let (id, offset) = rest.split_last_chunk::<8>().ok_or(BadHeader)?;
        let execution = std::str::from_utf8(id).map_err(|_| BadHeader)?.to_owned();
        let (offset, taker) = (u64::from_le_bytes(*offset), u64::from_le_bytes(*taker));
        Ok(Self { which, execution, offset, taker, is_early: flags & IS_EARLY != 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_the_wire() {
        let header = BytesHeader {
            which: Which::Stderr,
            execution: "abc123".into(),
            offset: 77,
            taker: u64::MAX - 1,
            is_early: true,
        };
        let wire = header.encode();
        assert_eq!(wire[0], BYTES);
        assert_eq!(wire.len(), 3 + BytesHeader::rest_len(wire[2]));
        assert_eq!(BytesHeader::decode(wire[1], &wire[3..]), Ok(header));
        assert_eq!(BytesHeader::decode(9, &wire[3..]), Err(BadHeader));
        assert_eq!(BytesHeader::decode(1, &wire[3..6]), Err(BadHeader));
    }
}
