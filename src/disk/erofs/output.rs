//! The image file as a row of blocks: data appended in order, metadata placed in runs between it.
//!
//! Owns block addresses and buffers (about 1.3 MiB); never looks at what the bytes mean.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::ErofsError;
use super::format::{BLOCK, BLOCK_U64, NULL_BLOCK, SLOT, SUPERBLOCK, SUPERBLOCK_OFFSET};

/// Byte offset of the root inode: behind the superblock, where `root_nid`'s 16 bits reach.
pub(super) const ROOT_OFFSET: u64 = SUPERBLOCK_OFFSET + SUPERBLOCK as u64;

/// Blocks kept for superblock, root inode and its xattrs. What is not used stays a hole of the file.
const HEAD_BLOCKS: u64 = 16;
/// Blocks of metadata reserved at a time: inodes stand close together, and one buffer holds them until it is full.
const RUN_BLOCKS: usize = 64;
/// Data is written to the file in pieces of this size.
const FLUSH_BYTES: usize = 1 << 20;
/// Zeros beyond this many become a hole of the file rather than bytes in the buffer.
const SKIP_BYTES: u64 = 64 * 1024;

pub(super) struct Output<'a> {
    file: &'a File,
    /// Data not yet written; starts at block `buffer_at`.
    buffer: Vec<u8>,
    buffer_at: u64,
    run: Run,
}

/// The metadata blocks that still have room.
struct Run {
    /// First block, 0 before the first run.
    at: u64,
    bytes: Vec<u8>,
    /// Bytes taken in each block.
    taken: Vec<usize>,
    /// Blocks below this one have been opened.
    opened: usize,
}

impl<'a> Output<'a> {
    pub(super) fn new(file: &'a File) -> Self {
        Self {
            file,
            buffer: Vec::with_capacity(FLUSH_BYTES + FLUSH_BYTES / 2),
            buffer_at: HEAD_BLOCKS,
            run: Run { at: 0, bytes: Vec::new(), taken: vec![BLOCK; RUN_BLOCKS], opened: RUN_BLOCKS },
        }
    }

    /// The block behind all that was appended or reserved.
    pub(super) fn end(&self) -> u64 {
        self.buffer_at + self.buffer.len().div_ceil(BLOCK) as u64
    }

    /// The block that the next appended byte goes to; the data so far ends at a block's end.
    pub(super) fn position(&self) -> Result<u32, ErofsError> {
        debug_assert!(self.buffer.len().is_multiple_of(BLOCK), "data is padded before the next file starts");
        block_address(self.end())
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), ErofsError> {
        for part in bytes.chunks(FLUSH_BYTES / 2) {
            if self.buffer.len() + part.len() > self.buffer.capacity() {
                self.flush_whole_blocks()?;
            }
            self.buffer.extend_from_slice(part);
        }
        Ok(())
    }

    pub(super) fn append_zeros(&mut self, count: u64) -> Result<(), ErofsError> {
        let mut left = count;
        if left > SKIP_BYTES {
            left -= self.pad()?;
            self.flush_whole_blocks()?;
            self.buffer_at += left / BLOCK_U64;
            left %= BLOCK_U64;
            block_address(self.buffer_at)?;
        }
        while left > 0 {
            let part = left.min(BLOCK_U64) as usize;
            self.append(&[0; BLOCK][..part])?;
            left -= part as u64;
        }
        Ok(())
    }

    /// Fills the last block with zeros; returns how many.
    pub(super) fn pad(&mut self) -> Result<u64, ErofsError> {
        let missing = self.buffer.len().next_multiple_of(BLOCK) - self.buffer.len();
        self.append(&[0; BLOCK][..missing])?;
        Ok(missing as u64)
    }

    /// Takes the last, partly filled block's bytes back.
    pub(super) fn take_tail(&mut self) -> Vec<u8> {
        self.buffer.split_off(self.buffer.len() / BLOCK * BLOCK)
    }

    /// Room for `length` bytes of metadata, in one block if it is at most one long; returns its offset in the file.
    pub(super) fn allocate_metadata(&mut self, length: usize) -> Result<u64, ErofsError> {
        let length = length.next_multiple_of(SLOT as usize);
        if let Some(offset) = self.run.allocate(length) {
            return Ok(offset);
        }
        self.write_run()?;
        self.run.at = self.reserve(RUN_BLOCKS as u64)?;
        self.run.bytes.clear();
        self.run.bytes.resize(RUN_BLOCKS * BLOCK, 0);
        self.run.taken.fill(0);
        self.run.opened = 0;
        self.run.allocate(length).ok_or(ErofsError::XattrsTooLarge)
    }

    /// Reserves blocks behind the data; returns the first.
    pub(super) fn reserve(&mut self, blocks: u64) -> Result<u64, ErofsError> {
        self.flush_whole_blocks()?;
        let first = self.end();
        self.buffer_at = first + blocks;
        block_address(self.buffer_at)?;
        Ok(first)
    }

    /// Writes metadata at an offset that was allocated, also when its run has left the buffer.
    pub(super) fn write_metadata(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let start = self.run.at * BLOCK_U64;
        if self.run.at > 0 && offset >= start && offset - start < self.run.bytes.len() as u64 {
            let at = (offset - start) as usize;
            self.run.bytes[at..at + bytes.len()].copy_from_slice(bytes);
            return Ok(());
        }
        self.file.write_all_at(bytes, offset)
    }

    /// Writes blocks that were reserved.
    pub(super) fn write_blocks(&mut self, first: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, first * BLOCK_U64)
    }

    /// Writes all that is buffered; returns the image's length in blocks.
    pub(super) fn flush(&mut self) -> Result<u32, ErofsError> {
        self.flush_whole_blocks()?;
        self.write_run()?;
        if self.run.at > 0 && self.run.at + RUN_BLOCKS as u64 == self.buffer_at {
            self.buffer_at = self.run.at + self.run.opened as u64;
        }
        block_address(self.end())
    }

    fn write_run(&mut self) -> io::Result<()> {
        if self.run.at == 0 {
            return Ok(());
        }
        self.file.write_all_at(&self.run.bytes[..self.run.opened * BLOCK], self.run.at * BLOCK_U64)
    }

    fn flush_whole_blocks(&mut self) -> io::Result<()> {
        let whole = self.buffer.len() / BLOCK * BLOCK;
        if whole > 0 {
            self.file.write_all_at(&self.buffer[..whole], self.buffer_at * BLOCK_U64)?;
            self.buffer.drain(..whole);
            self.buffer_at += (whole / BLOCK) as u64;
        }
        Ok(())
    }
}

impl Run {
    /// First fit among the opened blocks, else fresh ones.
    fn allocate(&mut self, length: usize) -> Option<u64> {
        if length <= BLOCK
            && let Some(block) = self.taken[..self.opened].iter().position(|taken| taken + length <= BLOCK)
        {
            let offset = (self.at + block as u64) * BLOCK_U64 + self.taken[block] as u64;
            self.taken[block] += length;
            return Some(offset);
        }
        let blocks = length.div_ceil(BLOCK);
        if blocks > RUN_BLOCKS - self.opened {
            return None;
        }
        let first = self.opened;
        self.opened += blocks;
        self.taken[first..self.opened].fill(BLOCK);
        self.taken[self.opened - 1] = length - (blocks - 1) * BLOCK;
        Some((self.at + first as u64) * BLOCK_U64)
    }
}

pub(super) fn block_address(block: u64) -> Result<u32, ErofsError> {
    u32::try_from(block).ok().filter(|address| *address != NULL_BLOCK).ok_or(ErofsError::TooManyBlocks)
}
