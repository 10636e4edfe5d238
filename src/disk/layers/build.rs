//! Builds a disk from layers: the one pass over the archives, and what follows it.
//!
//! Owns the order of the work and the limits; the archive's syntax, the tree's rules and the disk's format are others'.

use std::fs::File;
use std::ops::ControlFlow;
use std::sync::atomic::AtomicU64;

use super::assemble::assemble;
use super::error::{EntryProblem, LayerError};
use super::inodes::{InodeId, Inodes, Skipped};
use super::journal::{Change, DirectoryId, Journal};
use super::path::{self, Marker};
use super::shadow::{Cover, Shadow};
use super::source::{Feed, LayerBytes};
use super::tar::{Entry, Kind, Piece, TarReader};
use super::tree::Tree;
use super::{BuildLimits, BuildReport, Failure, LayerSource, Progress, ProgressFn};
use crate::disk::erofs::{
    Attributes, BLOCK_U64, ErofsError, FileType, Kept, MAX_SYMLINK_TARGET, Nid, Special, Writer, Xattrs,
};

/// Attributes of directories that no entry describes.
pub(super) const IMPLIED: DirectoryId = 0;
/// Bytes between two calls of the progress function.
const PROGRESS_BYTES: u64 = 4 << 20;
/// Entries between two calls of the progress function.
const PROGRESS_ENTRIES: u64 = 1024;

type LayerReader<'f, 'a> = TarReader<LayerBytes<'f, 'a>>;

/// Builds the disk; errors come with the label of the layer they are about.
pub(super) fn build(
    layers: &[LayerSource],
    out: &File,
    limits: &BuildLimits,
    progress: &mut ProgressFn<'_>,
) -> Result<BuildReport, Failure> {
    let read = AtomicU64::new(0);
    let image = || layers.last().map_or_else(|| "image".to_owned(), |layer| layer.label.clone());
    let mut build = Build::new(layers, out, limits, progress);
    let mut journals = std::thread::scope(|scope| {
        let mut feed = Feed::start(scope, layers.iter().rev().collect(), &read).map_err(|e| (e, image()))?;
        let mut journals = Vec::with_capacity(layers.len());
        for (index, layer) in layers.iter().enumerate().rev() {
            let journal = build.read_layer(&mut feed, index, layer);
            journals.push((journal.map_err(|error| (error, layer.label.clone()))?, layer));
        }
        Ok::<_, Failure>(journals)
    })?;
    let mut tree = Tree::new(IMPLIED);
    while let Some((journal, layer)) = journals.pop() {
        tree.next_layer();
        let applied = journal.replay(|record| {
            tree.apply(record, IMPLIED).map_err(|problem| problem.at(record.path))
        });
        applied.and_then(|()| build.tick(true)).map_err(|error| (error, layer.label.clone()))?;
    }
    tree.count_links(&mut build.inodes);
    build.read_missing(layers, &read)?;
    build.finish(&tree).map_err(|error| (error, image()))
}

/// A build's state while layers are read.
struct Build<'w, 'p> {
    writer: Writer<'w>,
    inodes: Inodes,
    directories: Vec<Attributes>,
    shadow: Shadow,
    report: BuildReport,
    limits: BuildLimits,
    progress: &'w mut ProgressFn<'p>,
    bytes_done: u64,
    bytes_total: u64,
    /// What the progress function was last told.
    told: (u64, u64),
}

impl<'w, 'p> Build<'w, 'p> {
    fn new(
        layers: &[LayerSource],
        out: &'w File,
        limits: &BuildLimits,
        progress: &'w mut ProgressFn<'p>,
    ) -> Self {
        let sizes = layers.iter().filter_map(|layer| std::fs::metadata(&layer.path).ok());
        Self {
            writer: Writer::new(out),
            inodes: Inodes::default(),
            directories: vec![Attributes { mode: 0o755, ..Attributes::default() }],
            shadow: Shadow::default(),
            report: BuildReport::default(),
            // Inodes are counted in 32 bits.
            limits: BuildLimits { max_entries: limits.max_entries.min(u64::from(u32::MAX >> 1)), ..*limits },
            progress,
            bytes_done: 0,
            bytes_total: sizes.map(|size| size.len()).sum(),
            told: (0, 0),
        }
    }

