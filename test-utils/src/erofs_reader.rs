//! Reads an uncompressed EROFS image back, entry by entry, and checks what it walks over.
//!
//! Written from the on-disk format, not from the writer: what both agree on is right. Knows only what the tests need
//! (no compression, no extra devices, no shared xattrs), and refuses the rest.

mod raw;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use raw::{bad, check, crc32c, u16_at, u32_at, u64_at};

const BLOCK: u64 = 4096;
const NULL_BLOCK: u32 = u32::MAX;

/// Type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// Character device.
    CharDevice,
    /// Block device.
    BlockDevice,
    /// FIFO.
    Fifo,
    /// Socket.
    Socket,
}

impl Kind {
    /// From the type bits of a mode.
    pub fn of_mode(mode: u32) -> Option<Self> {
        Some(match mode & 0o170_000 {
            0o100_000 => Self::File,
            0o040_000 => Self::Directory,
            0o120_000 => Self::Symlink,
            0o020_000 => Self::CharDevice,
            0o060_000 => Self::BlockDevice,
            0o010_000 => Self::Fifo,
            0o140_000 => Self::Socket,
            _ => return None,
        })
    }

    fn of_dirent(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::File,
            2 => Self::Directory,
            3 => Self::CharDevice,
            4 => Self::BlockDevice,
            5 => Self::Fifo,
            6 => Self::Socket,
            7 => Self::Symlink,
            _ => return None,
        })
    }
}

/// One name in the image with all that its inode says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// From the root, without a leading slash; the root's is empty.
    pub path: Vec<u8>,
    /// Type.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes.
    pub size: u64,
    /// Seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Number of names.
    pub links: u32,
    /// Number of the inode: names with the same one are hard links.
    pub inode: u64,
    /// Target of a symlink.
    pub target: Vec<u8>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes by full name.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// SHA-256 of a regular file's content.
    pub content: Option<[u8; 32]>,
    /// Bytes of its data that take blocks of their own.
    pub stored: u64,
}

/// An image that has been opened.
pub struct Image {
    file: File,
    meta: u64,
    root: u64,
    blocks: u64,
    uuid: [u8; 16],
}

struct Inode {
    offset: u64,
    layout: u16,
    xattr_bytes: u64,
    mode: u16,
    size: u64,
    field: u32,
    uid: u32,
    gid: u32,
    mtime: (i64, u32),
    links: u32,
}

/// Opens an image and checks its superblock.
pub fn open(path: &Path) -> io::Result<Image> {
    let file = File::open(path)?;
    let mut block = [0; 3072];
    file.read_exact_at(&mut block, 1024)?;
    check(u32_at(&block, 0) == 0xe0f5_e1e2, "wrong magic")?;
    check(block[12] == 12, "block size is not 4 KiB")?;
    check(u32_at(&block, 80) & !0x4 == 0, "unknown incompatible feature")?;
    check(u32_at(&block, 8) & 1 == 1, "the superblock has no checksum")?;
    let stored = u32_at(&block, 4);
    let mut summed = block;
    summed[4..8].fill(0);
    check(stored == !crc32c(&summed), "the superblock's checksum is wrong")?;
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&block[48..64]);
    Ok(Image {
        file,
        meta: u64::from(u32_at(&block, 40)) * BLOCK,
        root: u64::from(u16_at(&block, 14)),
        blocks: u64::from(u32_at(&block, 36)),
        uuid,
    })
}

impl Image {
    /// Blocks that the superblock says the image has.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// The image's UUID.
    pub fn uuid(&self) -> [u8; 16] {
        self.uuid
    }

    /// All names, sorted by path; the root comes first. Checks every directory on the way.
    pub fn entries(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut pending = vec![(Vec::new(), self.root, self.root, Kind::Directory)];
        while let Some((path, nid, parent, kind)) = pending.pop() {
            let inode = self.inode(nid)?;
            let entry = self.entry(&path, nid, &inode)?;
            check(entry.kind == kind, "a directory entry's type is not its inode's")?;
            if kind == Kind::Directory {
                for (name, child, child_kind) in self.directory(&inode)? {
                    match name.as_slice() {
                        b"." => check(child == nid, "`.` leads elsewhere")?,
                        b".." => check(child == parent, "`..` leads elsewhere")?,
                        _ => {
                            let mut below = path.clone();
                            if !below.is_empty() {
                                below.push(b'/');
                            }
                            below.extend_from_slice(&name);
                            pending.push((below, child, nid, child_kind));
                        }
                    }
                }
            }
            entries.push(entry);
        }
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(entries)
    }

