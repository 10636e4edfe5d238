//! How the caller wants to wait: deadline, cancellation, progress.
//!
//! Owns `boxlite_call`. The waiting itself is `wait`'s.

use std::convert::Infallible;
use std::ffi::c_void;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::argument::{Out, free_live, live, refused};
use super::error::{boxlite_code, boxlite_error};
use super::guard::{Live, Owner, enter, value};
use super::progress::boxlite_progress_fn;

/// A timeout of 0: what needs no waiting is still done, and this is how long that may take.
const AT_ONCE: Duration = Duration::from_millis(50);

/// How to wait for a call that can block: its deadline, its progress callback, and the means to cancel it. Serves any
/// number of threads and calls, also at the same time.
///
/// @ingroup call
pub struct boxlite_call {
    owner: Owner,
    timeout_ms: AtomicI64,
    progress: Mutex<Callback>,
    cancel: Mutex<Cancel>,
}

/// The caller's function and what it wants to be given.
#[derive(Clone, Copy)]
pub(super) struct Callback {
    pub(super) function: boxlite_progress_fn,
    pub(super) user: *mut c_void,
}

impl Callback {
    const NONE: Self = Self { function: None, user: std::ptr::null_mut() };
}

/// Closing a channel wakes all who wait for it, and stays: so `sender` is dropped to cancel, and never sent on.
struct Cancel {
    sender: Option<Sender<Infallible>>,
    receiver: Receiver<Infallible>,
}

impl Cancel {
    fn new() -> Self {
        let (sender, receiver) = bounded(0);
        Self { sender: Some(sender), receiver }
    }
}

impl Live for boxlite_call {
    fn owner(&self) -> Owner {
        self.owner
    }
}

impl boxlite_call {
    fn new() -> Self {
        Self {
            owner: Owner::current(),
            timeout_ms: AtomicI64::new(-1),
            progress: Mutex::new(Callback::NONE),
            cancel: Mutex::new(Cancel::new()),
        }
    }

    /// The deadline of a call that starts now.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let span = match u64::try_from(self.timeout_ms.load(Ordering::Relaxed)).ok()? {
            0 => AT_ONCE,
            milliseconds => Duration::from_millis(milliseconds),
        };
        Instant::now().checked_add(span)
    }

    pub(super) fn callback(&self) -> Callback {
        *lock(&self.progress)
    }

    /// Disconnected once the call is cancelled.
    pub(super) fn cancelled(&self) -> Receiver<Infallible> {
        lock(&self.cancel).receiver.clone()
    }
}

/// What these locks guard is whole at any time, so a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a call: no deadline, no progress, not cancelled.
///
/// On success *call is a new call, which the caller frees with boxlite_call_free(); on failure NULL. Any thread; does
/// not block. Errors: BOXLITE_INVALID_ARGUMENT when `call` is NULL.
///
/// @ingroup call
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_call_new(
    call: *mut *mut boxlite_call,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a writable pointer.
        let out = unsafe { Out::new(call, "call") }?;
        out.fill(boxlite_call::new());
        Ok(())
    })
}

/// Sets how long each call made with `call` may take, in milliseconds, counted from its start: -1 (the default) = for
/// ever, 0 = don't wait: only what can be done at once (within some 50 ms) is done. A call that runs out of time
/// returns BOXLITE_TIMEOUT; what becomes of its operation is said at each function.
///
/// Takes effect for calls that start later. Any thread may do this; it does not block. Errors:
/// BOXLITE_INVALID_ARGUMENT when `call` is NULL or `timeout_ms` is below -1; BOXLITE_FORKED.
///
/// @ingroup call
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_call_set_timeout_ms(
    call: *mut boxlite_call,
    timeout_ms: i64,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { live(call, "call") }?;
        if timeout_ms < -1 {
            let problem = format!("is negative: {timeout_ms}");
            return Err(refused("timeout_ms", problem, "pass milliseconds, or -1 for no deadline"));
        }
        call.timeout_ms.store(timeout_ms, Ordering::Relaxed);
        Ok(())
    })
}

/// Sets the function that calls made with `call` report progress to; NULL (the default) = none. `user` is passed to it
/// as it is and never looked at.
///
/// The function runs on the thread that makes the call, inside that call, at most 20 times a second and once at the
/// end; never on a thread of the library. It may call the library, and must neither unwind nor longjmp out. When it
/// returns non-zero, that one call is cancelled. It is called only by functions that say they report progress.
///
/// Takes effect for calls that start later; when several threads use `call` at a time, the function must bear that.
/// Does not block. Errors: BOXLITE_INVALID_ARGUMENT when `call` is NULL; BOXLITE_FORKED.
///
/// @ingroup call
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_call_set_progress(
    call: *mut boxlite_call,
    function: boxlite_progress_fn,
    user: *mut c_void,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { live(call, "call") }?;
        *lock(&call.progress) = Callback { function, user };
        Ok(())
    })
}

/// Cancels: calls being made with `call` return BOXLITE_CANCELLED soon, and so does each later one, until
/// boxlite_call_reset(). What becomes of their operations is said at each function.
///
/// Any thread may do this, also a progress callback; not a signal handler. Does not block. Errors:
/// BOXLITE_INVALID_ARGUMENT when `call` is NULL; BOXLITE_FORKED.
///
/// @ingroup call
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_call_cancel(
    call: *mut boxlite_call,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { live(call, "call") }?;
        lock(&call.cancel).sender = None;
        Ok(())
    })
}

/// Undoes boxlite_call_cancel() for calls that start later; those that were cancelled stay so. Timeout and progress
/// are kept.
///
/// Any thread may do this; it does not block. Errors: BOXLITE_INVALID_ARGUMENT when `call` is NULL; BOXLITE_FORKED.
///
/// @ingroup call
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_call_reset(
    call: *mut boxlite_call,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { live(call, "call") }?;
        let mut cancel = lock(&call.cancel);
        if cancel.sender.is_none() {
            *cancel = Cancel::new();
        }
        Ok(())
    })
}

/// Frees a call; no call may be in progress with it. Does nothing when `call` is NULL, or in a forked child. Any
/// thread; does not block.
///
/// @ingroup call
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_call_free(call: *mut boxlite_call) {
    // SAFETY: the caller passes NULL or a call it has not freed yet.
    value((), || unsafe { free_live(call) });
}
