//! The end of a box: waited for, polled for, explained; and its logs.
//!
//! Owns a copy of what is known of the end. Stopping a box is `boxes`'.

use std::ffi::{CString, c_char};
use std::os::fd::{IntoRawFd, OwnedFd};

use super::argument::{Out, c_string, field, free, live, optional_live, refused};
use super::boxes::boxlite_box;
use super::call::boxlite_call;
use super::error::{boxlite_code, boxlite_error};
use super::execution_streams::OutFd;
use super::guard::{enter, value};
use super::wait::{CutOff, Waiter};
use crate::errors::BoxliteResult;
use crate::litebox::{BoxEnd, BoxLog, EndReason};

/// Not known to this version: read boxlite_box_end_message().
///
/// @ingroup box_end
pub const BOXLITE_END_UNKNOWN: i32 = 0;
/// It was stopped: by a call, or a signal to its shim.
///
/// @ingroup box_end
pub const BOXLITE_END_STOPPED: i32 = 1;
/// The process that started it went away.
///
/// @ingroup box_end
pub const BOXLITE_END_OWNER_GONE: i32 = 2;
/// Reserved: a box has no main command of its own today, so none can end it.
///
/// @ingroup box_end
pub const BOXLITE_END_MAIN_EXITED: i32 = 3;
/// Its virtual machine ended by a fault, or somebody killed its engine.
///
/// @ingroup box_end
pub const BOXLITE_END_CRASHED: i32 = 4;
/// It was killed: it did not stop in time, or its shim was killed.
///
/// @ingroup box_end
pub const BOXLITE_END_KILLED: i32 = 5;
/// It was removed, and how it ended before is not known.
///
/// @ingroup box_end
pub const BOXLITE_END_REMOVED: i32 = 6;
/// It had run for as long as boxlite_box_options_set_max_lifetime_ms() says.
///
/// @ingroup box_end
pub const BOXLITE_END_LIFETIME: i32 = 7;
/// It had been idle for as long as boxlite_box_options_set_idle_timeout_ms() says.
///
/// @ingroup box_end
pub const BOXLITE_END_IDLE: i32 = 8;
/// The host's kernel killed its virtual machine for want of memory: the host's, or that of the control group (cgroup) it runs
/// in. Give either more memory, or the box less. The guest's own kernel kills a command that takes too much of the box's
/// memory alone, and the box goes on: boxlite_exec_result_oom_killed().
///
/// @ingroup box_end
pub const BOXLITE_END_OUT_OF_MEMORY: i32 = 9;

/// What the guest's kernel and the agent in it wrote to the console, over all starts.
///
/// @ingroup box_end
pub const BOXLITE_BOX_LOG_CONSOLE: i32 = 0;
/// What the box's shim noted of its starts and ends.
///
/// @ingroup box_end
pub const BOXLITE_BOX_LOG_SHIM: i32 = 1;

/// How a box ended. Read-only, so any number of threads may read it.
///
/// @ingroup box_end
pub struct boxlite_box_end {
    reason: i32,
    message: CString,
}

impl boxlite_box_end {
    fn new(end: BoxEnd) -> Self {
        let reason = match end.reason {
            EndReason::Stopped => BOXLITE_END_STOPPED,
            EndReason::OwnerGone => BOXLITE_END_OWNER_GONE,
            EndReason::MainExited => BOXLITE_END_MAIN_EXITED,
            EndReason::Crashed => BOXLITE_END_CRASHED,
            EndReason::Killed => BOXLITE_END_KILLED,
            EndReason::Removed => BOXLITE_END_REMOVED,
            EndReason::LifetimeOver => BOXLITE_END_LIFETIME,
            EndReason::Idle => BOXLITE_END_IDLE,
            EndReason::OutOfMemory => BOXLITE_END_OUT_OF_MEMORY,
        };
        Self { reason, message: c_string(end.message) }
    }
}

