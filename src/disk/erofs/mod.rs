//! A single-pass EROFS writer: uncompressed, 4 KiB blocks, extended inodes, the same bytes for the same calls.
//!
//! File data is appended as it arrives and each inode is placed once its data is known, in runs of metadata blocks
//! between the data; nothing of a file stays in memory. Directories come last, when all names are known. The root
//! inode has its place in block 0, because the superblock's `root_nid` holds 16 bits.
//! Knows nothing of tar, layers or paths.

mod directory;
mod file;
mod format;
mod output;
mod xattr;

use std::fs::File;
use std::io;

use sha2::{Digest, Sha256};

pub(crate) use self::directory::{Dirent, Placement};
pub(crate) use self::format::{BLOCK_U64, FileType, Nid};
use self::format::{DataLayout, INODE, LINKS_OFFSET, RawInode, SUPERBLOCK, SUPERBLOCK_OFFSET, Superblock};
use self::output::{Output, ROOT_OFFSET};
pub(crate) use self::xattr::{Kept, Xattrs};
pub(crate) use boxlite_archive::{DeviceNumber, Timestamp};

/// The longest symlink target that Linux reads back whole.
pub(crate) const MAX_SYMLINK_TARGET: usize = 4095;
/// The longest name in a directory.
pub(crate) const MAX_NAME: usize = 255;
/// Sizes above this cannot be expressed by a block map of the length that [`OpenFile`] allows itself.
pub(crate) const MAX_FILE_SIZE: u64 = 1 << 57;

/// Why an image could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ErofsError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the image would need more than 2^32 blocks (16 TiB)")]
    TooManyBlocks,
    #[error("the file is larger than an EROFS block map can describe (2^57 bytes)")]
    FileTooLarge,
    #[error("its extended attributes take more than {} bytes", xattr::MAX_BODY)]
    XattrsTooLarge,
    #[error("the device number does not fit 12 bits of major and 20 of minor")]
    DeviceNumber,
}

/// What an inode says about itself besides its type and data.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attributes {
    /// Permission bits with setuid, setgid and sticky; never type bits.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Timestamp,
    pub(crate) xattrs: Xattrs,
}

/// An inode that is neither file, directory nor symlink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    CharDevice(DeviceNumber),
    BlockDevice(DeviceNumber),
    Fifo,
    Socket,
}

impl Special {
    pub(crate) fn file_type(self) -> FileType {
        match self {
            Self::CharDevice(_) => FileType::CharDevice,
            Self::BlockDevice(_) => FileType::BlockDevice,
            Self::Fifo => FileType::Fifo,
            Self::Socket => FileType::Socket,
        }
    }
}

/// Writes one image into one file.
pub(crate) struct Writer<'a> {
    out: Output<'a>,
    inodes: u32,
    chunked: bool,
    /// Digest of all metadata: what the image's UUID is made of.
    digest: Sha256,
    /// Where inodes are put together.
    scratch: Vec<u8>,
    /// The bytes of block 0 behind the superblock.
    root: Vec<u8>,
}

impl<'a> Writer<'a> {
    /// A writer into `file`, which is empty.
    pub(crate) fn new(file: &'a File) -> Self {
        Self {
            out: Output::new(file),
            inodes: 0,
            chunked: false,
            digest: Sha256::new(),
            scratch: Vec::new(),
            root: Vec::new(),
        }
    }

    /// Blocks taken so far, data and metadata.
    pub(crate) fn blocks(&self) -> u64 {
        self.out.end()
    }

    /// Adds a symlink; `target` has at most [`MAX_SYMLINK_TARGET`] bytes.
    pub(crate) fn symlink(&mut self, attributes: &Attributes, target: &[u8]) -> Result<Nid, ErofsError> {
        let start = self.out.position()?;
        let layout = if fits_inline(attributes, target.len()) {
            DataLayout::Inline { start }
        } else {
            self.out.append(target)?;
            self.out.pad()?;
            DataLayout::Plain { start }
        };
        self.place(&NewInode {
            file_type: FileType::Symlink,
            attributes,
            layout,
            size: target.len() as u64,
            links: 1,
            behind: if matches!(layout, DataLayout::Inline { .. }) { target } else { &[] },
        })
    }

