//! What this machine offers for running boxes, as C sees it.
//!
//! Owns a copy of the findings.

use std::ffi::{CString, c_char};

use super::argument::{Out, c_string, field, free, live, optional_live, pointer};
use super::call::boxlite_call;
use super::error::{boxlite_code, boxlite_error};
use super::guard::{enter, value};
use super::runtime::boxlite_runtime;
use super::wait::{CutOff, Waiter};
use crate::errors::BoxliteResult;
use crate::runtime::system_check::{CheckStatus, SystemCheck};

/// As it should be.
///
/// @ingroup system_check
pub const BOXLITE_CHECK_OK: i32 = 0;
/// Boxes run, but slower or with less than this machine could give.
///
/// @ingroup system_check
pub const BOXLITE_CHECK_WARNING: i32 = 1;
/// Boxes cannot run until this is remedied.
///
/// @ingroup system_check
pub const BOXLITE_CHECK_FAILED: i32 = 2;

/// What was found out about this machine. Read-only, so any number of threads may read it.
///
/// @ingroup system_check
pub struct boxlite_system_check {
    items: Vec<Item>,
    json: CString,
}

struct Item {
    name: CString,
    status: i32,
    detail: CString,
    remedy: CString,
}

impl boxlite_system_check {
    fn new(check: &SystemCheck) -> Self {
        let items = check.items.iter().map(|item| Item {
            name: c_string(item.name.as_str()),
            status: match item.status {
                CheckStatus::Ok => BOXLITE_CHECK_OK,
                CheckStatus::Warning => BOXLITE_CHECK_WARNING,
                CheckStatus::Failed => BOXLITE_CHECK_FAILED,
            },
            detail: c_string(item.detail.as_str()),
            remedy: c_string(item.remedy.as_str()),
        });
        Self { items: items.collect(), json: c_string(check.to_json()) }
    }
}

/// Finds out what this machine offers: virtualisation, the parts of boxlite, the tools it uses, the home. That
/// something is missing is a success of this function: the items tell.
///
/// On success *check is a new object, which the caller frees with boxlite_system_check_free(); on failure NULL. Blocks
/// while it looks; `call` may be NULL. Any thread. Errors: BOXLITE_INVALID_ARGUMENT when `runtime` or `check` is NULL;
/// BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_STOPPED; BOXLITE_FORKED.
///
/// @ingroup system_check
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_runtime_system_check(
    runtime: *mut boxlite_runtime,
    call: *mut boxlite_call,
    check: *mut *mut boxlite_system_check,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a writable pointer.
        let out = unsafe { Out::new(check, "check") }?;
        // SAFETY: the caller passes NULL or a live runtime.
        let runtime = unsafe { live(runtime, "runtime") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        let handle = runtime.handle();
        let found: SystemCheck = Waiter::new("boxlite_runtime_system_check", call, CutOff::Undo)
            .wait(&handle, |_| async move { BoxliteResult::Ok(runtime.system_check().await) })??;
        out.fill(boxlite_system_check::new(&found));
        Ok(())
    })
}

/// How many items there are; 0 when `check` is NULL. Any thread; does not block.
///
/// @ingroup system_check
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_system_check_len(check: *const boxlite_system_check) -> usize {
    // SAFETY: the caller passes NULL or a live system check.
    unsafe { field(check, 0, |check| check.items.len()) }
}

/// What item `index` is about, such as "kvm". Valid until the check is freed; NULL when `index` is out of range or
/// `check` is NULL. Any thread; does not block.
///
/// @ingroup system_check
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_system_check_name(
    check: *const boxlite_system_check,
    index: usize,
) -> *const c_char {
    // SAFETY: the caller passes NULL or a live system check.
    unsafe { field(check, std::ptr::null(), |check| pointer(check.items.get(index).map(|item| &item.name))) }
}

/// How item `index` is, one of BOXLITE_CHECK_...; BOXLITE_CHECK_FAILED when `index` is out of range or `check` is NULL.
/// Any thread; does not block.
///
/// @ingroup system_check
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_system_check_status(
    check: *const boxlite_system_check,
    index: usize,
) -> i32 {
    // SAFETY: the caller passes NULL or a live system check.
    unsafe {
        field(check, BOXLITE_CHECK_FAILED, |check| {
            check.items.get(index).map_or(BOXLITE_CHECK_FAILED, |item| item.status)
        })
    }
}

/// What was found out about item `index`, for a person. Valid until the check is freed; NULL when `index` is out of
/// range or `check` is NULL. Any thread; does not block.
///
/// @ingroup system_check
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_system_check_detail(
    check: *const boxlite_system_check,
    index: usize,
) -> *const c_char {
    // SAFETY: the caller passes NULL or a live system check.
    unsafe {
        field(check, std::ptr::null(), |check| pointer(check.items.get(index).map(|item| &item.detail)))
    }
}

/// What can be done about item `index`, for a person; "" when nothing needs to be. Valid until the check is freed; NULL
/// when `index` is out of range or `check` is NULL. Any thread; does not block.
///
/// @ingroup system_check
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_system_check_remedy(
    check: *const boxlite_system_check,
    index: usize,
) -> *const c_char {
    // SAFETY: the caller passes NULL or a live system check.
    unsafe {
        field(check, std::ptr::null(), |check| pointer(check.items.get(index).map(|item| &item.remedy)))
    }
}

/// All items as one JSON document. Valid until the check is freed; NULL when `check` is NULL. Any thread; does not
/// block.
///
/// @ingroup system_check
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_system_check_json(check: *const boxlite_system_check) -> *const c_char {
    // SAFETY: the caller passes NULL or a live system check.
    unsafe { field(check, std::ptr::null(), |check| check.json.as_ptr()) }
}

/// Frees a system check. Does nothing when `check` is NULL. Any thread; does not block.
///
/// @ingroup system_check
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_system_check_free(check: *mut boxlite_system_check) {
    // SAFETY: the caller passes NULL or a check it has not freed yet.
    value((), || unsafe { free(check) });
}
