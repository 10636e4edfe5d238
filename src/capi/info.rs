//! What a box is at one moment, as C sees it.
//!
//! Owns a copy: nothing here changes when the box does.

use std::ffi::{CStr, CString, c_char};

use super::argument::{c_string, field, free, pointer};
use super::guard::value;
use crate::model::types::{BoxInfo, BoxStatus};

/// Not known: its record cannot be read.
///
/// @ingroup info
pub const BOXLITE_STATUS_UNKNOWN: i32 = 0;
/// Created, never started.
///
/// @ingroup info
pub const BOXLITE_STATUS_CONFIGURED: i32 = 1;
/// Its virtual machine runs.
///
/// @ingroup info
pub const BOXLITE_STATUS_RUNNING: i32 = 2;
/// Being stopped.
///
/// @ingroup info
pub const BOXLITE_STATUS_STOPPING: i32 = 3;
/// Not running; can be started.
///
/// @ingroup info
pub const BOXLITE_STATUS_STOPPED: i32 = 4;
/// Its vCPUs stand still.
///
/// @ingroup info
pub const BOXLITE_STATUS_PAUSED: i32 = 5;
/// Ended by a fault, which boxlite_info_failure() tells; can be started.
///
/// @ingroup info
pub const BOXLITE_STATUS_FAILED: i32 = 6;

/// A box at one moment. Read-only, so any number of threads may read it.
///
/// @ingroup info
pub struct boxlite_info {
    id: CString,
    name: Option<CString>,
    status: i32,
    created_at_ms: i64,
    updated_at_ms: i64,
    started_at_ms: i64,
    pid: i32,
    image: CString,
    cpus: i32,
    memory_mib: i64,
    disk_size_gb: i64,
    auto_remove: bool,
    detach: bool,
    labels: Vec<(CString, CString)>,
    failure: Option<CString>,
    engine: Option<CString>,
    stages: Vec<(CString, i64)>,
}

impl boxlite_info {
    pub(super) fn new(info: &BoxInfo) -> Self {
        let mut labels: Vec<_> = info
            .labels
            .iter()
            .map(|(key, content)| (c_string(key.as_str()), c_string(content.as_str())))
            .collect();
        labels.sort();
        let optional = |text: &Option<String>| text.as_deref().map(c_string);
        Self {
            id: c_string(info.id.as_str()),
            name: optional(&info.name),
            status: status_number(info.status),
            created_at_ms: info.created_at.timestamp_millis(),
            updated_at_ms: info.last_updated.timestamp_millis(),
            started_at_ms: info.started_at.map_or(-1, |time| time.timestamp_millis()),
            pid: info.pid.and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0),
            image: c_string(info.image.as_str()),
            cpus: i32::from(info.cpus),
            memory_mib: i64::from(info.memory_mib),
            disk_size_gb: i64::try_from(info.disk_size_gb).unwrap_or(i64::MAX),
            auto_remove: info.auto_remove,
            detach: info.detach,
            labels,
            failure: optional(&info.failure),
            engine: optional(&info.engine),
            stages: info
                .start_stages
                .iter()
                .map(|stage| {
                    let took = i64::try_from(stage.took.as_micros()).unwrap_or(i64::MAX);
                    (c_string(stage.name.as_str()), took)
                })
                .collect(),
        }
    }
}

fn status_number(status: BoxStatus) -> i32 {
    match status {
        BoxStatus::Unknown => BOXLITE_STATUS_UNKNOWN,
        BoxStatus::Configured => BOXLITE_STATUS_CONFIGURED,
        BoxStatus::Running => BOXLITE_STATUS_RUNNING,
        BoxStatus::Stopping => BOXLITE_STATUS_STOPPING,
        BoxStatus::Stopped => BOXLITE_STATUS_STOPPED,
        BoxStatus::Paused => BOXLITE_STATUS_PAUSED,
        BoxStatus::Failed => BOXLITE_STATUS_FAILED,
    }
}

/// The box's id: 12 letters and digits.
///
/// Valid until the info is freed; NULL when `info` is NULL. Any thread; does not block.
///
/// @ingroup info
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_info_id(info: *const boxlite_info) -> *const c_char {
    // SAFETY: the caller passes NULL or a live info.
    unsafe { field(info, std::ptr::null(), |info| info.id.as_ptr()) }
}