    /// Adds a device node, FIFO or socket.
    pub(crate) fn special(&mut self, attributes: &Attributes, special: Special) -> Result<Nid, ErofsError> {
        let device = match special {
            Special::CharDevice(number) | Special::BlockDevice(number) => {
                format::encode_device(number).ok_or(ErofsError::DeviceNumber)?
            }
            Special::Fifo | Special::Socket => 0,
        };
        self.place(&NewInode {
            file_type: special.file_type(),
            attributes,
            layout: DataLayout::Device(device),
            size: 0,
            links: 1,
            behind: &[],
        })
    }

    /// Sets the number of names of an inode that was placed with one.
    pub(crate) fn set_links(&mut self, nid: Nid, links: u32) -> Result<(), ErofsError> {
        self.digest.update(nid.get().to_le_bytes());
        self.digest.update(links.to_le_bytes());
        self.out.write_metadata(nid.offset() + LINKS_OFFSET, &links.to_le_bytes())?;
        Ok(())
    }

    /// Writes what is still buffered and the superblock; returns the bytes the image takes.
    pub(crate) fn finish(mut self) -> Result<u64, ErofsError> {
        let blocks = self.out.flush()?;
        let digest = self.digest.finalize();
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&digest[..16]);
        uuid[6] = (uuid[6] & 0x0f) | 0x80;
        uuid[8] = (uuid[8] & 0x3f) | 0x80;
        let superblock = Superblock {
            root: (ROOT_OFFSET / format::SLOT) as u16,
            inodes: u64::from(self.inodes),
            blocks,
            uuid,
            chunked: self.chunked,
        };
        let in_block_0 = format::BLOCK - SUPERBLOCK_OFFSET as usize - SUPERBLOCK;
        if self.root.len() < in_block_0 {
            self.root.resize(in_block_0, 0);
        }
        let raw = superblock.encode(&self.root[..in_block_0]);
        self.out.write_metadata(SUPERBLOCK_OFFSET, &raw)?;
        self.out.write_metadata(ROOT_OFFSET, &self.root)?;
        Ok(u64::from(blocks) * BLOCK_U64)
    }

    fn digest_block(&mut self, block: u64, bytes: &[u8]) {
        self.digest.update(block.to_le_bytes());
        self.digest.update(bytes);
    }

    /// Finds a place for an inode with all that stands behind it, and puts it there.
    fn place(&mut self, inode: &NewInode<'_>) -> Result<Nid, ErofsError> {
        let length = INODE + inode.attributes.xattrs.bytes().len() + inode.behind.len();
        let nid = Nid::at(self.out.allocate_metadata(length)?);
        self.put(nid, inode)?;
        Ok(nid)
    }

    fn put(&mut self, nid: Nid, inode: &NewInode<'_>) -> Result<(), ErofsError> {
        let attributes = inode.attributes;
        self.inodes = self.inodes.wrapping_add(1);
        let raw = RawInode {
            layout: inode.layout,
            xattr_bytes: attributes.xattrs.bytes().len(),
            mode: inode.file_type.mode_bits() | attributes.mode,
            size: inode.size,
            number: self.inodes,
            uid: attributes.uid,
            gid: attributes.gid,
            mtime: attributes.mtime,
            links: inode.links,
        };
        self.scratch.clear();
        self.scratch.extend_from_slice(&raw.encode());
        self.scratch.extend_from_slice(attributes.xattrs.bytes());
        self.scratch.extend_from_slice(inode.behind);
        self.digest.update(nid.get().to_le_bytes());
        self.digest.update(&self.scratch);
        if nid.offset() == ROOT_OFFSET {
            self.root.clone_from(&self.scratch);
        } else {
            self.out.write_metadata(nid.offset(), &self.scratch)?;
        }
        Ok(())
    }
}

/// An inode to be placed.
struct NewInode<'a> {
    file_type: FileType,
    attributes: &'a Attributes,
    layout: DataLayout,
    size: u64,
    links: u32,
    /// Inline data or block map, behind the attributes.
    behind: &'a [u8],
}

/// Whether `tail` bytes of data can stand behind the inode in one block.
fn fits_inline(attributes: &Attributes, tail: usize) -> bool {
    tail > 0 && INODE + attributes.xattrs.bytes().len() + tail <= format::BLOCK
}
