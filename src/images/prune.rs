//! What no box needs: found, measured and, where that is wanted, deleted.
//!
//! Owns the rule of what goes. It asks nobody about boxes: who uses what is given. Works under the lock that writing and
//! removing records takes, so nothing is recorded meanwhile; a pull whose blobs go notices and fetches them again.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::blobs::remove_if_there;
use super::refs::Record;
use super::store::{ImageStore, Inner};
use crate::errors::{BoxliteError, BoxliteResult};
use crate::executor::blocking;
use crate::model::digest::Digest;

/// What a box needs of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageUser {
    /// How a person would name the box.
    pub(crate) name: String,
    /// The reference it was made with; `None` for a directory.
    pub(crate) reference: Option<String>,
    /// What its disk is an overlay over, once it was started.
    pub(crate) disk: Option<Digest>,
}

/// What kind of thing a prune deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrunedKind {
    /// An image: its record, and the blobs and the disk that only it needs.
    Image,
    /// The disk of a directory, or of an image that is gone.
    Disk,
    /// A blob of no image, or a part of one.
    Blob,
}

/// One thing that a prune deletes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrunedItem {
    /// Its kind.
    pub kind: PrunedKind,
    /// An image's reference, else a file's name.
    pub name: String,
    /// Bytes on disk that it takes, without what others need.
    pub bytes: u64,
}

/// What a prune deletes and the files that go with it.
struct Doomed {
    item: PrunedItem,
    /// The record to be deleted first.
    record: Option<String>,
    files: Vec<PathBuf>,
}

impl ImageStore {
    /// Deletes what none of `users` needs, or only says what that would be. Goes on to its end once it has begun.
    pub(crate) async fn prune(
        &self,
        users: impl FnOnce() -> BoxliteResult<Vec<ImageUser>> + Send + 'static,
        dry_run: bool,
    ) -> BoxliteResult<Vec<PrunedItem>> {
        let guard = self.0.lock_records("pruning images").await?;
        let inner = Arc::clone(&self.0);
        blocking(move || {
            let _held = guard;
            let doomed = inner.doomed(&users()?)?;
            if !dry_run {
                for one in &doomed {
                    inner.delete(one)?;
                }
            }
            Ok(doomed.into_iter().map(|one| one.item).collect())
        })
        .await
    }
}

impl Inner {
    fn doomed(&self, users: &[ImageUser]) -> BoxliteResult<Vec<Doomed>> {
        let mut disks: HashSet<Digest> = users.iter().filter_map(|user| user.disk).collect();
        // A box that was not started yet has no disk, but is about to want its image's.
        let new = users.iter().filter(|user| user.disk.is_none());
        for reference in new.filter_map(|user| user.reference.as_deref()) {
            if let Some((record, _)) = self.find(reference, &self.registries)? {
                disks.insert(record.manifest);
            }
        }
        let directories_wanted = users.iter().any(|user| user.reference.is_none() && user.disk.is_none());
        let (kept, going): (Vec<Record>, Vec<Record>) =
            self.refs.list()?.into_iter().partition(|record| disks.contains(&record.manifest));
        // What is spoken for, and then what has been counted.
        let mut taken: HashSet<PathBuf> = kept
            .iter()
            .flat_map(|record| self.blobs_of(record))
            .map(|digest| self.blobs.path(&digest))
            .chain(disks.iter().map(|digest| super::disks::disk_path(&self.disks_dir(), digest)))
            .chain(disks.iter().map(|digest| super::disks::directory_disk_path(&self.disks_dir(), digest)))
            .collect();
        let mut doomed = Vec::new();
        for record in going {
            let mut files: Vec<PathBuf> =
                self.blobs_of(&record).iter().map(|digest| self.blobs.path(digest)).collect();
            files.push(super::disks::disk_path(&self.disks_dir(), &record.manifest));
            files.retain(|file| taken.insert(file.clone()));
            let bytes = files.iter().map(|file| bytes_on_disk(file)).sum();
            let item = PrunedItem { kind: PrunedKind::Image, name: record.reference.clone(), bytes };
            doomed.push(Doomed { item, record: Some(record.reference), files });
        }
        for file in files_in(&self.disks_dir())? {
            let of_directory = file_name(&file).starts_with(super::disks::DIRECTORY_DISK);
            if taken.insert(file.clone()) && !(of_directory && directories_wanted) {
                doomed.push(Doomed::file(PrunedKind::Disk, file));
            }
        }
        for file in files_in(self.blobs.dir())? {
            if taken.insert(file.clone()) {
                doomed.push(Doomed::file(PrunedKind::Blob, file));
            }
        }
        let partial = |file: &PathBuf| file_name(file).ends_with(".partial");
        for file in files_in(&self.tmp_dir())?.into_iter().filter(partial) {
            if self.locks.try_acquire(lock_of(&file), "pruning images")?.is_some() {
                doomed.push(Doomed::file(PrunedKind::Blob, file));
            }
        }
        Ok(doomed)
    }

    fn delete(&self, doomed: &Doomed) -> BoxliteResult<()> {
        if let Some(reference) = &doomed.record {
            self.refs.remove(reference)?;
        }
        for file in &doomed.files {
            let _writer = if file_name(file).ends_with(".partial") {
                match self.locks.try_acquire(lock_of(file), "pruning images")? {
                    Some(held) => Some(held),
                    // Somebody has come back for it.
                    None => continue,
                }
            } else {
                None
            };
            remove_if_there(file)?;
        }
        Ok(())
    }
}

impl Doomed {
    fn file(kind: PrunedKind, file: PathBuf) -> Self {
        let item = PrunedItem { kind, name: file_name(&file).to_owned(), bytes: bytes_on_disk(&file) };
        Self { item, record: None, files: vec![file] }
    }
}

/// The lock under which a temporary file is written.
fn lock_of(file: &Path) -> &str {
    let name = file_name(file);
    name.split('.').next().unwrap_or(name)
}

fn file_name(file: &Path) -> &str {
    file.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// Disks are sparse: what counts is what they take.
fn bytes_on_disk(file: &Path) -> u64 {
    std::fs::symlink_metadata(file).map_or(0, |metadata| metadata.blocks() * 512)
}

fn files_in(dir: &Path) -> BoxliteResult<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).map_err(|error| BoxliteError::io("read", dir, &error))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    Ok(files)
}
