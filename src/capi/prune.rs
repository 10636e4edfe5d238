//! What no box needs, deleted or only named.
//!
//! Owns a copy of the report.

use std::ffi::{CString, c_char};

use super::argument::{Out, c_string, field, free, live, optional_live, pointer};
use super::call::boxlite_call;
use super::error::{boxlite_code, boxlite_error};
use super::guard::{enter, value};
use super::runtime::boxlite_runtime;
use super::wait::{CutOff, Waiter};
use crate::errors::BoxliteResult;
use crate::images::{PrunedItem, PrunedKind};

/// An image, named by its reference: with the blobs and the disk that only it needs.
///
/// @ingroup prune
pub const BOXLITE_PRUNE_IMAGE: i32 = 0;
/// The disk made of a directory, or of an image that is gone; named by its file.
///
/// @ingroup prune
pub const BOXLITE_PRUNE_DISK: i32 = 1;
/// A blob that belongs to no image, or a part of one that was never fetched whole; named by its file.
///
/// @ingroup prune
pub const BOXLITE_PRUNE_BLOB: i32 = 2;

/// What a prune deleted, or would delete. Read-only, so any number of threads may read it.
///
/// @ingroup prune
pub struct boxlite_prune {
    items: Vec<Item>,
    total_bytes: u64,
}

struct Item {
    kind: i32,
    name: CString,
    bytes: u64,
}

impl boxlite_prune {
    fn new(items: Vec<PrunedItem>) -> Self {
        Self {
            total_bytes: items.iter().map(|item| item.bytes).sum(),
            items: items
                .into_iter()
                .map(|item| Item {
                    kind: match item.kind {
                        PrunedKind::Image => BOXLITE_PRUNE_IMAGE,
                        PrunedKind::Disk => BOXLITE_PRUNE_DISK,
                        PrunedKind::Blob => BOXLITE_PRUNE_BLOB,
                    },
                    name: c_string(item.name),
                    bytes: item.bytes,
                })
                .collect(),
        }
    }
}

/// Deletes what no box of the runtime's home needs: images, disks made of images and directories, and what interrupted
/// pulls left. A box needs its image from its creation on, running or not. With `dry_run` not 0 nothing is deleted, and
/// the report says what would be. Homes that share one store are not asked: their boxes pull their images again, and a
/// start that is under way there fails.
///
/// On success *prune is a new report, which the caller frees with boxlite_prune_free(); on failure NULL. Blocks; when
/// `call`, which may be NULL, cuts it off, the call returns BOXLITE_TIMEOUT or BOXLITE_CANCELLED and the deletion goes
/// on. Any thread. Errors besides: BOXLITE_INVALID_ARGUMENT when `runtime` or `prune` is NULL; BOXLITE_STORAGE;
/// BOXLITE_DATABASE; BOXLITE_METADATA_ERROR when a box's record cannot be read, so that its needs are not known;
/// BOXLITE_BUSY; BOXLITE_STOPPED after boxlite_runtime_shutdown(); BOXLITE_FORKED.
///
/// @ingroup prune
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_runtime_prune(
    runtime: *mut boxlite_runtime,
    dry_run: i32,
    call: *mut boxlite_call,
    prune: *mut *mut boxlite_prune,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a writable pointer.
        let out = unsafe { Out::new(prune, "prune") }?;
        // SAFETY: the caller passes NULL or a live runtime.
        let runtime = unsafe { live(runtime, "runtime") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        let images = runtime.images()?;
        let pruned: BoxliteResult<Vec<PrunedItem>> =
            Waiter::new("boxlite_runtime_prune", call, CutOff::Leave)
                .wait(&runtime.handle(), |_| async move { images.prune(dry_run != 0).await })?;
        out.fill(boxlite_prune::new(pruned?));
        Ok(())
    })
}

/// How many things the report tells of; 0 when `prune` is NULL. Any thread; does not block.
///
/// @ingroup prune
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_prune_len(prune: *const boxlite_prune) -> usize {
    // SAFETY: the caller passes NULL or a live report.
    unsafe { field(prune, 0, |prune| prune.items.len()) }
}

/// What kind of thing `index` is, one of BOXLITE_PRUNE_...; -1 when `index` is out of range or `prune` is NULL. Any
/// thread; does not block.
///
/// @ingroup prune
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_prune_kind(prune: *const boxlite_prune, index: usize) -> i32 {
    // SAFETY: the caller passes NULL or a live report.
    unsafe { field(prune, -1, |prune| prune.items.get(index).map_or(-1, |item| item.kind)) }
}

/// What thing `index` is called: see BOXLITE_PRUNE_... Valid until the report is freed; NULL when `index` is out of
/// range or `prune` is NULL. Any thread; does not block.
///
/// @ingroup prune
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_prune_name(prune: *const boxlite_prune, index: usize) -> *const c_char {
    // SAFETY: the caller passes NULL or a live report.
    unsafe { field(prune, std::ptr::null(), |prune| pointer(prune.items.get(index).map(|item| &item.name))) }
}

/// How many bytes on disk thing `index` takes or took; 0 when `index` is out of range or `prune` is NULL. Any thread;
/// does not block.
///
/// @ingroup prune
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_prune_bytes(prune: *const boxlite_prune, index: usize) -> u64 {
    // SAFETY: the caller passes NULL or a live report.
    unsafe { field(prune, 0, |prune| prune.items.get(index).map_or(0, |item| item.bytes)) }
}

/// How many bytes on disk all of them take or took; 0 when `prune` is NULL. Any thread; does not block.
///
/// @ingroup prune
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_prune_total_bytes(prune: *const boxlite_prune) -> u64 {
    // SAFETY: the caller passes NULL or a live report.
    unsafe { field(prune, 0, |prune| prune.total_bytes) }
}

/// Frees a report. Does nothing when `prune` is NULL. Any thread; does not block.
///
/// @ingroup prune
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_prune_free(prune: *mut boxlite_prune) {
    // SAFETY: the caller passes NULL or a report it has not freed yet.
    value((), || unsafe { free(prune) });
}
