//! Builds a disk from layers: the one pass over the archives, and what follows it.
//!
//! Owns the order of the work and the limits; the archive's syntax, the tree's rules and the disk's format are others'.

use std::fs::File;
use std::sync::atomic::AtomicU64;

use boxlite_archive::TarError;
use boxlite_archive::tar::{Kind, TarReader};

use super::assemble::assemble;
use super::error::LayerError;
use super::inodes::{Inodes, Skipped};
use super::journal::{DirectoryId, Journal};
use super::path;
use super::progress::{Meter, TICK_ENTRIES};
use super::shadow::Shadow;
use super::source::{Feed, LayerBytes};
use super::tree::Tree;
use super::{BuildLimits, BuildReport, Failure, LayerSource, ProgressFn};
use crate::disk::erofs::{Attributes, BLOCK_U64, Writer};

/// Attributes of directories that no entry describes.
pub(super) const IMPLIED: DirectoryId = 0;

/// A layer's archive while it is read.
pub(super) type LayerReader<'f, 'a> = TarReader<LayerBytes<'f, 'a>>;

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
    let mut tree = Tree::new(IMPLIED, build.limits.max_names());
    while let Some((journal, layer)) = journals.pop() {
        build.apply(&mut tree, &journal).map_err(|error| (error, layer.label.clone()))?;
    }
    tree.count_links(&mut build.inodes);
    build.read_missing(layers, &read)?;
    build.finish(&tree).map_err(|error| (error, image()))
}

/// A build's state while layers are read.
pub(super) struct Build<'w, 'p> {
    pub(super) writer: Writer<'w>,
    pub(super) inodes: Inodes,
    pub(super) directories: Vec<Attributes>,
    pub(super) shadow: Shadow,
    pub(super) report: BuildReport,
    /// Bytes of memory that finished journals and directories' attributes take.
    pub(super) kept_bytes: u64,
    limits: BuildLimits,
    pub(super) meter: Meter<'w, 'p>,
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
            kept_bytes: 0,
            // Inodes are counted in 32 bits.
            limits: BuildLimits { max_entries: limits.max_entries.min(u64::from(u32::MAX >> 1)), ..*limits },
            meter: Meter::new(progress, sizes.map(|size| size.len()).sum()),
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
            if self.kept_bytes + journal.bytes() > self.limits.metadata_bytes() {
                return Err(LayerError::TooMuchMetadata { limit: self.limits.metadata_bytes() });
            }
            if (self.writer.blocks() - first_block) * BLOCK_U64 > self.limits.max_layer_bytes {
                return Err(LayerError::TooLarge { limit: self.limits.max_layer_bytes });
            }
            self.meter.tick(tar.source().read(), self.report.entries)?;
        }
        verify(tar, layer)?;
        self.shadow.next_layer();
        self.kept_bytes += journal.bytes();
        Ok(journal)
    }

    /// Makes the tree what it is with one more layer.
    fn apply(&mut self, tree: &mut Tree, journal: &Journal) -> Result<(), LayerError> {
        let mut applied = 0_u64;
        tree.next_layer();
        journal.replay(|record| {
            applied += 1;
            if applied.is_multiple_of(TICK_ENTRIES) {
                self.meter.tell()?;
            }
            tree.apply(record, IMPLIED).map_err(|problem| problem.at(&record.entry()))
        })
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
}

/// Reads the layer to its end and compares its digest. Only a diff id can vouch for an archive without an end mark.
fn verify(tar: LayerReader<'_, '_>, layer: &LayerSource) -> Result<(), LayerError> {
    let (bytes, end_marked) = tar.finish()?;
    let found = bytes.digest();
    match layer.diff_id {
        Some(expected) if expected != found => {
            Err(LayerError::DiffId { expected: hex(&expected), found: hex(&found) })
        }
        None if !end_marked => Err(TarError::Short("the blocks that mark its end are missing").into()),
        _ => Ok(()),
    }
}

fn hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
