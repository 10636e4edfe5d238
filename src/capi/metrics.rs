//! Figures of a runtime and of a box, by name: what there is to count may grow without a new function.
//!
//! Owns a copy, taken when it was asked for.

use std::ffi::{CString, c_char};

use super::argument::{Out, c_string, field, free, live, optional_live, pointer};
use super::boxes::boxlite_box;
use super::call::boxlite_call;
use super::error::{boxlite_code, boxlite_error};
use super::guard::{enter, value};
use super::runtime::boxlite_runtime;
use super::wait::{CutOff, Waiter};
use crate::errors::BoxliteResult;
use crate::metrics::{BoxMetrics, RuntimeMetrics};

/// Figures at one moment. Read-only, so any number of threads may read it.
///
/// @ingroup metrics
pub struct boxlite_metrics {
    figures: Vec<(CString, i64)>,
}

impl boxlite_metrics {
    fn new<const N: usize>(figures: [(&str, Option<u64>); N]) -> Self {
        let known = |(name, figure): (&str, Option<u64>)| {
            Some((c_string(name), i64::try_from(figure?).unwrap_or(i64::MAX)))
        };
        Self { figures: figures.into_iter().filter_map(known).collect() }
    }

    fn of_runtime(metrics: &RuntimeMetrics) -> Self {
        let starts = metrics.starts();
        Self::new([
            ("boxes_created_total", Some(metrics.boxes_created_total())),
            ("boxes_failed_total", Some(metrics.boxes_failed_total())),
            ("boxes_stopped_total", Some(metrics.boxes_stopped_total())),
            ("boxes_running", Some(metrics.num_running_boxes())),
            ("commands_total", Some(metrics.total_commands_executed())),
            ("command_errors_total", Some(metrics.total_exec_errors())),
            ("starts_booted_total", Some(starts.booted)),
            ("starts_cloned_total", Some(starts.cloned)),
            ("templates_made_total", Some(starts.templates_made)),
            ("templates_refused_total", Some(starts.templates_refused)),
        ])
    }

    fn of_box(metrics: &BoxMetrics) -> Self {
        let small = |number: u128| u64::try_from(number).unwrap_or(u64::MAX);
        Self::new([
            ("commands_total", Some(metrics.commands_executed_total())),
            ("command_errors_total", Some(metrics.exec_errors_total())),
            ("cpu_ms_total", Some(small(metrics.cpu_time().as_millis()))),
            ("memory_bytes", metrics.memory_bytes()),
            ("disk_bytes", Some(metrics.disk_bytes())),
            ("guest_processes", Some(metrics.processes().into())),
            ("guest_memory_used_bytes", Some(metrics.guest_memory_used())),
            ("guest_memory_total_bytes", Some(metrics.guest_memory_total())),
            ("start_ms", metrics.total_create_duration_ms().map(small)),
            ("boot_ms", metrics.guest_boot_duration_ms().map(small)),
        ])
    }
}

/// What the runtime has done since it was opened: "boxes_created_total", "boxes_failed_total" (starts that failed),
/// "boxes_stopped_total", "boxes_running" (those it started or has taken up), "commands_total", "command_errors_total"
/// (commands that could not be started), "starts_booted_total", "starts_cloned_total", "templates_made_total",
/// "templates_refused_total". Names that end in _total never decrease. Later versions may have more.
///
/// On success *metrics is new, which the caller frees with boxlite_metrics_free(); on failure NULL. Asks no box, so it
/// hardly blocks; `call` may be NULL. Any thread. Errors: BOXLITE_INVALID_ARGUMENT when `runtime` or `metrics` is NULL;
/// BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_FORKED.
///
/// @ingroup metrics
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_runtime_metrics(
    runtime: *mut boxlite_runtime,
    call: *mut boxlite_call,
    metrics: *mut *mut boxlite_metrics,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a writable pointer.
        let out = unsafe { Out::new(metrics, "metrics") }?;
        // SAFETY: the caller passes NULL or a live runtime.
        let runtime = unsafe { live(runtime, "runtime") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        let handle = runtime.handle();
        let found: BoxliteResult<RuntimeMetrics> = Waiter::new("boxlite_runtime_metrics", call, CutOff::Undo)
            .wait(&handle, |_| async move { runtime.metrics().await })?;
        out.fill(boxlite_metrics::of_runtime(&found?));
        Ok(())
    })
}

