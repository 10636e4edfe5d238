//! Templates and spares: how much of them there may be, and making a template ahead.

use super::argument::{builder, handle, live, number, optional_live, refused};
use super::box_options::boxlite_box_options;
use super::call::boxlite_call;
use super::error::{boxlite_code, boxlite_error};
use super::guard::enter;
use super::runtime::boxlite_runtime;
use super::runtime_options::boxlite_runtime_options;
use super::wait::{CutOff, Waiter};

/// Sets how many bytes on disk the home's templates may take together (default 1 GiB): frozen machines that boxes are
/// cloned from, so that they need not boot. One takes some 70 MB; those that were not used for longest go first. 0 = no
/// templates: every box boots.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL or `bytes` is
/// negative.
///
/// @ingroup runtime_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_runtime_options_set_template_space(
    options: *mut boxlite_runtime_options,
    bytes: i64,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        let options = unsafe { builder(options, "options") }?;
        let bytes = u64::try_from(bytes).map_err(|_| {
            refused("bytes", format!("is negative: {bytes}"), "give a number of bytes, or 0 for no templates")
        })?;
        options.template_space = Some(bytes);
        Ok(())
    })
}

/// Sets how many boxes the runtime keeps ready ahead of being asked for (default: what $BOXLITE_SPARES says, else 1),
/// each a running machine of the image and the sizes that were started last. boxlite_create() gives a box of the same
/// sizes the id of a spare; its start then takes some 20 ms, or about three times that where the spare has another
/// image, which is swapped for the box's. The first spare is made when the runtime has had nothing to do for two
/// seconds after its first box's start, later ones soon after each start. A spare costs the memory of an idle box and
/// no CPU time, is seen by no other call, and goes with the runtime. Spares are made only where templates are. 0 =
/// none.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL or `count` is
/// negative.
///
/// @ingroup runtime_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_runtime_options_set_spares(
    options: *mut boxlite_runtime_options,
    count: i32,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        let options = unsafe { builder(options, "options") }?;
        options.spares = Some(number(count.into(), 0..=i32::MAX.into(), "count")?);
        Ok(())
    })
}

/// Makes the template that boxes of any image are cloned from, so that the first of these sizes need not boot, either.
/// Only the sizes in `options` count; it may be NULL for all defaults, and is copied. Without this call a template is
/// made in the background after a box has booted. Does nothing where there is a template already, or where boxes have
/// none: when they do not run on software emulation, or the templates' space is 0.
///
/// Blocks for a second or two; when `call`, which may be NULL, cuts it off, nothing is left behind. Any thread. Errors:
/// BOXLITE_INVALID_ARGUMENT when `runtime` is NULL; BOXLITE_RESOURCE_EXHAUSTED when the template has no room;
/// BOXLITE_ENGINE when its machine does not come up; BOXLITE_CONFIG when a piece is missing; BOXLITE_STORAGE;
/// BOXLITE_BUSY; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_STOPPED after boxlite_runtime_shutdown(); BOXLITE_FORKED.
///
/// @ingroup runtime
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_runtime_prepare(
    runtime: *mut boxlite_runtime,
    options: *const boxlite_box_options,
    call: *mut boxlite_call,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a live runtime.
        let runtime = unsafe { live(runtime, "runtime") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        let (options, _) = if options.is_null() {
            boxlite_box_options::unset().split()
        } else {
            // SAFETY: not NULL, so live options that no thread changes meanwhile.
            unsafe { handle(options, "options") }?.split()
        };
        let runs_on = runtime.handle();
        Waiter::new("boxlite_runtime_prepare", call, CutOff::Undo)
            .wait(&runs_on, |_| async move { runtime.prepare(&options).await })?
    })
}
