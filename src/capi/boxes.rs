//! Boxes: created, found, started, stopped, removed.
//!
//! Owns nothing but a counted reference to the Rust box. Running commands is `exec`'s.

use std::ffi::{CString, c_char};

use super::argument::{
    Out, OutFlag, c_string, field, free_live, live, optional_live, optional_text, pointer, text,
};
use super::box_options::boxlite_box_options;
use super::call::boxlite_call;
use super::error::{boxlite_code, boxlite_error};
use super::guard::{Live, Owner, enter, value};
use super::info::boxlite_info;
use super::runtime::boxlite_runtime;
use super::wait::{CutOff, Waiter};
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::litebox::LiteBox;
use crate::litebox::spec::RawBoxExtras;
use crate::model::options::BoxOptions;
use crate::model::types::BoxInfo;

/// A box: a virtual machine made from an image, running or not. Serves any number of threads. A handle does not keep
/// the box alive, and freeing it does not stop the box.
///
/// @ingroup box
pub struct boxlite_box {
    id: CString,
    name: Option<CString>,
    pub(super) inner: LiteBox,
}

impl Live for boxlite_box {
    fn owner(&self) -> Owner {
        Owner::process(self.inner.owner_pid())
    }
}

impl boxlite_box {
    fn new(inner: LiteBox) -> Self {
        Self { id: c_string(inner.id().as_str()), name: inner.name().map(c_string), inner }
    }
}

