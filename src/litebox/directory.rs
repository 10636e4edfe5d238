//! A box's directory before a start: its logs, its record, its disk, and nothing in the places that the shim fills.
//!
//! Makes what is missing when the box never ran. What a box that ran has lost, or has damaged, is an error that names
//! it: never made anew, as it held the user's data.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::disk::{ext4, qcow2};
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::layout::{self, BoxLayout};
use crate::litebox::record::BoxRecord;
use crate::util::pid_file;

/// What a disk is to be where there is none yet.
pub(super) enum NewDisk<'a> {
    /// An overlay of the empty file system of this size that lies in `bases`.
    Empty { size_gb: u64, bases: &'a Path },
    /// What a template's machine has of it.
    CopyOf(&'a Path),
}

impl<'a> NewDisk<'a> {
    /// A copy of the template's disk, where its machine knows one; else an empty one.
    pub(super) fn of(template: Option<&'a Path>, size_gb: u64, bases: &'a Path) -> Self {
        template.map_or(Self::Empty { size_gb, bases }, Self::CopyOf)
    }
}

/// Prepares the directory for a start. `new_disk` is given for a box that never ran; tells whether its disk was made now.
/// Blocking.
pub(super) fn prepare(
    paths: &BoxLayout,
    record: &BoxRecord,
    new_disk: Option<NewDisk<'_>>,
) -> BoxliteResult<bool> {
    let disk = paths.box_disk();
    let made = match new_disk {
        _ if disk.exists() => {
            qcow2::check_overlay(&disk)?;
            false
        }
        Some(new) => {
            make_dir(paths.dir())?;
            make_disk(&disk, &new)?;
            true
        }
        None => {
            return Err(BoxliteError::Storage(
                Detail::new(format!("the box's disk {} is missing", disk.display()))
                    .subject(disk.display().to_string())
                    .hint("put the file back, or remove the box and create it again"),
            ));
        }
    };
    let prepared =
        make_dir(&paths.logs()).and_then(|()| clear_places(paths)).and_then(|()| record.write(paths));
    if made && prepared.is_err() {
        forget_disk(paths);
    }
    prepared.map(|()| made)
}

/// Makes the directory of a box that nobody has asked for yet. Blocking.
pub(super) fn prepare_spare(paths: &BoxLayout, new: &NewDisk<'_>) -> BoxliteResult<()> {
    make_dir(paths.dir())?;
    make_disk(&paths.box_disk(), new)?;
    make_dir(&paths.logs())
}

/// Undoes the making of a disk that nothing was written to.
pub(super) fn forget_disk(paths: &BoxLayout) {
    for path in [paths.box_disk(), paths.record()] {
        // What can't be deleted is taken for the box's at its next start: it is one.
        let _ = fs::remove_file(path);
    }
}

fn make_dir(path: &Path) -> BoxliteResult<()> {
    layout::make_dir(path).map_err(|error| BoxliteError::io("create", path, &error))
}

/// Frees the names that the shim gives to files of its own.
fn clear_places(paths: &BoxLayout) -> BoxliteResult<()> {
    for path in paths.run_files().into_iter().chain([paths.exit_previous()]) {
        // Files are replaced; a directory can't be.
        if path.is_dir() {
            pid_file::clear(&path).map_err(|error| BoxliteError::io("delete", &path, &error))?;
        }
    }
    // The last run's end is history now; there needn't have been one.
    let _ = fs::rename(paths.exit(), paths.exit_previous());
    Ok(())
}

/// Makes a disk, as a whole or not at all. Blocking.
pub(super) fn make_disk(disk: &Path, new: &NewDisk<'_>) -> BoxliteResult<()> {
    // Under another name until it is whole: half a disk would be taken for the box's.
    let draft = layout::draft_of(disk);
    // One may have been left by a process that was killed here.
    let _ = fs::remove_file(&draft);
    let made = draw_disk(&draft, new)
        .and_then(|()| fs::rename(&draft, disk).map_err(|error| BoxliteError::io("rename to", disk, &error)));
    if made.is_err() {
        let _ = fs::remove_file(&draft);
    }
    made
}

fn draw_disk(draft: &Path, new: &NewDisk<'_>) -> BoxliteResult<()> {
    match new {
        NewDisk::Empty { size_gb, bases } => {
            ext4::ensure_base(bases, *size_gb)?;
            let base = format!("../../bases/{}", ext4::base_name(*size_gb));
            qcow2::create_overlay(draft, &base, size_gb << 30)
        }
        NewDisk::CopyOf(disk) => fs::copy(disk, draft)
            // The template's own is not for writing.
            .and_then(|_| fs::set_permissions(draft, fs::Permissions::from_mode(0o600)))
            .map_err(|error| BoxliteError::io("copy", disk, &error)),
    }
}
