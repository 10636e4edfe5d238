//! Directories: entries in sorted blocks, the last partial block behind the inode.
//!
//! Owns the layout of directory blocks; the caller gives the entries in order, with `.` and `..` among them.

use super::format::{BLOCK, DataLayout, FileType, INODE, Nid};
use super::output::ROOT_OFFSET;
use super::{Attributes, ErofsError, NewInode, Writer, fits_inline};

const DIRENT: usize = 12;

/// One name in a directory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dirent<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) nid: Nid,
    pub(crate) file_type: FileType,
}

/// A directory's place in the image, decided before its entries can be written: they name each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placement {
    pub(crate) nid: Nid,
    blocks: Blocks,
    size: u64,
}

#[derive(Clone, Copy, Debug)]
struct Blocks {
    first: u64,
    count: u64,
    /// Bytes of the last block that stand behind the inode instead of in a block.
    inline: usize,
}

impl Writer<'_> {
    /// Decides where the root directory goes; `name_lengths` covers all entries in order.
    pub(crate) fn place_root(
        &mut self,
        name_lengths: impl Iterator<Item = usize>,
    ) -> Result<Placement, ErofsError> {
        let (full, tail) = measure(name_lengths);
        let count = full + u64::from(tail > 0);
        let first = self.out.reserve(count)?;
        let size = full * BLOCK as u64 + tail as u64;
        Ok(Placement { nid: Nid::at(ROOT_OFFSET), blocks: Blocks { first, count, inline: 0 }, size })
    }

    /// Decides where a directory other than the root goes.
    pub(crate) fn place_directory(
        &mut self,
        attributes: &Attributes,
        name_lengths: impl Iterator<Item = usize>,
    ) -> Result<Placement, ErofsError> {
        let (full, tail) = measure(name_lengths);
        let inline = if fits_inline(attributes, tail) { tail } else { 0 };
        let count = full + u64::from(tail > inline);
        let first = if count > 0 { self.out.reserve(count)? } else { 0 };
        let nid = Nid::at(self.out.allocate_metadata(INODE + attributes.xattrs.bytes().len() + inline)?);
        let size = full * BLOCK as u64 + tail as u64;
        Ok(Placement { nid, blocks: Blocks { first, count, inline }, size })
    }

    /// Writes a placed directory; `entries` are those it was measured by, sorted by the bytes of their names.
    pub(crate) fn write_directory<'e>(
        &mut self,
        placement: Placement,
        attributes: &Attributes,
        links: u32,
        entries: impl Iterator<Item = Dirent<'e>>,
    ) -> Result<(), ErofsError> {
        let Blocks { first, count, inline } = placement.blocks;
        let mut at = first;
        let mut tail = Vec::new();
        encode(entries, |block| {
            if at < first + count {
                let mut padded = [0; BLOCK];
                padded[..block.len()].copy_from_slice(block);
                self.digest_block(at, block);
                self.out.write_blocks(at, &padded)?;
                at += 1;
            } else {
                tail.extend_from_slice(block);
            }
            Ok(())
        })?;
        let start = super::output::block_address(first)?;
        let layout = if inline > 0 { DataLayout::Inline { start } } else { DataLayout::Plain { start } };
        let file_type = FileType::Directory;
        let size = placement.size;
        self.put(placement.nid, &NewInode { file_type, attributes, layout, size, links, behind: &tail })
    }
}

/// Full blocks and the bytes of the last one.
fn measure(name_lengths: impl Iterator<Item = usize>) -> (u64, usize) {
    let mut full = 0;
    let mut used = 0;
    for length in name_lengths {
        let entry = DIRENT + length;
        if used + entry > BLOCK {
            full += 1;
            used = 0;
        }
        used += entry;
    }
    if used == BLOCK { (full + 1, 0) } else { (full, used) }
}

/// Emits block after block, each as long as it is filled.
fn encode<'e>(
    entries: impl Iterator<Item = Dirent<'e>>,
    mut emit: impl FnMut(&[u8]) -> Result<(), ErofsError>,
) -> Result<(), ErofsError> {
    let mut pending: Vec<Dirent<'e>> = Vec::new();
    let mut used = 0;
    let mut block = Vec::with_capacity(BLOCK);
    for entry in entries {
        let length = DIRENT + entry.name.len();
        if used + length > BLOCK {
            encode_block(&pending, &mut block);
            emit(&block)?;
            pending.clear();
            used = 0;
        }
        pending.push(entry);
        used += length;
    }
    encode_block(&pending, &mut block);
    emit(&block)
}

/// A block is its fixed-size entries, then their names without separators.
fn encode_block(entries: &[Dirent<'_>], block: &mut Vec<u8>) {
    block.clear();
    let mut name_at = entries.len() * DIRENT;
    for entry in entries {
        block.extend_from_slice(&entry.nid.get().to_le_bytes());
        block.extend_from_slice(&(name_at as u16).to_le_bytes());
        block.extend_from_slice(&[entry.file_type as u8, 0]);
        name_at += entry.name.len();
    }
    for entry in entries {
        block.extend_from_slice(entry.name);
    }
}
