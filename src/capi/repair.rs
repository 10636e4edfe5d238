//! The repair of a home, and what came of it, as C sees it.
//!
//! Owns a copy of the report.

use std::ffi::{CString, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;

use super::argument::{Out, c_string, field, free, optional_live, pointer};
use super::call::boxlite_call;
use super::error::{boxlite_code, boxlite_error};
use super::guard::{enter, value};
use super::runtime::builder_from;
use super::runtime_options::boxlite_runtime_options;
use super::wait::on_this_thread;
use crate::runtime::repair::{RepairOutcome, RepairReport};

/// The box's row in the database could be read, and is as it was.
///
/// @ingroup repair
pub const BOXLITE_REPAIR_KEPT: i32 = 0;
/// The box's row was made anew from what its directory remembers.
///
/// @ingroup repair
pub const BOXLITE_REPAIR_REBUILT: i32 = 1;
/// Neither was possible: the box is no more, and its directory, with its disk, is kept aside.
///
/// @ingroup repair
pub const BOXLITE_REPAIR_LOST: i32 = 2;

/// What a repair came to. Read-only, so any number of threads may read it.
///
/// @ingroup repair
pub struct boxlite_repair {
    boxes: Vec<Item>,
    kept: Vec<CString>,
}

struct Item {
    id: CString,
    name: Option<CString>,
    outcome: i32,
    detail: CString,
}

impl boxlite_repair {
    fn new(report: RepairReport) -> Self {
        let boxes = report.boxes.into_iter().map(|item| Item {
            id: c_string(item.id.as_str()),
            name: item.name.map(c_string),
            outcome: match item.outcome {
                RepairOutcome::Kept => BOXLITE_REPAIR_KEPT,
                RepairOutcome::Rebuilt => BOXLITE_REPAIR_REBUILT,
                RepairOutcome::Lost => BOXLITE_REPAIR_LOST,
            },
            detail: c_string(item.detail),
        });
        let kept = report.kept_aside.iter().map(|path| c_string(OsStr::new(path).as_bytes()));
        Self { boxes: boxes.collect(), kept: kept.collect() }
    }
}

/// Repairs a home whose database is damaged, lost, or lacks boxes whose directories are there. `options` name the home,
/// as for boxlite_runtime_new(), which need not work; NULL = all defaults.
///
/// A damaged database is kept aside under another name and never deleted. The new one gets every row that can still be
/// read, and rows made from the boxes' directories for the rest; boxes' disks are not touched, and boxes that run go on:
/// the next runtime finds them. A sound database only gets rows that it lacks. May be called at any time and from any
/// process: runtimes that have the damaged database open return BOXLITE_DATABASE from then on, and are to be opened anew.
///
/// On success *repair is a new report, which the caller frees with boxlite_repair_free(); on failure NULL, and the home
/// is as before. Blocks: for as long as the database is large, and up to 30 s for another process that opens or repairs
/// the home. Any thread; works in a forked child. Errors: BOXLITE_INVALID_ARGUMENT when `repair` is NULL;
/// BOXLITE_CONFIG when a newer version wrote the database; BOXLITE_STORAGE; BOXLITE_RESOURCE_EXHAUSTED; BOXLITE_BUSY.
///
/// @ingroup repair
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_runtime_repair(
    options: *const boxlite_runtime_options,
    repair: *mut *mut boxlite_repair,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    // SAFETY: the caller's duties are the same.
    unsafe { boxlite_runtime_repair_within(options, std::ptr::null_mut(), repair, error) }
}

/// As boxlite_runtime_repair(), and waits for other processes as `call` says; NULL = up to 30 s.
///
/// Blocks. `call` cuts off the wait, not a repair that has begun, which ends by itself. Ownership, threads and errors as
/// boxlite_runtime_repair(); BOXLITE_TIMEOUT and BOXLITE_CANCELLED besides, which name the process waited for;
/// BOXLITE_FORKED when `call` is the parent's.
///
/// @ingroup repair
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_runtime_repair_within(
    options: *const boxlite_runtime_options,
    call: *mut boxlite_call,
    repair: *mut *mut boxlite_repair,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a writable pointer.
        let out = unsafe { Out::new(repair, "repair") }?;
        // SAFETY: the caller passes NULL or live options that no thread changes meanwhile.
        let builder = unsafe { builder_from(options) }?;
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        let report = on_this_thread("boxlite_runtime_repair_within", call, || builder.repair())?;
        out.fill(boxlite_repair::new(report));
        Ok(())
    })
}

