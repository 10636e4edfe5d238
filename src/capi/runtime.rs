//! The runtime's handle: opened, shut down, freed.
//!
//! Owns nothing but a counted reference to the Rust runtime.

use super::argument::{Out, free_live, handle, live, optional_live};
use super::call::boxlite_call;
use super::error::{boxlite_code, boxlite_error};
use super::guard::{Live, Owner, enter, value};
use super::runtime_options::boxlite_runtime_options;
use super::wait::{CutOff, Waiter, on_this_thread};
use crate::errors::BoxliteResult;
use crate::runtime::{BoxliteRuntime, RuntimeBuilder};

/// A runtime: one home directory with its boxes and images. Serves any number of threads. Any number of runtimes, in
/// any number of processes, may use one home.
///
/// @ingroup runtime
pub struct boxlite_runtime {
    pub(super) inner: BoxliteRuntime,
}

impl Live for boxlite_runtime {
    fn owner(&self) -> Owner {
        Owner::process(self.inner.owner_pid())
    }
}

/// Opens a runtime. `options` may be NULL for all defaults; they are copied.
///
/// On success *runtime is a new handle, which the caller frees with boxlite_runtime_free(); on failure NULL. Starts a
/// few threads, all with all signals blocked; reads the home's database, and waits up to 30 s for another process that is
/// just making or repairing it: boxlite_runtime_new_within() waits as long as its call says. Works on any thread, and in a
/// forked child. Errors: BOXLITE_INVALID_ARGUMENT when `runtime` is NULL; BOXLITE_STORAGE when the home cannot be used (it
/// is a file, is read-only, is not this user's); BOXLITE_DATABASE; BOXLITE_CONFIG when an option, or an environment variable
/// that stands in for one, is wrong; BOXLITE_BUSY; BOXLITE_RESOURCE_EXHAUSTED.
///
/// @ingroup runtime
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_runtime_new(
    options: *const boxlite_runtime_options,
    runtime: *mut *mut boxlite_runtime,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    // SAFETY: the caller's duties are the same.
    unsafe { boxlite_runtime_new_within(options, std::ptr::null_mut(), runtime, error) }
}

/// As boxlite_runtime_new(), and waits as `call` says; NULL = up to 30 s for another process.
///
/// Blocks. When `call` cuts it off, no runtime and none of its threads is left, and what it had begun to recover is
/// recovered by the next open. Ownership, threads and errors as boxlite_runtime_new(); BOXLITE_TIMEOUT and
/// BOXLITE_CANCELLED besides, which name the process waited for; BOXLITE_FORKED when `call` is the parent's.
///
/// @ingroup runtime
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_runtime_new_within(
    options: *const boxlite_runtime_options,
    call: *mut boxlite_call,
    runtime: *mut *mut boxlite_runtime,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a writable pointer.
        let out = unsafe { Out::new(runtime, "runtime") }?;
        // SAFETY: the caller passes NULL or live options that no thread changes meanwhile.
        let builder = unsafe { builder_from(options) }?;
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        let inner = on_this_thread("boxlite_runtime_new_within", call, || builder.build())?;
        out.fill(boxlite_runtime { inner });
        Ok(())
    })
}

/// The builder that `options` say, all defaults for NULL.
///
/// # Safety
/// `options` are NULL or live, and no thread changes them meanwhile.
pub(super) unsafe fn builder_from(options: *const boxlite_runtime_options) -> BoxliteResult<RuntimeBuilder> {
    let builder = BoxliteRuntime::builder();
    if options.is_null() {
        return Ok(builder);
    }
    // SAFETY: not NULL, so live by this function's contract.
    unsafe { handle(options, "options") }?.apply(builder)
}

/// Stops the boxes that this runtime started and that are not detached, and waits until they have stopped. Boxes of
/// other runtimes on the same home are left alone. Afterwards boxlite_create(), boxlite_box_start() and boxlite_exec()
/// return BOXLITE_STOPPED; listing still works. Calling it again, or from several threads at a time, is harmless.
///
/// `grace_ms`: how long boxes may take to stop by themselves before they are killed, rounded up to seconds. 0 = kill
/// them at once, -1 = wait for ever, any other negative number = the default of 10 seconds.
///
/// After this call and the freeing of all handles no thread, descriptor or child process of the runtime is left.
/// Blocks; when `call` cuts it off, the call returns BOXLITE_TIMEOUT or BOXLITE_CANCELLED and the shutdown goes on.
/// `call` may be NULL. Errors besides: BOXLITE_INVALID_ARGUMENT when `runtime` is NULL; BOXLITE_FORKED.
///
/// @ingroup runtime
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_runtime_shutdown(
    runtime: *mut boxlite_runtime,
    grace_ms: i64,
    call: *mut boxlite_call,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a live runtime.
        let runtime = unsafe { live(runtime, "runtime") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        let seconds = grace_seconds(grace_ms);
        let handle = runtime.handle();
        Waiter::new("boxlite_runtime_shutdown", call, CutOff::Leave)
            .wait(&handle, |_| async move { runtime.shutdown(seconds).await })?
    })
}

/// Milliseconds of the C API as the seconds of the Rust API.
pub(super) fn grace_seconds(grace_ms: i64) -> Option<i32> {
    match u64::try_from(grace_ms) {
        Ok(grace_ms) => Some(i32::try_from(grace_ms.div_ceil(1000)).unwrap_or(i32::MAX)),
        Err(_) => (grace_ms == -1).then_some(-1),
    }
}

/// Frees a handle. When it was the last one of its runtime, the runtime ends in the background within 10 seconds, and
/// with it the boxes it started that are not detached; handles of its boxes stay valid to free and still give id, name
/// and logs, and otherwise return BOXLITE_STOPPED. Does nothing when `runtime` is NULL, or in a forked child. Any
/// thread; waits for no box: boxlite_runtime_shutdown() is the form that does. Where none runs, it calls off what is being
/// started or made, closes the database and ends the threads first: milliseconds mostly, 2 s at most.
///
/// @ingroup runtime
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_runtime_free(runtime: *mut boxlite_runtime) {
    // SAFETY: the caller passes NULL or a runtime it has not freed yet.
    value((), || unsafe { free_live(runtime) });
}
