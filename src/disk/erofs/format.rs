//! The EROFS on-disk structures, as Linux 6.12 reads them: numbers and encoders.
//!
//! Owns the byte layout; never decides where anything is placed and does no I/O.

use boxlite_archive::{DeviceNumber, Timestamp};

/// Size of a block; the only one this writer produces.
pub(crate) const BLOCK: usize = 4096;
/// [`BLOCK`] as file offsets are counted.
pub(crate) const BLOCK_U64: u64 = BLOCK as u64;
/// log2 of [`BLOCK`].
pub(crate) const BLOCK_BITS: u8 = 12;
/// Inode numbers count slots of this many bytes from the start of the metadata area.
pub(crate) const SLOT: u64 = 32;
/// Size of an extended inode.
pub(crate) const INODE: usize = 64;
/// Where the superblock lies in block 0.
pub(crate) const SUPERBLOCK_OFFSET: u64 = 1024;
/// Size of the superblock.
pub(crate) const SUPERBLOCK: usize = 128;
/// A chunk without data: reads as zeros.
pub(crate) const NULL_BLOCK: u32 = u32::MAX;

const MAGIC: u32 = 0xe0f5_e1e2;
const COMPAT_CHECKSUM: u32 = 0x1;
const COMPAT_MTIME: u32 = 0x2;
const INCOMPAT_CHUNKED_FILE: u32 = 0x4;

/// Number of an inode: its byte offset in the image divided by [`SLOT`] (the metadata area starts at block 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Nid(u64);

impl Nid {
    /// The inode at a byte offset of the image, which is a multiple of [`SLOT`].
    pub(crate) fn at(offset: u64) -> Self {
        Self(offset / SLOT)
    }

    /// Byte offset of the inode in the image.
    pub(crate) fn offset(self) -> u64 {
        self.0 * SLOT
    }

    pub(crate) fn get(self) -> u64 {
        self.0
    }
}

/// What a directory entry says about its inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileType {
    Regular = 1,
    Directory = 2,
    CharDevice = 3,
    BlockDevice = 4,
    Fifo = 5,
    Socket = 6,
    Symlink = 7,
}

impl FileType {
    /// The type bits of `st_mode`.
    pub(crate) fn mode_bits(self) -> u16 {
        match self {
            Self::Regular => 0o100_000,
            Self::Directory => 0o040_000,
            Self::CharDevice => 0o020_000,
            Self::BlockDevice => 0o060_000,
            Self::Fifo => 0o010_000,
            Self::Socket => 0o140_000,
            Self::Symlink => 0o120_000,
        }
    }
}

/// Linux's 32-bit encoding of a device number (12 bits of major, 20 of minor); None when a part does not fit.
pub(crate) fn encode_device(number: DeviceNumber) -> Option<u32> {
    let fits = number.major < 1 << 12 && number.minor < 1 << 20;
    fits.then_some((number.minor & 0xff) | (number.major << 8) | ((number.minor & !0xff) << 12))
}

/// How an inode's data is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataLayout {
    /// All blocks in one run from this block on.
    Plain { start: u32 },
    /// Full blocks in one run from this block on, the rest behind the inode.
    Inline { start: u32 },
    /// A block map of chunks of `1 << bits` bytes behind the inode.
    Chunked { bits: u8 },
    /// No data: the field holds a device number.
    Device(u32),
}

impl DataLayout {
    fn code(self) -> u16 {
        match self {
            Self::Plain { .. } | Self::Device(_) => 0,
            Self::Inline { .. } => 2,
            Self::Chunked { .. } => 4,
        }
    }

    fn field(self) -> u32 {
        match self {
            Self::Plain { start } | Self::Inline { start } => start,
            Self::Chunked { bits } => u32::from(bits - BLOCK_BITS),
            Self::Device(number) => number,
        }
    }
}