/// How many boxes the report tells of; 0 when `repair` is NULL. Any thread; does not block.
///
/// @ingroup repair
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_repair_len(repair: *const boxlite_repair) -> usize {
    // SAFETY: the caller passes NULL or a live report.
    unsafe { field(repair, 0, |repair| repair.boxes.len()) }
}

/// Id of box `index`. Valid until the report is freed; NULL when `index` is out of range or `repair` is NULL. Any
/// thread; does not block.
///
/// @ingroup repair
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_repair_id(repair: *const boxlite_repair, index: usize) -> *const c_char {
    // SAFETY: the caller passes NULL or a live report.
    unsafe { field(repair, std::ptr::null(), |repair| pointer(repair.boxes.get(index).map(|item| &item.id))) }
}

/// Name of box `index`, NULL when it has none. Valid until the report is freed; NULL when `index` is out of range or
/// `repair` is NULL. Any thread; does not block.
///
/// @ingroup repair
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_repair_name(repair: *const boxlite_repair, index: usize) -> *const c_char {
    let name = |repair: &boxlite_repair| pointer(repair.boxes.get(index).and_then(|item| item.name.as_ref()));
    // SAFETY: the caller passes NULL or a live report.
    unsafe { field(repair, std::ptr::null(), name) }
}

/// What became of box `index`, one of BOXLITE_REPAIR_...; BOXLITE_REPAIR_LOST when `index` is out of range or `repair`
/// is NULL. Any thread; does not block.
///
/// @ingroup repair
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_repair_outcome(repair: *const boxlite_repair, index: usize) -> i32 {
    let outcome =
        |repair: &boxlite_repair| repair.boxes.get(index).map_or(BOXLITE_REPAIR_LOST, |item| item.outcome);
    // SAFETY: the caller passes NULL or a live report.
    unsafe { field(repair, BOXLITE_REPAIR_LOST, outcome) }
}

/// What became of box `index` and why, for a person. Valid until the report is freed; NULL when `index` is out of range
/// or `repair` is NULL. Any thread; does not block.
///
/// @ingroup repair
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_repair_detail(repair: *const boxlite_repair, index: usize) -> *const c_char {
    let detail = |repair: &boxlite_repair| pointer(repair.boxes.get(index).map(|item| &item.detail));
    // SAFETY: the caller passes NULL or a live report.
    unsafe { field(repair, std::ptr::null(), detail) }
}

/// How many files and directories were kept aside; 0 when `repair` is NULL, or the database was sound. Any thread; does
/// not block.
///
/// @ingroup repair
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_repair_kept_len(repair: *const boxlite_repair) -> usize {
    // SAFETY: the caller passes NULL or a live report.
    unsafe { field(repair, 0, |repair| repair.kept.len()) }
}

/// Path of file or directory `index` that was kept aside: any bytes but NUL. Nothing reads it any more. Valid until the
/// report is freed; NULL when `index` is out of range or `repair` is NULL. Any thread; does not block.
///
/// @ingroup repair
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_repair_kept_path(
    repair: *const boxlite_repair,
    index: usize,
) -> *const c_char {
    // SAFETY: the caller passes NULL or a live report.
    unsafe { field(repair, std::ptr::null(), |repair| pointer(repair.kept.get(index))) }
}

/// Frees a report. Does nothing when `repair` is NULL. Any thread; does not block.
///
/// @ingroup repair
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_repair_free(repair: *mut boxlite_repair) {
    // SAFETY: the caller passes NULL or a report it has not freed yet.
    value((), || unsafe { free(repair) });
}
