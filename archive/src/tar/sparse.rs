//! Sparse files: which stretches of a file are stored, in the forms GNU tar has written over time.
//!
//! Owns the maps' syntax and their validation; reads no blocks itself.

use super::header::{BLOCK, HeaderProblem, number};
use super::pax::decimal;

/// Maps above this length are refused: they are held in memory.
const MAX_EXTENTS: usize = 1_000_000;

/// A stored stretch of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// What comes next in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stretch {
    Hole(u64),
    Data(u64),
}

/// A file's stretches and how far it has been read.
#[derive(Debug, Default)]
pub(super) struct SparseMap {
    extents: Vec<Extent>,
    index: usize,
    position: u64,
    size: u64,
}

impl SparseMap {
    /// A file without holes.
    pub(super) fn plain(size: u64) -> Self {
        Self { extents: vec![Extent { offset: 0, length: size }], index: 0, position: 0, size }
    }

    /// A file of `size` bytes of which `stored` are in the archive: extents in order, inside it, and all of them.
    pub(super) fn new(extents: Vec<Extent>, size: u64, stored: u64) -> Result<Self, HeaderProblem> {
        let mut end = 0;
        let mut sum = 0;
        for extent in &extents {
            if extent.offset < end {
                return Err(HeaderProblem::SparseMap);
            }
            end = extent.offset.checked_add(extent.length).ok_or(HeaderProblem::SparseMap)?;
            sum += extent.length;
        }
        if end > size || sum != stored {
            return Err(HeaderProblem::SparseMap);
        }
        Ok(Self { extents, index: 0, position: 0, size })
    }

    /// What comes next; None at the end.
    pub(super) fn next(&mut self) -> Option<Stretch> {
        while let Some(extent) = self.extents.get(self.index) {
            let end = extent.offset + extent.length;
            if self.position < end {
                return Some(match extent.offset.checked_sub(self.position) {
                    None | Some(0) => Stretch::Data(end - self.position),
                    Some(hole) => Stretch::Hole(hole),
                });
            }
            self.index += 1;
        }
        (self.position < self.size).then(|| Stretch::Hole(self.size - self.position))
    }

    /// Goes on by `count` bytes, at most those of the stretch that comes next.
    pub(super) fn advance(&mut self, count: u64) {
        self.position += count;
    }
}

/// The file's size and whether more of the map follows, from an old GNU header.
pub(super) fn gnu_header(block: &[u8; BLOCK]) -> Result<(u64, bool), HeaderProblem> {
    let size = number(&block[483..495]).and_then(|size| u64::try_from(size).ok());
    Ok((size.ok_or(HeaderProblem::Number("realsize"))?, block[482] != 0))
}

/// Extents of an old GNU header or one of the blocks behind it: 12 bytes of offset, 12 of length each.
pub(super) fn gnu_extents(bytes: &[u8], extents: &mut Vec<Extent>) -> Result<(), HeaderProblem> {
    let value = |field| number(field).and_then(|value| u64::try_from(value).ok());
    for pair in bytes.chunks_exact(24) {
        if pair[0] == 0 || pair[12] == 0 {
            return Ok(());
        }
        let (Some(offset), Some(length)) = (value(&pair[..12]), value(&pair[12..])) else {
            return Err(HeaderProblem::SparseMap);
        };
        push(extents, Extent { offset, length })?;
    }
    Ok(())
}

fn push(extents: &mut Vec<Extent>, extent: Extent) -> Result<(), HeaderProblem> {
    if extents.len() == MAX_EXTENTS {
        return Err(HeaderProblem::SparseMapTooLong);
    }
    extents.push(extent);
    Ok(())
}

/// The map of PAX format 1.0 while it is read.
#[derive(Default)]
pub(super) struct Numbers {
    line: Vec<u8>,
    count: Option<usize>,
    offset: Option<u64>,
    extents: Vec<Extent>,
}

impl Numbers {
    pub(super) fn complete(&self) -> bool {
        self.count == Some(self.extents.len())
    }

    pub(super) fn into_extents(self) -> Vec<Extent> {
        self.extents
    }

    /// Takes in a block; what follows the last number is padding.
    pub(super) fn feed(&mut self, block: &[u8; BLOCK]) -> Result<(), HeaderProblem> {
        for byte in block {
            if self.complete() {
                break;
            }
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            let number = decimal(&self.line).ok_or(HeaderProblem::SparseMap)?;
            self.line.clear();
            match (self.count, self.offset.take()) {
                (None, _) => self.count = Some(usize::try_from(number).unwrap_or(usize::MAX)),
                (Some(_), None) => self.offset = Some(number),
                (Some(_), Some(offset)) => push(&mut self.extents, Extent { offset, length: number })?,
            }
        }
        // A number has at most 20 digits.
        if self.line.len() > 20 { Err(HeaderProblem::SparseMap) } else { Ok(()) }
    }
}
