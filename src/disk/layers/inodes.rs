//! The inodes of an image that are no directories: where each lies and how many names lead to it.
//!
//! Owns the table that journals and the tree refer to; never writes to the disk.

use crate::disk::erofs::{FileType, Nid};

/// Index of an inode in [`Inodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct InodeId(u32);

impl InodeId {
    #[cfg(test)]
    pub(super) fn new(index: u32) -> Self {
        Self(index)
    }
}

/// One inode.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inode {
    /// None while its data has not been written.
    pub(super) nid: Option<Nid>,
    pub(super) file_type: FileType,
    /// Names that lead to it in the finished tree.
    pub(super) links: u32,
}

/// A file that was passed over because upper layers seemed to hide it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Skipped {
    /// Index of the layer.
    pub(super) layer: usize,
    /// Which entry of the layer it is, from 0.
    pub(super) entry: u64,
    pub(super) inode: InodeId,
}

#[derive(Default)]
pub(super) struct Inodes {
    table: Vec<Inode>,
    skipped: Vec<Skipped>,
}

impl Inodes {
    /// Adds an inode that lies on the disk.
    pub(super) fn written(&mut self, nid: Nid, file_type: FileType) -> InodeId {
        self.add(Inode { nid: Some(nid), file_type, links: 0 })
    }

    /// Adds a regular file whose data was not written.
    pub(super) fn skipped(&mut self, layer: usize, entry: u64) -> InodeId {
        let inode = self.add(Inode { nid: None, file_type: FileType::Regular, links: 0 });
        self.skipped.push(Skipped { layer, entry, inode });
        inode
    }

    fn add(&mut self, inode: Inode) -> InodeId {
        let id = InodeId(self.table.len() as u32);
        self.table.push(inode);
        id
    }

    pub(super) fn get(&self, id: InodeId) -> Inode {
        self.table[id.0 as usize]
    }

    /// Counts one more name for an inode.
    pub(super) fn link(&mut self, id: InodeId) {
        self.table[id.0 as usize].links += 1;
    }

    /// Records that a skipped file is on the disk after all.
    pub(super) fn found(&mut self, id: InodeId, nid: Nid) {
        self.table[id.0 as usize].nid = Some(nid);
    }

    /// Skipped files that have a name in the finished tree, by layer and entry.
    pub(super) fn missing(&self) -> Vec<Skipped> {
        let mut missing: Vec<Skipped> =
            self.skipped.iter().copied().filter(|skipped| self.get(skipped.inode).links > 0).collect();
        missing.sort_unstable();
        missing
    }

    /// Inodes on the disk with another number of names than the one they were placed with.
    pub(super) fn linked_again(&self) -> impl Iterator<Item = (Nid, u32)> {
        self.table
            .iter()
            .filter(|inode| inode.links > 1)
            .filter_map(|inode| inode.nid.map(|nid| (nid, inode.links)))
    }
}
