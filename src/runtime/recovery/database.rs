//! Opens a home's database, one process at a time, and tells a new home from one whose database is lost.

use std::fs;
use std::path::Path;

use crate::db::{Database, beside};
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::layout::Layout;
use crate::lock::{LockGuard, Locks};
use crate::model::id::BoxID;

/// Held while a home's database is opened or repaired.
const HOME_LOCK: &str = "home";

/// The home for this process alone, as far as opening and repairing go.
pub(in crate::runtime) fn lock(locks: &Locks, operation: &str) -> BoxliteResult<LockGuard> {
    locks.acquire_blocking(HOME_LOCK, operation)
}

/// Opens the database of the home, making it in a new one. A repair that is under way is waited for.
pub(in crate::runtime) fn open(layout: &Layout, locks: &Locks) -> BoxliteResult<Database> {
    let _lock = lock(locks, "open the home")?;
    open_locked(layout)
}

/// As [`open`], by who has the lock.
pub(in crate::runtime) fn open_locked(layout: &Layout) -> BoxliteResult<Database> {
    refuse_lost(layout)?;
    Database::open(&layout.database())
}

/// A home without a database is new, unless something is left that only a database can have led to: then an empty one
/// in its place would make orphans of all boxes, whose disks would be deleted.
fn refuse_lost(layout: &Layout) -> BoxliteResult<()> {
    let path = layout.database();
    let length = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    if length(&path) > 0 {
        return Ok(());
    }
    let has_disk = |id: &BoxID| layout.of_box(id).box_disk().exists();
    let boxes = box_directories(layout).into_iter().filter(has_disk).count();
    let left = if boxes > 0 {
        format!("{} holds the disks of {boxes} boxes", layout.boxes().display())
    } else if length(&beside(&path, "-wal")) > 0 {
        "its log is still there".to_owned()
    } else {
        return Ok(());
    };
    let what = if path.exists() { "is empty" } else { "is missing" };
    Err(BoxliteError::Database(
        Detail::new(format!("{} {what}, but {left}", path.display())).subject(path.display().to_string()).hint(
            "put the file back, or repair the home (boxlite_runtime_repair, RuntimeBuilder::repair): the boxes' disks are \
             not affected",
        ),
    ))
}

/// The ids that have a directory in the home.
pub(in crate::runtime) fn box_directories(layout: &Layout) -> Vec<BoxID> {
    ids_in(&layout.boxes())
}

/// The ids that name directories in `place`.
pub(super) fn ids_in(place: &Path) -> Vec<BoxID> {
    let Ok(entries) = fs::read_dir(place) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().to_str().and_then(BoxID::parse))
        .collect()
}