    /// The content of the regular file at a path.
    pub fn read(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        let entries = self.entries()?;
        let entry = entries.iter().find(|entry| entry.path == path).ok_or_else(|| bad("no such entry"))?;
        let mut content = Vec::new();
        self.data(&self.inode(entry.inode)?, &mut |bytes| content.extend_from_slice(bytes))?;
        Ok(content)
    }

    fn entry(&self, path: &[u8], nid: u64, inode: &Inode) -> io::Result<Entry> {
        let kind = Kind::of_mode(u32::from(inode.mode)).ok_or_else(|| bad("unknown type in a mode"))?;
        let mut target = Vec::new();
        let mut content = None;
        let mut stored = 0;
        match kind {
            Kind::Symlink => {
                stored = self.data(inode, &mut |bytes| target.extend_from_slice(bytes))?;
            }
            Kind::File => {
                let mut digest = Sha256::new();
                stored = self.data(inode, &mut |bytes| digest.update(bytes))?;
                content = Some(digest.finalize().into());
            }
            _ => {}
        }
        let device = match kind {
            Kind::CharDevice | Kind::BlockDevice => {
                ((inode.field >> 8) & 0xfff, (inode.field & 0xff) | ((inode.field >> 12) & !0xff))
            }
            _ => (0, 0),
        };
        Ok(Entry {
            path: path.to_vec(),
            kind,
            mode: u32::from(inode.mode & 0o7777),
            uid: inode.uid,
            gid: inode.gid,
            size: inode.size,
            mtime: inode.mtime,
            links: inode.links,
            inode: nid,
            target,
            device,
            xattrs: self.xattrs(inode)?,
            content,
            stored,
        })
    }

    fn inode(&self, nid: u64) -> io::Result<Inode> {
        let offset = self.meta + nid * 32;
        let mut raw = [0; 64];
        self.read_at(&mut raw, offset)?;
        let format = u16_at(&raw, 0);
        check(format & 1 == 1, "not an extended inode")?;
        let count = u64::from(u16_at(&raw, 2));
        let nanoseconds = u32_at(&raw, 40);
        check(nanoseconds < 1_000_000_000, "nanoseconds out of range")?;
        Ok(Inode {
            offset,
            layout: (format >> 1) & 7,
            xattr_bytes: if count == 0 { 0 } else { 12 + 4 * (count - 1) },
            mode: u16_at(&raw, 4),
            size: u64_at(&raw, 8),
            field: u32_at(&raw, 16),
            uid: u32_at(&raw, 24),
            gid: u32_at(&raw, 28),
            mtime: (u64_at(&raw, 32) as i64, nanoseconds),
            links: u32_at(&raw, 44),
        })
    }

    /// Gives the content to `sink`; returns how many bytes of it lie in data blocks.
    fn data(&self, inode: &Inode, sink: &mut dyn FnMut(&[u8])) -> io::Result<u64> {
        let behind = inode.offset + 64 + inode.xattr_bytes;
        match inode.layout {
            0 => {
                self.stretch(u64::from(inode.field) * BLOCK, inode.size, sink)?;
                Ok(inode.size)
            }
            2 => {
                let tail = inode.size % BLOCK;
                self.stretch(u64::from(inode.field) * BLOCK, inode.size - tail, sink)?;
                check(behind % BLOCK + tail <= BLOCK, "an inline tail crosses a block's end")?;
                self.stretch(behind, tail, sink)?;
                Ok(inode.size - tail)
            }
            4 => {
                check(inode.field & 0xffff_ffe0 == 0, "unknown chunk format")?;
                let chunk = BLOCK << (inode.field & 0x1f);
                let mut stored = 0;
                for index in 0..inode.size.div_ceil(chunk) {
                    let length = chunk.min(inode.size - index * chunk);
                    let mut raw = [0; 4];
                    self.read_at(&mut raw, behind + index * 4)?;
                    match u32_at(&raw, 0) {
                        NULL_BLOCK => zeros(length, sink),
                        block => {
                            self.stretch(u64::from(block) * BLOCK, length, sink)?;
                            stored += length;
                        }
                    }
                }
                Ok(stored)
            }
            _ => Err(bad("unknown data layout")),
        }
    }

