//! File content around the page cache: between a file and the caller's memory without a copy in between.
//!
//! Owns what O_DIRECT asks for (`open(2)`): memory, offsets and lengths in whole blocks. Where a file system has none of
//! it, or a piece doesn't fit, the page cache does the work, so that a caller sees no difference but the time.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use crate::sys;

/// What every disk takes as the unit of memory and offsets.
pub const SECTOR: usize = 512;
/// The unit of a file system's blocks: writes in other units are slow.
const BLOCK: usize = 4096;
/// Content below this is not worth the trouble.
const LEAST: u64 = 1 << 20;

/// Memory that begins at a block's boundary.
#[derive(Debug)]
pub struct Aligned {
    memory: Vec<u8>,
    from: usize,
    length: usize,
}

impl Aligned {
    /// `length` bytes of zeros.
    pub fn new(length: usize) -> Self {
        let memory = vec![0; length + BLOCK];
        let from = memory.as_ptr().align_offset(BLOCK).min(BLOCK);
        Self { memory, from, length }
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.from..self.from + self.length]
    }

    /// All of it, to be filled.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.from..self.from + self.length]
    }
}

/// Whether a disk can read from this memory, or write to it, by itself.
pub fn is_aligned(bytes: &[u8]) -> bool {
    bytes.as_ptr().align_offset(SECTOR) == 0 && bytes.len().is_multiple_of(SECTOR)
}

/// The file system, or this piece of the file, has no such way.
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP))
}

/// Whether the file took this around the page cache.
fn goes_directly(file: &File, bytes: &[u8], at: u64) -> io::Result<bool> {
    match file.write_all_at(bytes, at) {
        Err(error) if is_refusal(&error) => Ok(false),
        written => written.map(|()| true),
    }
}

/// Reads a file, around the page cache as long as that goes.
pub(crate) struct Reader<'a> {
    file: &'a File,
    is_direct: bool,
}

impl<'a> Reader<'a> {
    /// `wanted`: so that this much of it is read around the page cache, if it is enough to be worth it.
    pub(crate) fn new(file: &'a File, wanted: Option<u64>) -> Self {
        let is_direct =
            wanted.is_some_and(|bytes| bytes >= LEAST) && sys::set_direct(file.as_fd(), true).is_ok();
        Self { file, is_direct }
    }

    /// At most `length` bytes from `offset` into the beginning of `memory`, which holds whole sectors.
    pub(crate) fn read_at(&mut self, memory: &mut [u8], length: usize, offset: u64) -> io::Result<usize> {
        if self.is_direct {
            let room = length.next_multiple_of(SECTOR).min(memory.len());
            match self.file.read_at(&mut memory[..room], offset) {
                Err(error) if is_refusal(&error) => self.give_up()?,
                // A file that has grown gives more than was asked for.
                read => return read.map(|read| read.min(length)),
            }
        }
        self.file.read_at(&mut memory[..length], offset)
    }

    fn give_up(&mut self) -> io::Result<()> {
        self.is_direct = false;
        sys::set_direct(self.file.as_fd(), false)
    }
}

/// Writes a new file from its beginning on, around the page cache as long as that goes.
pub(crate) struct Writer<'a> {
    file: &'a File,
    /// Where the next byte goes, those in `carried` counted.
    at: u64,
    direct: Option<Carried>,
}

/// The beginning of a block whose rest is still to come.
struct Carried {
    block: Aligned,
    length: usize,
}