/// The box's name. Valid until the info is freed; NULL when it has none or `info` is NULL. Any thread; does not block.
///
/// @ingroup info
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_info_name(info: *const boxlite_info) -> *const c_char {
    // SAFETY: the caller passes NULL or a live info.
    unsafe { field(info, std::ptr::null(), |info| pointer(info.name.as_ref())) }
}

/// The box's status, one of BOXLITE_STATUS_...; BOXLITE_STATUS_UNKNOWN when `info` is NULL. Any thread; does not block.
///
/// @ingroup info
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_info_status(info: *const boxlite_info) -> i32 {
    // SAFETY: the caller passes NULL or a live info.
    unsafe { field(info, BOXLITE_STATUS_UNKNOWN, |info| info.status) }
}

/// When the box was created, in milliseconds since 1970-01-01 UTC; -1 when `info` is NULL. Any thread; does not block.
///
/// @ingroup info
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_info_created_at_ms(info: *const boxlite_info) -> i64 {
    // SAFETY: the caller passes NULL or a live info.
    unsafe { field(info, -1, |info| info.created_at_ms) }
}

/// When the box's record last changed, in milliseconds since 1970-01-01 UTC; -1 when `info` is NULL. Any thread; does
/// not block.
///
/// @ingroup info
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_info_updated_at_ms(info: *const boxlite_info) -> i64 {
    // SAFETY: the caller passes NULL or a live info.
    unsafe { field(info, -1, |info| info.updated_at_ms) }
}

/// When the box was last started, in milliseconds since 1970-01-01 UTC; -1 when it never was or `info` is NULL. Any
/// thread; does not block.
///
/// @ingroup info
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_info_started_at_ms(info: *const boxlite_info) -> i64 {
    // SAFETY: the caller passes NULL or a live info.
    unsafe { field(info, -1, |info| info.started_at_ms) }
}

/// The process id of the box's shim while it runs; 0 when it does not or `info` is NULL. Any thread; does not block.
///
/// @ingroup info
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_info_pid(info: *const boxlite_info) -> i32 {
    // SAFETY: the caller passes NULL or a live info.
    unsafe { field(info, 0, |info| info.pid) }
}

/// The box's image as it was asked for. Valid until the info is freed; NULL when `info` is NULL. Any thread; does not
/// block.
///
/// @ingroup info
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_info_image(info: *const boxlite_info) -> *const c_char {
    // SAFETY: the caller passes NULL or a live info.
    unsafe { field(info, std::ptr::null(), |info| info.image.as_ptr()) }
}

/// How many vCPUs the box has; 0 when `info` is NULL. Any thread; does not block.
///
/// @ingroup info
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_info_cpus(info: *const boxlite_info) -> i32 {
    // SAFETY: the caller passes NULL or a live info.
    unsafe { field(info, 0, |info| info.cpus) }
}

/// The box's memory in MiB; 0 when `info` is NULL. Any thread; does not block.
///
/// @ingroup info
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_info_memory_mib(info: *const boxlite_info) -> i64 {
    // SAFETY: the caller passes NULL or a live info.
    unsafe { field(info, 0, |info| info.memory_mib) }
}

/// The size of the box's writable disk in GiB; 0 when `info` is NULL. Any thread; does not block.
///
/// @ingroup info
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_info_disk_size_gb(info: *const boxlite_info) -> i64 {
    // SAFETY: the caller passes NULL or a live info.
    unsafe { field(info, 0, |info| info.disk_size_gb) }
}

/// 1 when the box is removed once it stops, else 0; 0 when `info` is NULL. Any thread; does not block.
///
/// @ingroup info
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_info_auto_remove(info: *const boxlite_info) -> i32 {
    // SAFETY: the caller passes NULL or a live info.
    unsafe { field(info, 0, |info| i32::from(info.auto_remove)) }
}

/// 1 when the box goes on after its runtime has ended, else 0; 0 when `info` is NULL. Any thread; does not block.
///
/// @ingroup info
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_info_detach(info: *const boxlite_info) -> i32 {
    // SAFETY: the caller passes NULL or a live info.
    unsafe { field(info, 0, |info| i32::from(info.detach)) }
}

