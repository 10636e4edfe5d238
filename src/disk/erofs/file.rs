//! Regular files: data streamed to the disk, long stretches of zeros left out.
//!
//! Owns the choice of data layout (plain, inline tail, block map with holes); never holds more of a file than one
//! block and its block map (at most 64 KiB).

use super::format::{BLOCK, BLOCK_BITS, BLOCK_U64, DataLayout, FileType, NULL_BLOCK};
use super::{Attributes, ErofsError, MAX_FILE_SIZE, NewInode, Nid, Writer, fits_inline};

/// Files below this size are stored as they are: no hole in them is worth a block map.
const MIN_CHUNK: u64 = 64 * 1024;
/// A block map has at most this many entries; larger files have larger chunks.
const MAX_CHUNKS: u64 = 16 * 1024;

/// A file whose data is being written.
pub(crate) struct OpenFile {
    /// Block of the file's first byte.
    start: u32,
    size: u64,
    holes: Holes,
}

/// How far the search for holes is.
enum Holes {
    NotSought,
    Sought(Chunks),
}

struct Chunks {
    bits: u8,
    /// Bytes of the current chunk seen so far.
    filled: u64,
    content: Content,
    /// Chunks completed.
    done: u32,
    /// Their blocks, kept from the first hole on.
    map: Option<Vec<u32>>,
}

/// What the current chunk holds.
#[derive(Clone, Copy)]
enum Content {
    /// Only zeros so far; nothing of it is written.
    Zeros,
    /// Written from this block on.
    Data { block: u32 },
}

impl Chunks {
    fn for_size(size: u64) -> Self {
        let bytes = size.div_ceil(MAX_CHUNKS).next_power_of_two().max(MIN_CHUNK);
        Self { bits: bytes.trailing_zeros() as u8, filled: 0, content: Content::Zeros, done: 0, map: None }
    }

    fn bytes(&self) -> u64 {
        1 << self.bits
    }

    fn finish_chunk(&mut self, start: u32) {
        let block = match self.content {
            Content::Zeros => NULL_BLOCK,
            Content::Data { block } => block,
        };
        let blocks_a_chunk = 1 << (self.bits - BLOCK_BITS);
        let done = self.done;
        match &mut self.map {
            Some(map) => map.push(block),
            None if block == NULL_BLOCK => {
                let mut map: Vec<u32> = (0..done).map(|index| start + index * blocks_a_chunk).collect();
                map.push(NULL_BLOCK);
                self.map = Some(map);
            }
            None => {}
        }
        self.done += 1;
        self.filled = 0;
        self.content = Content::Zeros;
    }
}

impl Writer<'_> {
    /// Starts a file of `size` bytes; as many are written or skipped before it is closed.
    pub(crate) fn open_file(&mut self, size: u64) -> Result<OpenFile, ErofsError> {
        if size > MAX_FILE_SIZE {
            return Err(ErofsError::FileTooLarge);
        }
        let holes = if size < MIN_CHUNK { Holes::NotSought } else { Holes::Sought(Chunks::for_size(size)) };
        Ok(OpenFile { start: self.out.position()?, size: 0, holes })
    }

    /// Appends data to the file.
    pub(crate) fn write(&mut self, file: &mut OpenFile, data: &[u8]) -> Result<(), ErofsError> {
        file.size += data.len() as u64;
        let Holes::Sought(chunks) = &mut file.holes else { return self.out.append(data) };
        let mut rest = data;
        while !rest.is_empty() {
            let room = chunks.bytes() - chunks.filled;
            let (now, later) = rest.split_at(rest.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
            if matches!(chunks.content, Content::Data { .. }) || !all_zero(now) {
                self.begin_data(chunks)?;
                self.out.append(now)?;
            }
            rest = later;
            self.advance(chunks, file.start, now.len() as u64);
        }
        Ok(())
    }

    /// Appends `count` zeros to the file, at a cost that does not grow with their number.
    pub(crate) fn write_hole(&mut self, file: &mut OpenFile, count: u64) -> Result<(), ErofsError> {
        file.size += count;
        let Holes::Sought(chunks) = &mut file.holes else { return self.out.append_zeros(count) };
        let mut rest = count;
        while rest > 0 {
            let now = rest.min(chunks.bytes() - chunks.filled);
            if matches!(chunks.content, Content::Data { .. }) {
                self.out.append_zeros(now)?;
            }
            rest -= now;
            self.advance(chunks, file.start, now);
        }
        Ok(())
    }

    /// Ends the file and places its inode.
    pub(crate) fn close_file(
        &mut self,
        mut file: OpenFile,
        attributes: &Attributes,
    ) -> Result<Nid, ErofsError> {
        let (layout, behind) = match block_map(&mut file) {
            Some((bits, map)) => {
                self.out.pad()?;
                self.chunked = true;
                (DataLayout::Chunked { bits }, map)
            }
            None if fits_inline(attributes, (file.size % BLOCK_U64) as usize) => {
                (DataLayout::Inline { start: file.start }, self.out.take_tail())
            }
            None => {
                self.out.pad()?;
                (DataLayout::Plain { start: file.start }, Vec::new())
            }
        };
        let file_type = FileType::Regular;
        self.place(&NewInode { file_type, attributes, layout, size: file.size, links: 1, behind: &behind })
    }

    /// Writes the zeros that the current chunk began with, if it has not got data yet.
    fn begin_data(&mut self, chunks: &mut Chunks) -> Result<(), ErofsError> {
        if let Content::Zeros = chunks.content {
            chunks.content = Content::Data { block: self.out.position()? };
            self.out.append_zeros(chunks.filled)?;
        }
        Ok(())
    }

    fn advance(&mut self, chunks: &mut Chunks, start: u32, bytes: u64) {
        chunks.filled += bytes;
        if chunks.filled == chunks.bytes() {
            chunks.finish_chunk(start);
        }
    }
}

/// The encoded block map of a finished file and log2 of its chunks' size, if it has holes.
fn block_map(file: &mut OpenFile) -> Option<(u8, Vec<u8>)> {
    let Holes::Sought(chunks) = &mut file.holes else { return None };
    if chunks.filled > 0 {
        chunks.finish_chunk(file.start);
    }
    let map = chunks.map.take()?;
    Some((chunks.bits, map.iter().flat_map(|block| block.to_le_bytes()).collect()))
}

fn all_zero(data: &[u8]) -> bool {
    static ZEROS: [u8; BLOCK] = [0; BLOCK];
    data.chunks(BLOCK).all(|part| *part == ZEROS[..part.len()])
}
