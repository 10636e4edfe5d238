//! A streaming tar reader: ustar, GNU and PAX, with byte-exact names, sparse maps and nothing trusted.
//!
//! Owns the archive's syntax; never judges paths, never touches the file system, never holds a file's data.

mod header;
mod pax;
mod sparse;

use crate::{DeviceNumber, TarError, Timestamp};
pub use header::HeaderProblem;
use header::{BLOCK, Header, TypeFlag};
use pax::{PaxSparse, Records};
use sparse::{Extent, SparseMap, Stretch};

/// Extended headers and long names above this size are refused: they are held in memory.
const MAX_EXTENSION: u64 = 1 << 20;

/// Where the archive's bytes come from.
pub trait Source {
    /// What reading can fail with, what is wrong with the archive included.
    type Error: From<TarError>;

    /// The next bytes, at most `max` of them; empty at the end only.
    fn take(&mut self, max: usize) -> Result<&[u8], Self::Error>;
}

/// One entry, its extensions applied.
#[derive(Debug)]
pub struct Entry {
    /// As it stands in the archive.
    pub path: Vec<u8>,
    pub kind: Kind,
    /// Permission bits.
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Timestamp,
    /// Full names and values.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file of so many bytes, holes included.
    File {
        size: u64,
    },
    HardLink {
        target: Vec<u8>,
    },
    Symlink {
        target: Vec<u8>,
    },
    CharDevice(DeviceNumber),
    BlockDevice(DeviceNumber),
    Directory,
    Fifo,
}

/// A part of a file's content.
#[derive(Debug)]
pub enum Piece<'a> {
    Data(&'a [u8]),
    /// So many zeros.
    Hole(u64),
}

/// Extended headers that came before an entry's own.
#[derive(Default)]
struct Extensions {
    records: Records,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

pub struct TarReader<S> {
    source: S,
    /// Offset of the next byte in the archive.
    offset: u64,
    /// Stored bytes of the current entry not yet read.
    stored: u64,
    /// Bytes that fill its last block.
    padding: u64,
    /// What the current file's stored bytes are, from here on.
    map: SparseMap,
    global: Records,
    end_marked: bool,
}

impl<S: Source> TarReader<S> {
    pub fn new(source: S) -> Self {
        Self {
            source,
            offset: 0,
            stored: 0,
            padding: 0,
            map: SparseMap::default(),
            global: Records::default(),
            end_marked: false,
        }
    }

    pub fn source(&self) -> &S {
        &self.source
    }

    /// The next entry; None at the archive's end. What was not read of the last one is skipped.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, S::Error> {
        self.skip_data()?;
        let mut extensions = Extensions::default();
        let mut extended = false;
        loop {
            let at = self.offset;
            let Some(block) = self.header_block()? else {
                return if extended {
                    Err(TarError::Short("an extended header has no entry").into())
                } else {
                    Ok(None)
                };
            };
            let problem = |problem| S::Error::from(TarError::Header { offset: at, problem });
            let header = Header::parse(&block).map_err(problem)?;
            extended = header.flag != TypeFlag::PaxGlobal;
            match header.flag {
                TypeFlag::PaxLocal => {
                    let bytes = self.extension(header.size, at)?;
                    extensions.records.parse(&bytes).map_err(problem)?;
                }
                TypeFlag::PaxGlobal => {
                    let bytes = self.extension(header.size, at)?;
                    self.global.parse(&bytes).map_err(problem)?;
                }
                TypeFlag::GnuLongName => extensions.name = Some(until_nul(self.extension(header.size, at)?)),
                TypeFlag::GnuLongLink => extensions.link = Some(until_nul(self.extension(header.size, at)?)),
                _ => return self.entry(header, &block, extensions, at).map(Some),
            }
        }
    }

