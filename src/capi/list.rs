//! Lists of boxes: which are asked for, and what came back.
//!
//! Owns a snapshot: nothing here changes when boxes do.

use std::ffi::c_char;

use super::argument::{
    Out, builder, field, free, handle, live, not_empty, optional_live, optional_text, text,
};
use super::call::boxlite_call;
use super::error::{boxlite_code, boxlite_error};
use super::guard::{enter, value};
use super::info::boxlite_info;
use super::runtime::boxlite_runtime;
use super::wait::{CutOff, Waiter};
use crate::errors::BoxliteResult;
use crate::model::types::BoxInfo;

/// Which boxes a list is to hold. A builder: used by one thread at a time, copied by boxlite_list(), and usable any
/// number of times, also in a forked child.
///
/// @ingroup list
pub struct boxlite_list_options {
    labels: Vec<Selector>,
}

/// A label that a box must have.
#[derive(Clone)]
struct Selector {
    key: String,
    content: Option<String>,
}

impl Selector {
    fn accepts(&self, info: &BoxInfo) -> bool {
        match (info.labels.get(&self.key), &self.content) {
            (Some(has), Some(wanted)) => has == wanted,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }
}

/// The boxes of a home at one moment, newest first. Read-only, so any number of threads may read it.
///
/// @ingroup list
pub struct boxlite_info_list {
    boxes: Vec<boxlite_info>,
}

/// Makes options that select all boxes.
///
/// On success *options are new options, which the caller frees with boxlite_list_options_free(); on failure NULL. Any
/// thread; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL.
///
/// @ingroup list
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_list_options_new(
    options: *mut *mut boxlite_list_options,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a writable pointer.
        let out = unsafe { Out::new(options, "options") }?;
        out.fill(boxlite_list_options { labels: Vec::new() });
        Ok(())
    })
}

/// Selects only boxes with label `key`, of value `value`, or of any value when `value` is NULL. With several labels a
/// box must have them all. UTF-8; copied.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` or `key` is NULL, `key` is
/// empty, or `key` or `value` is not UTF-8.
///
/// @ingroup list
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_list_options_add_label(
    options: *mut boxlite_list_options,
    key: *const c_char,
    value: *const c_char,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        let options = unsafe { builder(options, "options") }?;
        // SAFETY: the caller passes NULL or a C string.
        let key = unsafe { text(key, "key") }?;
        not_empty(key, "key", "name the label's key")?;
        // SAFETY: the caller passes NULL or a C string.
        let content = unsafe { optional_text(value, "value") }?;
        options.labels.push(Selector { key: key.to_owned(), content: content.map(str::to_owned) });
        Ok(())
    })
}

/// Frees options. Does nothing when `options` is NULL. Any thread; does not block.
///
/// @ingroup list
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_list_options_free(options: *mut boxlite_list_options) {
    // SAFETY: the caller passes NULL or options it has not freed yet.
    value((), || unsafe { free(options) });
}

/// Lists the boxes of the runtime's home, newest first: also those of other runtimes, and stopped ones. `options` may
/// be NULL: all boxes.
///
/// On success *list is a new list, which the caller frees with boxlite_info_list_free(); on failure NULL. Reads the
/// home's database, so it can block; `call` may be NULL. Any thread. Errors: BOXLITE_INVALID_ARGUMENT when `runtime` or
/// `list` is NULL; BOXLITE_DATABASE; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_STOPPED; BOXLITE_FORKED.
///
/// @ingroup list
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_list(
    runtime: *mut boxlite_runtime,
    options: *const boxlite_list_options,
    call: *mut boxlite_call,
    list: *mut *mut boxlite_info_list,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a writable pointer.
        let out = unsafe { Out::new(list, "list") }?;
        // SAFETY: the caller passes NULL or a live runtime.
        let runtime = unsafe { live(runtime, "runtime") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        let labels = if options.is_null() {
            Vec::new()
        } else {
            // SAFETY: not NULL, so live options that no thread changes meanwhile.
            unsafe { handle(options, "options") }?.labels.clone()
        };
        let handle = runtime.handle();
        let all: BoxliteResult<Vec<BoxInfo>> = Waiter::new("boxlite_list", call, CutOff::Undo)
            .wait(&handle, |_| async move { runtime.list_info().await })?;
        let selected = |info: &&BoxInfo| labels.iter().all(|label| label.accepts(info));
        out.fill(boxlite_info_list { boxes: all?.iter().filter(selected).map(boxlite_info::new).collect() });
        Ok(())
    })
}

/// How many boxes the list holds; 0 when `list` is NULL. Any thread; does not block.
///
/// @ingroup list
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_info_list_len(list: *const boxlite_info_list) -> usize {
    // SAFETY: the caller passes NULL or a live list.
    unsafe { field(list, 0, |list| list.boxes.len()) }
}

/// Box `index` of the list. Lent: valid until the list is freed, never freed by itself; NULL when `index` is out of
/// range or `list` is NULL. Any thread; does not block.
///
/// @ingroup list
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_info_list_at(
    list: *const boxlite_info_list,
    index: usize,
) -> *const boxlite_info {
    let lend = |list: &boxlite_info_list| list.boxes.get(index).map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the caller passes NULL or a live list.
    unsafe { field(list, std::ptr::null(), lend) }
}

/// Frees a list and all infos it lent. Does nothing when `list` is NULL. Any thread; does not block.
///
/// @ingroup list
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_info_list_free(list: *mut boxlite_info_list) {
    // SAFETY: the caller passes NULL or a list it has not freed yet.
    value((), || unsafe { free(list) });
}