    fn stretch(&self, offset: u64, length: u64, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        check(offset + length <= self.blocks * BLOCK, "data behind the image's end")?;
        let mut buffer = vec![0; (1 << 20).min(length as usize)];
        let mut done = 0;
        while done < length {
            let part = &mut buffer[..((1 << 20).min(length - done)) as usize];
            self.file.read_exact_at(part, offset + done)?;
            sink(part);
            done += part.len() as u64;
        }
        Ok(())
    }

    fn directory(&self, inode: &Inode) -> io::Result<Vec<(Vec<u8>, u64, Kind)>> {
        let mut data = Vec::new();
        self.data(inode, &mut |bytes| data.extend_from_slice(bytes))?;
        let mut names: Vec<(Vec<u8>, u64, Kind)> = Vec::new();
        for block in data.chunks(BLOCK as usize) {
            check(block.len() >= 12, "a directory block is too short")?;
            let first = usize::from(u16_at(block, 8));
            check(first >= 12 && first.is_multiple_of(12) && first < block.len(), "bad first name offset")?;
            for index in 0..first / 12 {
                let start = usize::from(u16_at(block, index * 12 + 8));
                let last = index + 1 == first / 12;
                let end = if last { block.len() } else { usize::from(u16_at(block, index * 12 + 20)) };
                check(start < end && end <= block.len(), "bad name offset")?;
                let mut name = &block[start..end];
                if last {
                    name = &name[..name.iter().position(|byte| *byte == 0).unwrap_or(name.len())];
                }
                check(!name.is_empty() && name.len() <= 255, "bad name")?;
                check(!name.contains(&0) && !name.contains(&b'/'), "bad byte in a name")?;
                check(
                    names.last().is_none_or(|(before, ..)| before.as_slice() < name),
                    "names out of order",
                )?;
                let kind =
                    Kind::of_dirent(block[index * 12 + 10]).ok_or_else(|| bad("unknown entry type"))?;
                names.push((name.to_vec(), u64_at(block, index * 12), kind));
            }
        }
        Ok(names)
    }

    fn xattrs(&self, inode: &Inode) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let mut xattrs = BTreeMap::new();
        if inode.xattr_bytes == 0 {
            return Ok(xattrs);
        }
        let mut body = vec![0; inode.xattr_bytes as usize];
        self.read_at(&mut body, inode.offset + 64)?;
        check(body[4] == 0, "shared xattrs")?;
        let mut at = 12;
        while at < body.len() {
            check(at + 4 <= body.len(), "an xattr is cut off")?;
            let (name_length, index) = (usize::from(body[at]), body[at + 1]);
            let value_length = usize::from(u16_at(&body, at + 2));
            let end = at + 4 + name_length + value_length;
            check(end <= body.len(), "an xattr is cut off")?;
            let prefix: &[u8] = match index {
                1 => b"user.",
                2 => b"system.posix_acl_access",
                3 => b"system.posix_acl_default",
                4 => b"trusted.",
                6 => b"security.",
                _ => return Err(bad("unknown xattr prefix")),
            };
            let name = [prefix, &body[at + 4..at + 4 + name_length]].concat();
            let value = body[at + 4 + name_length..end].to_vec();
            check(xattrs.insert(name, value).is_none(), "an xattr stands there twice")?;
            at = end.next_multiple_of(4);
        }
        Ok(xattrs)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        check(offset + buffer.len() as u64 <= self.blocks * BLOCK, "metadata behind the image's end")?;
        self.file.read_exact_at(buffer, offset)
    }
}

fn zeros(length: u64, sink: &mut dyn FnMut(&[u8])) {
    let block = vec![0; 1 << 20];
    let mut left = length;
    while left > 0 {
        let part = left.min(block.len() as u64);
        sink(&block[..part as usize]);
        left -= part;
    }
}