/// One extended inode, all fields in their final form.
pub(crate) struct RawInode {
    pub(crate) layout: DataLayout,
    /// Length of the xattr body behind the inode, 0 or a multiple of 4 from 12 on.
    pub(crate) xattr_bytes: usize,
    pub(crate) mode: u16,
    pub(crate) size: u64,
    pub(crate) number: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Timestamp,
    pub(crate) links: u32,
}

/// Where [`RawInode::links`] lies in the encoded inode.
pub(crate) const LINKS_OFFSET: u64 = 44;

impl RawInode {
    pub(crate) fn encode(&self) -> [u8; INODE] {
        let mut raw = [0; INODE];
        let xattr_count = if self.xattr_bytes == 0 { 0 } else { (self.xattr_bytes - 12) / 4 + 1 };
        put(&mut raw, 0, &(1 | (self.layout.code() << 1)).to_le_bytes());
        put(&mut raw, 2, &(xattr_count as u16).to_le_bytes());
        put(&mut raw, 4, &self.mode.to_le_bytes());
        put(&mut raw, 8, &self.size.to_le_bytes());
        put(&mut raw, 16, &self.layout.field().to_le_bytes());
        put(&mut raw, 20, &self.number.to_le_bytes());
        put(&mut raw, 24, &self.uid.to_le_bytes());
        put(&mut raw, 28, &self.gid.to_le_bytes());
        put(&mut raw, 32, &self.mtime.seconds.to_le_bytes());
        put(&mut raw, 40, &self.mtime.nanoseconds.to_le_bytes());
        put(&mut raw, LINKS_OFFSET as usize, &self.links.to_le_bytes());
        raw
    }
}

/// What the superblock says besides constants.
pub(crate) struct Superblock {
    pub(crate) root: u16,
    pub(crate) inodes: u64,
    pub(crate) blocks: u32,
    pub(crate) uuid: [u8; 16],
    pub(crate) chunked: bool,
}

impl Superblock {
    /// The superblock; `rest` is what follows it in block 0, which its checksum covers too.
    pub(crate) fn encode(&self, rest: &[u8]) -> [u8; SUPERBLOCK] {
        let mut raw = [0; SUPERBLOCK];
        put(&mut raw, 0, &MAGIC.to_le_bytes());
        put(&mut raw, 8, &(COMPAT_CHECKSUM | COMPAT_MTIME).to_le_bytes());
        raw[12] = BLOCK_BITS;
        put(&mut raw, 14, &self.root.to_le_bytes());
        put(&mut raw, 16, &self.inodes.to_le_bytes());
        put(&mut raw, 36, &self.blocks.to_le_bytes());
        put(&mut raw, 48, &self.uuid);
        put(&mut raw, 64, b"boxlite");
        put(&mut raw, 80, &if self.chunked { INCOMPAT_CHUNKED_FILE } else { 0 }.to_le_bytes());
        let checksum = crc32c(crc32c(u32::MAX, &raw), rest);
        put(&mut raw, 4, &checksum.to_le_bytes());
        raw
    }
}

/// CRC-32C without the final inversion, as the kernel stores it. Runs over one block an image: no table needed.
fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(seed, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

fn put(raw: &mut [u8], at: usize, bytes: &[u8]) {
    raw[at..at + bytes.len()].copy_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_gives_the_standard_check_value() {
        assert_eq!(!crc32c(u32::MAX, b"123456789"), 0xe306_9283);
    }

    #[test]
    fn device_numbers_are_encoded_as_linux_does() {
        assert_eq!(encode_device(DeviceNumber { major: 8, minor: 1 }), Some(0x801));
        assert_eq!(encode_device(DeviceNumber { major: 259, minor: 300 }), Some(0x0011_032c));
        assert_eq!(encode_device(DeviceNumber { major: 4096, minor: 0 }), None);
        assert_eq!(encode_device(DeviceNumber { major: 0, minor: 1 << 20 }), None);
    }
}