/// What a running box takes, and what was done in it through this runtime since it was started or taken up:
/// "commands_total", "command_errors_total"; of the host: "cpu_ms_total", "memory_bytes", "disk_bytes"; in the box:
/// "guest_processes", "guest_memory_used_bytes", "guest_memory_total_bytes"; of its start, if this runtime made it:
/// "start_ms", image and all, and "boot_ms". Later versions may have more. Does not start the box.
///
/// On success *metrics is new, which the caller frees with boxlite_metrics_free(); on failure NULL. Blocks while it asks
/// the box; `call` may be NULL. Any thread. Errors: BOXLITE_INVALID_STATE when the box does not run;
/// BOXLITE_INVALID_ARGUMENT when `box` or `metrics` is NULL; BOXLITE_NOT_FOUND when the box was removed; BOXLITE_STOPPED
/// when this handle has seen a stop: get the box again; BOXLITE_BUSY; BOXLITE_PORTAL; BOXLITE_RPC; BOXLITE_RPC_TRANSPORT;
/// BOXLITE_DATABASE; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_FORKED.
///
/// @ingroup metrics
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_metrics(
    r#box: *mut boxlite_box,
    call: *mut boxlite_call,
    metrics: *mut *mut boxlite_metrics,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a writable pointer.
        let out = unsafe { Out::new(metrics, "metrics") }?;
        // SAFETY: the caller passes NULL or a live box.
        let one = unsafe { live(r#box, "box") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        let handle = one.handle();
        let found: BoxliteResult<BoxMetrics> = Waiter::new("boxlite_box_metrics", call, CutOff::Undo)
            .wait(&handle, |_| async move { one.metrics().await })?;
        out.fill(boxlite_metrics::of_box(&found?));
        Ok(())
    })
}

/// The figure called `name`; -1 when there is none, which includes one that is not known of this box, or when an argument
/// is NULL. `name` is only compared, byte by byte.
///
/// Any thread; does not block.
///
/// @ingroup metrics
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_metrics_value(metrics: *const boxlite_metrics, name: *const c_char) -> i64 {
    if name.is_null() {
        return -1;
    }
    // SAFETY: not NULL, so the caller passes a C string.
    let wanted = unsafe { std::ffi::CStr::from_ptr(name) };
    let find = |metrics: &boxlite_metrics| {
        let named = metrics.figures.iter().find(|(name, _)| name.as_c_str() == wanted);
        named.map_or(-1, |(_, figure)| *figure)
    };
    // SAFETY: the caller passes NULL or live metrics.
    unsafe { field(metrics, -1, find) }
}

/// How many figures there are; 0 when `metrics` is NULL. Any thread; does not block.
///
/// @ingroup metrics
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_metrics_len(metrics: *const boxlite_metrics) -> usize {
    // SAFETY: the caller passes NULL or live metrics.
    unsafe { field(metrics, 0, |metrics| metrics.figures.len()) }
}

/// The name of figure `index`. Valid until the metrics are freed; NULL when `index` is out of range or `metrics` is
/// NULL. Any thread; does not block.
///
/// @ingroup metrics
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_metrics_name(
    metrics: *const boxlite_metrics,
    index: usize,
) -> *const c_char {
    // SAFETY: the caller passes NULL or live metrics.
    unsafe {
        field(metrics, std::ptr::null(), |metrics| pointer(metrics.figures.get(index).map(|(name, _)| name)))
    }
}

/// Figure `index`; -1 when `index` is out of range or `metrics` is NULL. Any thread; does not block.
///
/// @ingroup metrics
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_metrics_at(metrics: *const boxlite_metrics, index: usize) -> i64 {
    // SAFETY: the caller passes NULL or live metrics.
    unsafe { field(metrics, -1, |metrics| metrics.figures.get(index).map_or(-1, |(_, figure)| *figure)) }
}

/// Frees metrics. Does nothing when `metrics` is NULL. Any thread; does not block.
///
/// @ingroup metrics
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_metrics_free(metrics: *mut boxlite_metrics) {
    // SAFETY: the caller passes NULL or metrics it has not freed yet.
    value((), || unsafe { free(metrics) });
}