    /// Reads one layer: its files go to the disk, all it says into the journal.
    fn read_layer(
        &mut self,
        feed: &mut Feed<'_>,
        index: usize,
        layer: &LayerSource,
    ) -> Result<Journal, LayerError> {
        let mut tar = TarReader::new(feed.next_layer(self.limits.max_layer_bytes));
        let mut journal = Journal::default();
        let mut clean = Vec::new();
        let mut number = 0;
        let first_block = self.writer.blocks();
        while let Some(entry) = tar.next_entry()? {
            self.report.entries += 1;
            if self.report.entries > self.limits.max_entries {
                return Err(LayerError::TooManyEntries { limit: self.limits.max_entries });
            }
            path::clean(&entry.path, &mut clean).map_err(|problem| problem.at(&entry.path))?;
            self.add_entry(&mut tar, entry, &clean, (index, number), &mut journal)?;
            number += 1;
            if (self.writer.blocks() - first_block) * BLOCK_U64 > self.limits.max_layer_bytes {
                return Err(LayerError::TooLarge { limit: self.limits.max_layer_bytes });
            }
            self.bytes_done = tar.source().read();
            self.tick(false)?;
        }
        verify(tar, layer)?;
        self.shadow.next_layer();
        Ok(journal)
    }

    fn add_entry(
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
        self.shadow.cover(
            clean,
            if entry.kind == Kind::Directory { Cover::Directory } else { Cover::Other },
        );
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
                        EntryProblem::Escapes => EntryProblem::LinkEscapes,
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
                journal.push(clean, &[], Change::Directory(self.directories.len() as DirectoryId));
                self.directories.push(attributes);
            }
        }
        Ok(())
    }

    fn write_file(
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
            if since >= PROGRESS_BYTES {
                since = 0;
                self.bytes_done = tar.source().read();
                self.tick(false)?;
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

    /// Reads layers again for files that are needed after all.
    fn read_missing(&mut self, layers: &[LayerSource], read: &AtomicU64) -> Result<(), Failure> {
        let missing = self.inodes.missing();
        let again: Vec<&[Skipped]> = missing.chunk_by(|one, next| one.layer == next.layer).collect();
        if again.is_empty() {
            return Ok(());
        }
        let sources: Vec<&LayerSource> = again.iter().map(|files| &layers[files[0].layer]).collect();
        std::thread::scope(|scope| {
            let mut feed =
                Feed::start(scope, sources.clone(), read).map_err(|e| (e, sources[0].label.clone()))?;
            for (files, layer) in again.iter().zip(&sources) {
                self.read_again(&mut feed, files, layer).map_err(|error| (error, layer.label.clone()))?;
            }
            Ok(())
        })
    }

    fn read_again(
        &mut self,
        feed: &mut Feed<'_>,
        files: &[Skipped],
        layer: &LayerSource,
    ) -> Result<(), LayerError> {
        let mut tar = TarReader::new(feed.next_layer(self.limits.max_layer_bytes));
        let mut number = 0;
        let mut wanted = files.iter().peekable();
        while let Some(entry) = tar.next_entry()? {
            if let Some(file) = wanted.next_if(|file| file.entry == number) {
                let Kind::File { size } = entry.kind else { return Err(LayerError::Changed) };
                let nid = self.write_file(&mut tar, size, &entry)?;
                self.inodes.found(file.inode, nid);
                self.report.files_skipped -= 1;
            }
            number += 1;
        }
        if wanted.peek().is_some() {
            return Err(LayerError::Changed);
        }
        self.report.layers_reread += 1;
        verify(tar, layer)
    }

    fn finish(mut self, tree: &Tree) -> Result<BuildReport, LayerError> {
        self.report.names = assemble(&mut self.writer, tree, &self.directories, &self.inodes)?;
        self.report.image_bytes = self.writer.finish()?;
        Ok(self.report)
    }

    /// Tells how far the work is, now and then.
    fn tick(&mut self, now: bool) -> Result<(), LayerError> {
        let (bytes, entries) = self.told;
        let due =
            self.bytes_done - bytes >= PROGRESS_BYTES || self.report.entries - entries >= PROGRESS_ENTRIES;
        if !due && !now {
            return Ok(());
        }
        self.told = (self.bytes_done, self.report.entries);
        let progress = Progress {
            bytes_done: self.bytes_done.min(self.bytes_total),
            bytes_total: self.bytes_total,
            entries: self.report.entries,
        };
        match (self.progress)(progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(LayerError::Cancelled),
        }
    }
}

/// Reads the layer to its end and compares its digest. Only a diff id can vouch for an archive without an end mark.
fn verify(tar: LayerReader<'_, '_>, layer: &LayerSource) -> Result<(), LayerError> {
    let (bytes, end_marked) = tar.finish()?;
    let found = bytes.digest();
    match layer.diff_id {
        Some(expected) if expected != found => {
            Err(LayerError::DiffId { expected: hex(&expected), found: hex(&found) })
        }
        None if !end_marked => Err(LayerError::ShortArchive("the blocks that mark its end are missing")),
        _ => Ok(()),
    }
}

fn hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
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