/// Waits until the box does not run, whoever started it and whoever ends it, and tells how its last run ended; at once
/// when it does not run now. May be called any number of times, from any thread, also after a stop through this handle,
/// and after the box was removed if this handle had begun to wait before.
///
/// On success *end is new, which the caller frees with boxlite_box_end_free(); on failure NULL. Blocks; when `call`,
/// which may be NULL, cuts it off, the box goes on. Errors: BOXLITE_INVALID_STATE when the box never ran;
/// BOXLITE_NOT_FOUND when it is gone; BOXLITE_STOPPED when the runtime ended first; BOXLITE_INVALID_ARGUMENT when `box`
/// or `end` is NULL; BOXLITE_DATABASE; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_FORKED.
///
/// @ingroup box_end
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_wait(
    r#box: *mut boxlite_box,
    call: *mut boxlite_call,
    end: *mut *mut boxlite_box_end,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a writable pointer.
        let out = unsafe { Out::new(end, "end") }?;
        // SAFETY: the caller passes NULL or a live box.
        let one = unsafe { live(r#box, "box") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        let handle = one.handle();
        let ended: BoxliteResult<BoxEnd> = Waiter::new("boxlite_box_wait", call, CutOff::Undo)
            .wait(&handle, |_| async move { one.wait().await })?;
        out.fill(boxlite_box_end::new(ended?));
        Ok(())
    })
}

/// A descriptor that can be read from (poll() and its like say so) for ever once boxlite_box_wait() would return at once,
/// also with an error; there is nothing to be read. *fd is a new descriptor each time, close-on-exec, which the caller
/// closes, and outlives the handle; -1 on failure. For the next run of a box that was started again, ask for a new one.
///
/// Does not block. Any thread. Errors: BOXLITE_RESOURCE_EXHAUSTED; BOXLITE_INVALID_ARGUMENT when `box` or `fd` is NULL;
/// BOXLITE_FORKED.
///
/// @ingroup box_end
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_exit_fd(
    r#box: *mut boxlite_box,
    fd: *mut i32,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a writable pointer.
        let out = unsafe { OutFd::new(fd) }?;
        // SAFETY: the caller passes NULL or a live box.
        let descriptor: OwnedFd = unsafe { live(r#box, "box") }?.inner.exit_descriptor()?;
        out.fill(descriptor.into_raw_fd());
        Ok(())
    })
}

/// Opens a log of the box for reading, at its beginning: `which` is one of BOXLITE_BOX_LOG_... A box has logs from its
/// first start to its removal, also when that start failed. They are files: read() gives what is there and then end of
/// file, and what is written later can be read from the same descriptor. They hold what the guest wrote, so any bytes.
///
/// *fd is a new descriptor, close-on-exec, which the caller closes, and outlives the handle; -1 on failure. Opens a
/// file, and else does not block. Any thread; also after the runtime has ended. Errors: BOXLITE_NOT_FOUND when the box
/// was never started or is gone; BOXLITE_STORAGE; BOXLITE_RESOURCE_EXHAUSTED; BOXLITE_INVALID_ARGUMENT when `box` or
/// `fd` is NULL or there is no such log; BOXLITE_FORKED.
///
/// @ingroup box_end
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_log_fd(
    r#box: *mut boxlite_box,
    which: i32,
    fd: *mut i32,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a writable pointer.
        let out = unsafe { OutFd::new(fd) }?;
        // SAFETY: the caller passes NULL or a live box.
        let one = unsafe { live(r#box, "box") }?;
        let which = match which {
            BOXLITE_BOX_LOG_CONSOLE => BoxLog::Console,
            BOXLITE_BOX_LOG_SHIM => BoxLog::Shim,
            other => {
                let hint = "pass BOXLITE_BOX_LOG_CONSOLE or BOXLITE_BOX_LOG_SHIM";
                return Err(refused("which", format!("is no log of a box: {other}"), hint));
            }
        };
        out.fill(OwnedFd::from(one.inner.open_log(which)?).into_raw_fd());
        Ok(())
    })
}

/// Why the box ended, one of BOXLITE_END_...; BOXLITE_END_UNKNOWN when `end` is NULL. Later versions may have more. Any
/// thread; does not block.
///
/// @ingroup box_end
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_end_reason(end: *const boxlite_box_end) -> i32 {
    // SAFETY: the caller passes NULL or a live end.
    unsafe { field(end, BOXLITE_END_UNKNOWN, |end| end.reason) }
}

/// The end in a sentence for a person, in case of a crash with the end of the guest's console. Valid until the end is
/// freed; NULL when `end` is NULL. Any thread; does not block.
///
/// @ingroup box_end
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_end_message(end: *const boxlite_box_end) -> *const c_char {
    // SAFETY: the caller passes NULL or a live end.
    unsafe { field(end, std::ptr::null(), |end| end.message.as_ptr()) }
}

/// Frees an end. Does nothing when `end` is NULL. Any thread; does not block.
///
/// @ingroup box_end
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_end_free(end: *mut boxlite_box_end) {
    // SAFETY: the caller passes NULL or an end it has not freed yet.
    value((), || unsafe { free(end) });
}