    /// The next part of the current file; None at its end.
    pub fn next_piece(&mut self) -> Result<Option<Piece<'_>>, S::Error> {
        match self.map.next() {
            None => Ok(None),
            Some(Stretch::Hole(count)) => {
                self.map.advance(count);
                Ok(Some(Piece::Hole(count)))
            }
            Some(Stretch::Data(count)) => {
                let bytes = self.source.take(usize::try_from(count).unwrap_or(usize::MAX))?;
                if bytes.is_empty() {
                    return Err(TarError::Short("in the data of an entry").into());
                }
                let read = bytes.len() as u64;
                self.map.advance(read);
                self.stored -= read;
                self.offset += read;
                Ok(Some(Piece::Data(bytes)))
            }
        }
    }

    /// Reads on to the source's end, where only zeros may be. True if the archive's end was marked.
    pub fn finish(mut self) -> Result<(S, bool), S::Error> {
        loop {
            let bytes = self.source.take(usize::MAX)?;
            if bytes.is_empty() {
                return Ok((self.source, self.end_marked));
            }
            if bytes.iter().any(|byte| *byte != 0) {
                return Err(TarError::GarbageAfterEnd.into());
            }
        }
    }

    /// The next header block; None at the archive's end, marked by two blocks of zeros or not at all.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK]>, S::Error> {
        let mut block = [0; BLOCK];
        if !self.read_block(&mut block)? {
            return Ok(None);
        }
        if block != [0; BLOCK] {
            return Ok(Some(block));
        }
        if self.read_block(&mut block)? && block != [0; BLOCK] {
            return Err(TarError::GarbageAfterEnd.into());
        }
        self.end_marked = true;
        Ok(None)
    }

    /// False if the source has ended before the block.
    fn read_block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, S::Error> {
        let mut filled = 0;
        while filled < BLOCK {
            let bytes = self.source.take(BLOCK - filled)?;
            if bytes.is_empty() {
                return if filled == 0 { Ok(false) } else { Err(TarError::Short("in a header").into()) };
            }
            block[filled..filled + bytes.len()].copy_from_slice(bytes);
            filled += bytes.len();
        }
        self.offset += BLOCK as u64;
        Ok(true)
    }

    /// The content of an extended header at `at`.
    fn extension(&mut self, size: u64, at: u64) -> Result<Vec<u8>, S::Error> {
        if size > MAX_EXTENSION {
            return Err(TarError::Header { offset: at, problem: HeaderProblem::ExtensionTooLong }.into());
        }
        self.expect_data(size, SparseMap::plain(size));
        let mut bytes = Vec::with_capacity(size as usize);
        while let Some(piece) = self.next_piece()? {
            if let Piece::Data(data) = piece {
                bytes.extend_from_slice(data);
            }
        }
        self.skip_data()?;
        Ok(bytes)
    }

    fn expect_data(&mut self, stored: u64, map: SparseMap) {
        self.stored = stored;
        self.padding = stored.wrapping_neg() % BLOCK as u64;
        self.map = map;
    }

    fn skip_data(&mut self) -> Result<(), S::Error> {
        for part in [self.stored, self.padding] {
            let mut left = part;
            while left > 0 {
                let bytes = self.source.take(usize::try_from(left).unwrap_or(usize::MAX))?;
                if bytes.is_empty() {
                    return Err(TarError::Short("in the data of an entry").into());
                }
                left -= bytes.len() as u64;
                self.offset += bytes.len() as u64;
            }
        }
        self.expect_data(0, SparseMap::default());
        Ok(())
    }

    fn entry(
        &mut self,
        header: Header,
        block: &[u8; BLOCK],
        extensions: Extensions,
        at: u64,
    ) -> Result<Entry, S::Error> {
        let records = extensions.records.over(&self.global);
        let path = records.path.or(extensions.name).unwrap_or(header.path);
        let target = records.link.or(extensions.link).unwrap_or(header.link);
        let stored = records.size.unwrap_or(header.size);
        let device = header.device;
        let mut sparse_name = None;
        let kind = match header.flag {
            TypeFlag::OldRegular if path.ends_with(b"/") => Kind::Directory,
            TypeFlag::Regular | TypeFlag::OldRegular => {
                let size = match records.sparse {
                    None => {
                        self.expect_data(stored, SparseMap::plain(stored));
                        stored
                    }
                    Some(mut sparse) => {
                        sparse_name = sparse.name.take();
                        self.expect_pax_sparse(sparse, stored, at)?
                    }
                };
                Kind::File { size }
            }
            TypeFlag::GnuSparse => Kind::File { size: self.expect_gnu_sparse(block, stored, at)? },
            TypeFlag::HardLink => Kind::HardLink { target },
            TypeFlag::Symlink => Kind::Symlink { target },
            TypeFlag::CharDevice => Kind::CharDevice(device),
            TypeFlag::BlockDevice => Kind::BlockDevice(device),
            TypeFlag::Fifo => Kind::Fifo,
            TypeFlag::Directory => Kind::Directory,
            TypeFlag::PaxLocal | TypeFlag::PaxGlobal | TypeFlag::GnuLongName | TypeFlag::GnuLongLink => {
                return Err(TarError::Bug("an extended header was taken for an entry").into());
            }
        };
        Ok(Entry {
            path: sparse_name.unwrap_or(path),
            kind,
            mode: header.mode,
            uid: records.uid.unwrap_or(header.uid),
            gid: records.gid.unwrap_or(header.gid),
            mtime: records.mtime.unwrap_or(Timestamp { seconds: header.mtime, nanoseconds: 0 }),
            xattrs: records.xattrs,
        })
    }

    /// The old GNU format: the map begins in the header and goes on in blocks behind it.
    fn expect_gnu_sparse(&mut self, block: &[u8; BLOCK], stored: u64, at: u64) -> Result<u64, S::Error> {
        let problem = |problem| S::Error::from(TarError::Header { offset: at, problem });
        let (size, mut more) = sparse::gnu_header(block).map_err(problem)?;
        let mut extents = Vec::new();
        sparse::gnu_extents(&block[386..482], &mut extents).map_err(problem)?;
        while more {
            let mut block = [0; BLOCK];
            if !self.read_block(&mut block)? {
                return Err(TarError::Short("in a sparse file's map").into());
            }
            sparse::gnu_extents(&block[..504], &mut extents).map_err(problem)?;
            more = block[504] != 0;
        }
        let map = SparseMap::new(extents, size, stored).map_err(problem)?;
        self.expect_data(stored, map);
        Ok(size)
    }

    /// The PAX formats: the map stands in the records (0.0, 0.1) or before the data (1.0).
    fn expect_pax_sparse(&mut self, sparse: PaxSparse, stored: u64, at: u64) -> Result<u64, S::Error> {
        let problem = |problem| S::Error::from(TarError::Header { offset: at, problem });
        let size = sparse.size.ok_or(problem(HeaderProblem::SparseMap))?;
        self.expect_data(stored, SparseMap::default());
        let extents = if sparse.map_in_data { self.sparse_map_in_data(at)? } else { sparse.extents };
        let map = SparseMap::new(extents, size, self.stored).map_err(problem)?;
        self.map = map;
        Ok(size)
    }

    /// Decimal numbers, one a line: how many extents, then offset and length of each; padded to whole blocks.
    fn sparse_map_in_data(&mut self, at: u64) -> Result<Vec<Extent>, S::Error> {
        let broken = || S::Error::from(TarError::Header { offset: at, problem: HeaderProblem::SparseMap });
        let mut numbers = sparse::Numbers::default();
        while !numbers.complete() {
            self.stored = self.stored.checked_sub(BLOCK as u64).ok_or_else(broken)?;
            let mut block = [0; BLOCK];
            if !self.read_block(&mut block)? {
                return Err(TarError::Short("in a sparse file's map").into());
            }
            numbers.feed(&block).map_err(|problem| TarError::Header { offset: at, problem })?;
        }
        Ok(numbers.into_extents())
    }
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    bytes
}