impl<'a> Writer<'a> {
    /// `expected`: so much is to come around the page cache, if it is enough to be worth it.
    pub(crate) fn new(file: &'a File, expected: Option<u64>) -> Self {
        let is_direct =
            expected.is_some_and(|bytes| bytes >= LEAST) && sys::set_direct(file.as_fd(), true).is_ok();
        let direct = is_direct.then(|| Carried { block: Aligned::new(BLOCK), length: 0 });
        Self { file, at: 0, direct }
    }

    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if let Some(carried) = &mut self.direct
            && carried.length > 0
        {
            let taken = bytes.len().min(BLOCK - carried.length);
            carried.block.bytes_mut()[carried.length..][..taken].copy_from_slice(&bytes[..taken]);
            carried.length += taken;
            self.at += taken as u64;
            bytes = &bytes[taken..];
            if carried.length < BLOCK {
                return Ok(());
            }
            if goes_directly(self.file, carried.block.bytes(), self.at - BLOCK as u64)? {
                carried.length = 0;
            } else {
                self.give_up()?;
            }
        }
        let (whole, rest) = bytes.split_at(bytes.len() - bytes.len() % BLOCK);
        let fits = is_aligned(whole) && self.at.is_multiple_of(BLOCK as u64);
        if self.direct.is_some() && !(whole.is_empty() || fits && goes_directly(self.file, whole, self.at)?) {
            self.give_up()?;
        }
        match &mut self.direct {
            Some(carried) => {
                carried.block.bytes_mut()[..rest.len()].copy_from_slice(rest);
                carried.length = rest.len();
            }
            None => self.file.write_all_at(bytes, self.at)?,
        }
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Leaves so many bytes out.
    pub(crate) fn skip(&mut self, count: u64) -> io::Result<()> {
        if !count.is_multiple_of(BLOCK as u64)
            || self.direct.as_ref().is_some_and(|carried| carried.length > 0)
        {
            self.give_up()?;
        }
        self.at += count;
        Ok(())
    }

    /// Writes what is left.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.give_up()
    }

    /// From here on through the page cache.
    fn give_up(&mut self) -> io::Result<()> {
        let Some(carried) = self.direct.take() else { return Ok(()) };
        sys::set_direct(self.file.as_fd(), false)?;
        let begun = &carried.block.bytes()[..carried.length];
        self.file.write_all_at(begun, self.at - begun.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(pieces: &[&[u8]], hole_after: Option<(usize, u64)>) -> Vec<u8> {
        let file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let mut writer = Writer::new(&file, Some(LEAST));
        for (index, piece) in pieces.iter().enumerate() {
            writer.write(piece).unwrap();
            if let Some((after, count)) = hole_after
                && after == index
            {
                writer.skip(count).unwrap();
            }
        }
        writer.finish().unwrap();
        let mut back = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        file.read_exact_at(&mut back, 0).unwrap();
        back
    }

    fn pattern(length: usize) -> Aligned {
        let mut memory = Aligned::new(length);
        for (index, byte) in memory.bytes_mut().iter_mut().enumerate() {
            *byte = (index % 251) as u8;
        }
        memory
    }

    #[test]
    fn pieces_of_every_length_and_alignment_arrive() {
        let memory = pattern(300_000);
        let bytes = memory.bytes();
        for cuts in [
            &[0, 300_000][..],
            &[0, 512, 8192, 8704, 131_584, 300_000],
            &[0, 1, 4096, 4097, 299_999, 300_000],
            &[0, 4608, 4608, 250_368, 300_000],
        ] {
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            assert!(written(&pieces, None) == bytes, "cut at {cuts:?}");
        }
    }

    #[test]
    fn holes_of_every_length_are_left_out() {
        let memory = pattern(16_384);
        let bytes = memory.bytes();
        for (first, hole) in [(8192, 4096), (8192, 5), (5, 4096), (512, 512)] {
            let (one, other) = bytes.split_at(first);
            let back = written(&[one, other], Some((0, hole as u64)));
            assert!(back[..first] == *one && back[first..first + hole].iter().all(|byte| *byte == 0));
            assert!(back[first + hole..] == *other, "{first} {hole}");
        }
    }

    #[test]
    fn a_file_is_read_to_the_byte() {
        let file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let memory = pattern(10_000);
        file.write_all_at(memory.bytes(), 0).unwrap();
        let mut reader = Reader::new(&file, Some(LEAST));
        let mut back = Aligned::new(16_384);
        assert_eq!(reader.read_at(back.bytes_mut(), 5, 512).unwrap(), 5, "not more than was asked for");
        assert_eq!(reader.read_at(back.bytes_mut(), 16_384, 0).unwrap(), 10_000);
        assert!(back.bytes()[..10_000] == *memory.bytes());
        assert_eq!(reader.read_at(back.bytes_mut(), 100, 7).unwrap(), 100, "an odd offset");
        assert!(back.bytes()[..100] == memory.bytes()[7..107]);
    }
}