/// Creates a box. Nothing is pulled and nothing runs yet: the virtual machine starts at the first use. `options` may be
/// NULL for all defaults; they are copied. `name` may be NULL, else it is unique in the home and matches
/// [a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}.
///
/// On success *box is a new handle, which the caller frees with boxlite_box_free(); on failure NULL, and nothing is
/// left behind. Blocks while it writes to the home; when `call`, which may be NULL, cuts it off, nothing is left
/// behind. Any thread. Errors: BOXLITE_INVALID_ARGUMENT or BOXLITE_CONFIG, which name the wrong option;
/// BOXLITE_ALREADY_EXISTS when the name is taken; BOXLITE_STORAGE; BOXLITE_DATABASE; BOXLITE_RESOURCE_EXHAUSTED;
/// BOXLITE_BUSY; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_STOPPED after boxlite_runtime_shutdown(); BOXLITE_FORKED.
///
/// @ingroup box
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_create(
    runtime: *mut boxlite_runtime,
    options: *const boxlite_box_options,
    name: *const c_char,
    call: *mut boxlite_call,
    r#box: *mut *mut boxlite_box,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a writable pointer.
        let out = unsafe { Out::new(r#box, "box") }?;
        // SAFETY: the caller passes NULL or a live runtime.
        let runtime = unsafe { live(runtime, "runtime") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        // SAFETY: the caller passes NULL or a C string.
        let name = unsafe { optional_text(name, "name") }?.map(str::to_owned);
        // SAFETY: the caller passes NULL or live options that no thread changes meanwhile.
        let (options, extras) = unsafe { split(options) };
        let handle = runtime.handle();
        let made: BoxliteResult<LiteBox> = Waiter::new("boxlite_create", call, CutOff::Undo)
            .wait(&handle, |_| async move { runtime.create_with(options, extras, name).await })?;
        out.fill(boxlite_box::new(made?));
        Ok(())
    })
}

/// Finds the box with this name, or creates it where there is none; of any number of callers at a time, in any
/// processes, exactly one creates it. A box that is found is as it was made, whatever `options` say. Without a name,
/// which is NULL, a box is created. `options` and `name` are as for boxlite_create(), and are copied.
///
/// *created, if `created` is not NULL, is set to 1 when this call created the box, else to 0. On success *box is a new
/// handle, which the caller frees with boxlite_box_free(); on failure NULL. Blocks while it reads and writes the home;
/// when `call`, which may be NULL, cuts it off, nothing is left behind. Any thread. Errors: those of boxlite_create() but
/// for BOXLITE_ALREADY_EXISTS, which can only come when the box of that name goes at that very moment; wrong options are
/// found only when a box is to be created.
///
/// @ingroup box
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_get_or_create(
    runtime: *mut boxlite_runtime,
    options: *const boxlite_box_options,
    name: *const c_char,
    call: *mut boxlite_call,
    created: *mut i32,
    r#box: *mut *mut boxlite_box,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a writable pointer.
        let out = unsafe { Out::new(r#box, "box") }?;
        // SAFETY: the caller passes NULL or a writable integer.
        let flag = unsafe { OutFlag::new(created) };
        // SAFETY: the caller passes NULL or a live runtime.
        let runtime = unsafe { live(runtime, "runtime") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        // SAFETY: the caller passes NULL or a C string.
        let name = unsafe { optional_text(name, "name") }?.map(str::to_owned);
        // SAFETY: the caller passes NULL or live options that no thread changes meanwhile.
        let (options, extras) = unsafe { split(options) };
        let handle = runtime.handle();
        let had: BoxliteResult<(LiteBox, bool)> = Waiter::new("boxlite_get_or_create", call, CutOff::Undo)
            .wait(&handle, |_| async move { runtime.get_or_create_with(options, extras, name).await })?;
        let (had, created) = had?;
        out.fill(boxlite_box::new(had));
        flag.fill(created);
        Ok(())
    })
}

/// What the options of a box say, which may be NULL.
///
/// # Safety
/// `options` is NULL or live options that no thread changes meanwhile.
unsafe fn split(options: *const boxlite_box_options) -> (BoxOptions, RawBoxExtras) {
    // SAFETY: passed on from this function's own contract.
    match unsafe { options.as_ref() } {
        Some(options) => options.split(),
        None => boxlite_box_options::unset().split(),
    }
}

/// Finds a box of the runtime's home by its id, a unique beginning of its id, or its name. After a stop this gives the
/// handle to start the box with again. `id_or_name` is copied.
///
/// On success *box is a new handle, which the caller frees with boxlite_box_free(); on failure NULL. Reads the home's
/// database, so it can block; `call` may be NULL. Any thread. Errors: BOXLITE_NOT_FOUND; BOXLITE_INVALID_ARGUMENT when
/// `runtime`, `id_or_name` or `box` is NULL, `id_or_name` is not UTF-8, or it begins several ids (the message lists
/// them); BOXLITE_DATABASE; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_STOPPED; BOXLITE_FORKED.
///
/// @ingroup box
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_get(
    runtime: *mut boxlite_runtime,
    id_or_name: *const c_char,
    call: *mut boxlite_call,
    r#box: *mut *mut boxlite_box,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a writable pointer.
        let out = unsafe { Out::new(r#box, "box") }?;
        // SAFETY: the caller passes NULL or a live runtime.
        let runtime = unsafe { live(runtime, "runtime") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        // SAFETY: the caller passes NULL or a C string.
        let wanted = unsafe { text(id_or_name, "id_or_name") }?.to_owned();
        let asked = wanted.clone();
        let handle = runtime.handle();
        let found: BoxliteResult<Option<LiteBox>> = Waiter::new("boxlite_get", call, CutOff::Undo)
            .wait(&handle, |_| async move { runtime.get(&asked).await })?;
        let found = found?.ok_or_else(|| {
            BoxliteError::NotFound(
                Detail::new(format!("no box has the id or name {wanted:?}")).subject(wanted),
            )
        })?;
        out.fill(boxlite_box::new(found));
        Ok(())
    })
}

/// Removes a box with all its data, by its id, a unique beginning of its id, or its name. A box that runs is refused,
/// unless `force` is not 0: then it is stopped first. `id_or_name` is copied.
///
/// Blocks; when `call`, which may be NULL, cuts it off, the call returns BOXLITE_TIMEOUT or BOXLITE_CANCELLED and the
/// removal goes on. Any thread. Errors besides: BOXLITE_NOT_FOUND; BOXLITE_INVALID_STATE when the box runs and `force`
/// is 0; BOXLITE_INVALID_ARGUMENT when `runtime` or `id_or_name` is NULL, `id_or_name` is not UTF-8, or it begins
/// several ids; BOXLITE_STORAGE; BOXLITE_DATABASE; BOXLITE_BUSY; BOXLITE_STOPPED; BOXLITE_FORKED.
///
/// @ingroup box
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_remove(
    runtime: *mut boxlite_runtime,
    id_or_name: *const c_char,
    force: i32,
    call: *mut boxlite_call,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a live runtime.
        let runtime = unsafe { live(runtime, "runtime") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        // SAFETY: the caller passes NULL or a C string.
        let wanted = unsafe { text(id_or_name, "id_or_name") }?.to_owned();
        let handle = runtime.handle();
        Waiter::new("boxlite_remove", call, CutOff::Leave)
            .wait(&handle, |_| async move { runtime.remove(&wanted, force != 0).await })?
    })
}

/// The box's id: 12 letters and digits. Valid until the handle is freed; NULL when `box` is NULL. Any thread; does not
/// block; works in a forked child and after the box is gone.
///
/// @ingroup box
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_id(r#box: *const boxlite_box) -> *const c_char {
    // SAFETY: the caller passes NULL or a live box.
    unsafe { field(r#box, std::ptr::null(), |one| one.id.as_ptr()) }
}

/// The box's name. Valid until the handle is freed; NULL when it has none or `box` is NULL. Any thread; does not block;
/// works in a forked child and after the box is gone.
///
/// @ingroup box
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_name(r#box: *const boxlite_box) -> *const c_char {
    // SAFETY: the caller passes NULL or a live box.
    unsafe { field(r#box, std::ptr::null(), |one| pointer(one.name.as_ref())) }
}

/// What the box is at this moment; once it was removed, what was last seen of it, as configured or stopped:
/// boxlite_get() tells whether it is there.
///
/// On success *info is a copy, which the caller frees with boxlite_info_free(); on failure NULL. May read the home's
/// database, so it can block; `call` may be NULL. Any thread; also after the box was stopped. Errors:
/// BOXLITE_INVALID_ARGUMENT when `box` or `info` is NULL; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_STOPPED once the
/// runtime has ended; BOXLITE_FORKED.
///
/// @ingroup box
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_info(
    r#box: *mut boxlite_box,
    call: *mut boxlite_call,
    info: *mut *mut boxlite_info,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a writable pointer.
        let out = unsafe { Out::new(info, "info") }?;
        // SAFETY: the caller passes NULL or a live box.
        let one = unsafe { live(r#box, "box") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        let handle = one.handle();
        let info: BoxInfo = Waiter::new("boxlite_box_info", call, CutOff::Undo)
            .wait(&handle, |_| async move { BoxliteResult::Ok(one.info()) })??;
        out.fill(boxlite_info::new(&info));
        Ok(())
    })
}

/// Starts the box: pulls its image when it is not there yet, and returns when commands can run. Does nothing when the
/// box runs. boxlite_exec() does this by itself.
///
/// Blocks; reports progress. When `call`, which may be NULL, cuts it off, the virtual machine is ended, also
/// one that runs by then and that nobody else uses; what was pulled is kept. Any thread. Errors: BOXLITE_IMAGE; BOXLITE_NETWORK;
/// BOXLITE_ENGINE, with the console's last words; BOXLITE_CONFIG when a part of boxlite is missing;
/// BOXLITE_UNSUPPORTED; BOXLITE_STORAGE; BOXLITE_RESOURCE_EXHAUSTED; BOXLITE_PORTAL; BOXLITE_BUSY; BOXLITE_NOT_FOUND
/// when the box was removed; BOXLITE_STOPPED when this handle has seen a stop: get the box again;
/// BOXLITE_INVALID_ARGUMENT when `box` is NULL; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_FORKED.
///
/// @ingroup box
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_start(
    r#box: *mut boxlite_box,
    call: *mut boxlite_call,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a live box.
        let one = unsafe { live(r#box, "box") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        let handle = one.handle();
        Waiter::new("boxlite_box_start", call, CutOff::Undo)
            .with_progress()
            .wait(&handle, |control| async move { one.start_with(&control.sink).await })?
    })
}

/// Stops the box: its processes get SIGTERM, 2 seconds later SIGKILL, then its disk is written back and its virtual
/// machine ends. What was written before is there after the next start. A box with auto-remove is removed. Does nothing
/// when the box never ran. Afterwards this handle returns BOXLITE_STOPPED for all but its id, name and info: to start
/// the box again, get it again.
///
/// Blocks; when `call`, which may be NULL, cuts it off, the call returns BOXLITE_TIMEOUT or BOXLITE_CANCELLED and the
/// stop goes on. Any thread. Errors besides: BOXLITE_STOPPED; BOXLITE_PORTAL; BOXLITE_STORAGE; BOXLITE_DATABASE;
/// BOXLITE_BUSY; BOXLITE_INVALID_ARGUMENT when `box` is NULL; BOXLITE_FORKED.
///
/// @ingroup box
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_stop(
    r#box: *mut boxlite_box,
    call: *mut boxlite_call,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a live box.
        let one = unsafe { live(r#box, "box") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        let handle = one.handle();
        Waiter::new("boxlite_box_stop", call, CutOff::Leave)
            .wait(&handle, |_| async move { one.stop().await })?
    })
}

/// Frees a handle; the box goes on. Does nothing when `box` is NULL, or in a forked child. Any thread; does not block.
///
/// @ingroup box
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_free(r#box: *mut boxlite_box) {
    // SAFETY: the caller passes NULL or a box it has not freed yet.
    value((), || unsafe { free_live(r#box) });
}
