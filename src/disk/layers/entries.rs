//! One entry of a layer: its data to the disk, what it does to the tree into the journal.
//!
//! Owns what each kind of entry means; whether it is allowed where it stands is the tree's business.

use super::build::{Build, LayerReader};
use super::error::{EntryProblem, LayerError};
use super::inodes::InodeId;
use super::journal::{Change, DirectoryId, Journal};
use super::path::{self, Marker};
use super::progress::TICK_BYTES;
use super::shadow::Cover;
use crate::disk::erofs::{Attributes, ErofsError, FileType, Kept, MAX_SYMLINK_TARGET, Nid, Special, Xattrs};
use boxlite_archive::tar::{Entry, Kind, Piece};

impl Build<'_, '_> {
    /// Adds one entry at a clean path: its data to the disk, what it does to the tree to the journal.
    pub(super) fn add_entry(
        &mut self,
        tar: &mut LayerReader<'_, '_>,
        entry: Entry,
        clean: &[u8],
        (layer, number): (usize, u64),
        journal: &mut Journal,
    ) -> Result<(), LayerError> {
        let at = |problem: EntryProblem| problem.at(&entry.path);
        let (parent, name) = path::split(clean);
        match path::marker(name).map_err(at)? {
            Marker::Plain => {}
            Marker::Ignored => return Ok(()),
            Marker::Opaque => {
                self.shadow.cover(parent, Cover::Opaque);
                journal.push(parent, &[], Change::Opaque);
                return Ok(());
            }
            Marker::Whiteout(hidden) => {
                let mut path = parent.to_vec();
                if !parent.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(hidden);
                self.shadow.cover(&path, Cover::Whiteout);
                journal.push(&path, &[], Change::Whiteout);
                return Ok(());
            }
        }
        let hidden = self.shadow.hides(clean);
        self.shadow.cover(clean, if entry.kind == Kind::Directory { Cover::Directory } else { Cover::Other });
        match &entry.kind {
            Kind::File { .. } if hidden => {
                self.report.files_skipped += 1;
                journal.push(clean, &[], Change::Leaf(self.inodes.skipped(layer, number)));
            }
            Kind::File { size } => {
                let nid = self.write_file(tar, *size, &entry)?;
                journal.push(clean, &[], Change::Leaf(self.inodes.written(nid, FileType::Regular)));
            }
            Kind::HardLink { target } => {
                let mut path = Vec::new();
                path::clean(target, &mut path).map_err(|problem| {
                    at(match problem {
                        EntryProblem::Escapes => EntryProblem::LinkEscapes(target.clone()),
                        EntryProblem::Absolute => EntryProblem::LinkAbsolute(target.clone()),
                        _ => EntryProblem::LinkPath,
                    })
                })?;
                self.shadow.want(&path);
                journal.push(clean, &path, Change::HardLink);
            }
            Kind::Symlink { target } => {
                if target.is_empty() || target.len() > MAX_SYMLINK_TARGET || target.contains(&0) {
                    return Err(at(EntryProblem::SymlinkTarget));
                }
                let attributes = self.attributes(&entry)?;
                let nid = self.writer.symlink(&attributes, target)?;
                let inode = self.inodes.written(nid, FileType::Symlink);
                journal.push(clean, target, Change::Symlink(inode));
            }
            Kind::CharDevice(number) => {
                // 0:0 too, which overlayfs takes for a whiteout: see `build_image_disk`.
                let inode = self.write_special(Special::CharDevice(*number), &entry)?;
                journal.push(clean, &[], Change::Leaf(inode));
            }
            Kind::BlockDevice(number) => {
                let inode = self.write_special(Special::BlockDevice(*number), &entry)?;
                journal.push(clean, &[], Change::Leaf(inode));
            }
            Kind::Fifo => {
                let inode = self.write_special(Special::Fifo, &entry)?;
                journal.push(clean, &[], Change::Leaf(inode));
            }
            Kind::Directory => {
                let attributes = self.attributes(&entry)?;
                self.kept_bytes += attributes.xattrs.len() as u64;
                journal.push(clean, &[], Change::Directory(self.directories.len() as DirectoryId));
                self.directories.push(attributes);
            }
        }
        Ok(())
    }

    /// Writes a file's data and inode.
    pub(super) fn write_file(
        &mut self,
        tar: &mut LayerReader<'_, '_>,
        size: u64,
        entry: &Entry,
    ) -> Result<Nid, LayerError> {
        let attributes = self.attributes(entry)?;
        let mut file = self.writer.open_file(size).map_err(|error| of_entry(error, entry))?;
        let mut since = 0;
        while let Some(piece) = tar.next_piece()? {
            match piece {
                Piece::Data(data) => {
                    since += data.len() as u64;
                    self.writer.write(&mut file, data)?;
                }
                Piece::Hole(count) => self.writer.write_hole(&mut file, count)?,
            }
            if since >= TICK_BYTES {
                since = 0;
                // Told whether or not the compressed input has moved on: a zero bomb hardly moves it.
                self.meter.note(tar.source().read(), self.report.entries);
                self.meter.tell()?;
            }
        }
        self.report.files_written += 1;
        Ok(self.writer.close_file(file, &attributes)?)
    }

    fn write_special(&mut self, special: Special, entry: &Entry) -> Result<InodeId, LayerError> {
        let attributes = self.attributes(entry)?;
        let nid = self.writer.special(&attributes, special).map_err(|error| of_entry(error, entry))?;
        Ok(self.inodes.written(nid, special.file_type()))
    }

    fn attributes(&mut self, entry: &Entry) -> Result<Attributes, LayerError> {
        let mut xattrs = Xattrs::default();
        for (name, value) in &entry.xattrs {
            let kept = if steers_overlay(name) {
                Kept::No
            } else {
                xattrs.add(name, value).map_err(|error| of_entry(error, entry))?
            };
            self.report.xattrs_dropped += u64::from(kept == Kept::No);
        }
        Ok(Attributes { mode: entry.mode, uid: entry.uid, gid: entry.gid, mtime: entry.mtime, xattrs })
    }
}

/// Attributes by which overlayfs marks its own files: a box's overlay would take them for its own.
pub(super) fn steers_overlay(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.")
}

/// Disk errors that are the entry's own fault name it.
fn of_entry(error: ErofsError, entry: &Entry) -> LayerError {
    match error {
        ErofsError::FileTooLarge | ErofsError::XattrsTooLarge | ErofsError::DeviceNumber => {
            EntryProblem::Attributes(error).at(&entry.path)
        }
        ErofsError::Io(_) | ErofsError::TooManyBlocks => LayerError::Disk(error),
    }
}
