//! How the bytes of a copy travel: in its stream, or on a disk of which the stream only says what lies there.
//!
//! An engine moves what a disk holds at the speed of memory, and the bytes of a stream some kilobytes at a time. So each
//! machine has a transfer disk, of which nothing is kept. It is divided into [`LANES`], one per copy, and a lane
//! into [`SLOTS`], which the sender fills in turn. Whoever uses a lane has locked it on its own side: the host in its
//! locks, the guest on the device. The guest's side says first whether it has, and the copy goes by stream where it has not.
//!
//! The sender's stream carries messages, eight bytes each, little endian:
//!
//! ```text
//! 'i' 0 0 0 length:u32      so many bytes follow in the stream
//! 's' 0 0 0 length:u32      so many bytes lie in the lane's next slot
//! 'e' 0 0 0 0:u32           all has been sent: an end without this word is a cut
//! ```
//!
//! Single bytes are: [`LOCKED`] or [`NO_LANE`], the guest's first; and on the stream the other way [`FREE`] from the receiver
//! for each slot that it has read.

/// Copies at a time that can use the disk. Those above go by stream.
pub const LANES: u32 = 8;
/// Slots of a lane: while one is read others are filled.
pub const SLOTS: u32 = 4;
/// Bytes of a slot.
pub const SLOT_BYTES: u32 = 1 << 21;
/// Bytes of a lane.
pub const LANE_BYTES: u64 = SLOTS as u64 * SLOT_BYTES as u64;
/// Bytes of the disk.
pub const DISK_BYTES: u64 = LANES as u64 * LANE_BYTES;
/// So many bytes go by stream before a lane is used: most copies end there.
pub const BY_STREAM: u64 = 256 * 1024;

/// The guest has its lane.
pub const LOCKED: u8 = b'l';
/// The guest has no lane.
pub const NO_LANE: u8 = b'n';
/// The receiver has read a slot.
pub const FREE: u8 = b'f';

/// Bytes of a message.
pub const MESSAGE: usize = 8;

/// What the sender says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// So many bytes follow.
    Inline(u32),
    /// So many bytes lie in the next slot.
    Slot(u32),
    /// All has been sent.
    End,
}

/// A message that can't be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadMessage;

impl Message {
    /// The message on the wire.
    pub fn encode(self) -> [u8; MESSAGE] {
        let (kind, length) = match self {
            Self::Inline(length) => (b'i', length),
            Self::Slot(length) => (b's', length),
            Self::End => (b'e', 0),
        };
        let [a, b, c, d] = length.to_le_bytes();
        [kind, 0, 0, 0, a, b, c, d]
    }

    /// Understands what came. A slot holds something, and no more than fits.
    pub fn decode(wire: [u8; MESSAGE]) -> Result<Self, BadMessage> {
        let [kind, 0, 0, 0, a, b, c, d] = wire else { return Err(BadMessage) };
        match (kind, u32::from_le_bytes([a, b, c, d])) {
            (b'i', length) => Ok(Self::Inline(length)),
            (b's', length @ 1..=SLOT_BYTES) => Ok(Self::Slot(length)),
            (b'e', 0) => Ok(Self::End),
            _ => Err(BadMessage),
        }
    }
}

/// Where a lane's slot begins on the disk.
pub fn slot_offset(lane: u32, slot: u32) -> u64 {
    u64::from(lane) * LANE_BYTES + u64::from(slot % SLOTS) * u64::from(SLOT_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_wire() {
        for message in
            [Message::Inline(0), Message::Inline(u32::MAX), Message::Slot(SLOT_BYTES), Message::End]
        {
            assert_eq!(Message::decode(message.encode()), Ok(message));
        }
        for wire in [Message::Slot(0), Message::Slot(SLOT_BYTES + 1)] {
            assert_eq!(Message::decode(wire.encode()), Err(BadMessage));
        }
        assert_eq!(Message::decode([b'e', 0, 0, 0, 1, 0, 0, 0]), Err(BadMessage));
        assert_eq!(Message::decode([b'i', 1, 0, 0, 1, 0, 0, 0]), Err(BadMessage));
        assert_eq!(Message::decode([0; MESSAGE]), Err(BadMessage));
    }

    #[test]
    fn slots_lie_side_by_side_within_the_disk() {
        assert_eq!(slot_offset(0, 1), u64::from(SLOT_BYTES));
        assert_eq!(slot_offset(1, 0), LANE_BYTES);
        assert_eq!(slot_offset(1, SLOTS), slot_offset(1, 0), "the slots are filled in turn");
        assert_eq!(slot_offset(LANES - 1, SLOTS - 1) + u64::from(SLOT_BYTES), DISK_BYTES);
    }
}