/// Why the box failed. Valid until the info is freed; NULL when its status is not BOXLITE_STATUS_FAILED or `info` is
/// NULL. Any thread; does not block.
///
/// @ingroup info
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_info_failure(info: *const boxlite_info) -> *const c_char {
    // SAFETY: the caller passes NULL or a live info.
    unsafe { field(info, std::ptr::null(), |info| pointer(info.failure.as_ref())) }
}

/// Which engine runs the box, or ran it last: "libkrun", "qemu-kvm" or "qemu-tcg" (software emulation). Valid until the
/// info is freed; NULL when it has not been started or `info` is NULL. Any thread; does not block.
///
/// @ingroup info
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_info_engine(info: *const boxlite_info) -> *const c_char {
    // SAFETY: the caller passes NULL or a live info.
    unsafe { field(info, std::ptr::null(), |info| pointer(info.engine.as_ref())) }
}

/// How many labels the box has; 0 when `info` is NULL. Any thread; does not block.
///
/// @ingroup info
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_info_label_len(info: *const boxlite_info) -> usize {
    // SAFETY: the caller passes NULL or a live info.
    unsafe { field(info, 0, |info| info.labels.len()) }
}

/// The key of label `index`; labels are sorted by key. Valid until the info is freed; NULL when `index` is out of range
/// or `info` is NULL. Any thread; does not block.
///
/// @ingroup info
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_info_label_key(info: *const boxlite_info, index: usize) -> *const c_char {
    // SAFETY: the caller passes NULL or a live info.
    unsafe { field(info, std::ptr::null(), |info| pointer(info.labels.get(index).map(|(key, _)| key))) }
}

/// The value of label `index`. Valid until the info is freed; NULL when `index` is out of range or `info` is NULL. Any
/// thread; does not block.
///
/// @ingroup info
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_info_label_value(info: *const boxlite_info, index: usize) -> *const c_char {
    // SAFETY: the caller passes NULL or a live info.
    unsafe {
        field(info, std::ptr::null(), |info| pointer(info.labels.get(index).map(|(_, content)| content)))
    }
}

/// How many steps the last start made by this runtime had; 0 when it made none or `info` is NULL. Any thread; does not
/// block.
///
/// @ingroup info
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_info_stage_len(info: *const boxlite_info) -> usize {
    // SAFETY: the caller passes NULL or a live info.
    unsafe { field(info, 0, |info| info.stages.len()) }
}

/// The name of step `index` of the last start, in the order they were made: "pull", "image-disk", "boot" and others.
/// Valid until the info is freed; NULL when `index` is out of range or `info` is NULL. Any thread; does not block.
///
/// @ingroup info
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_info_stage_name(info: *const boxlite_info, index: usize) -> *const c_char {
    // SAFETY: the caller passes NULL or a live info.
    unsafe { field(info, std::ptr::null(), |info| pointer(info.stages.get(index).map(|(name, _)| name))) }
}

/// What step `index` of the last start took, in microseconds; 0 when `index` is out of range or `info` is NULL. Any
/// thread; does not block.
///
/// @ingroup info
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_info_stage_us(info: *const boxlite_info, index: usize) -> i64 {
    // SAFETY: the caller passes NULL or a live info.
    unsafe { field(info, 0, |info| info.stages.get(index).map_or(0, |(_, took)| *took)) }
}

/// Frees an info that was returned to the caller, not one lent by a list. Does nothing when `info` is NULL. Any thread;
/// does not block.
///
/// @ingroup info
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_info_free(info: *mut boxlite_info) {
    // SAFETY: the caller passes NULL or an info it has not freed yet.
    value((), || unsafe { free(info) });
}

/// A status in lower case, such as "running"; "unknown" for a number that is no status of this library.
///
/// The string is static. Any thread may call this at any time; it does not block and cannot fail.
///
/// @ingroup info
#[unsafe(no_mangle)]
pub extern "C" fn boxlite_status_name(status: i32) -> *const c_char {
    let name: &CStr = match status {
        BOXLITE_STATUS_CONFIGURED => c"configured",
        BOXLITE_STATUS_RUNNING => c"running",
        BOXLITE_STATUS_STOPPING => c"stopping",
        BOXLITE_STATUS_STOPPED => c"stopped",
        BOXLITE_STATUS_PAUSED => c"paused",
        BOXLITE_STATUS_FAILED => c"failed",
        _ => c"unknown",
    };
    name.as_ptr()
}
