//! The way in from C: panics become an error, errors become a code and an object, a forked child is told apart.
//!
//! Owns the panic hook of the C library. Never looks at arguments (that is `argument`).

use std::cell::Cell;
use std::panic::{set_hook, take_hook};
use std::sync::Once;

use super::error::{BOXLITE_OK, boxlite_code, boxlite_error};
use crate::errors::{BoxliteError, BoxliteResult};
use crate::panics;

#[cfg(not(panic = "unwind"))]
compile_error!("the C API turns panics into BOXLITE_PANIC: build boxlite with panic = \"unwind\"");

/// Threads of ours carry this name prefix.
const THREAD_PREFIX: &str = "boxlite-";

thread_local! {
    /// How many C calls this thread is in (a progress callback may call again).
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Runs the body of a function that can fail, and fills `error` in as the header promises.
pub(super) fn enter(
    error: *mut *mut boxlite_error,
    body: impl FnOnce() -> BoxliteResult<()>,
) -> boxlite_code {
    let outcome = caught(body).and_then(|outcome| outcome);
    let code = outcome.as_ref().map_or_else(BoxliteError::code, |()| BOXLITE_OK);
    if !error.is_null() {
        let value = match outcome {
            Ok(()) => std::ptr::null_mut(),
            Err(cause) => Box::into_raw(Box::new(boxlite_error::new(&cause))),
        };
        // SAFETY: not NULL, so by the header's contract it points to a writable `boxlite_error *`. `write` does not
        // read the old value, which may be uninitialised.
        unsafe { error.write(value) };
    }
    code
}

/// Runs the body of a function that cannot fail; a panic gives `fallback`.
pub(super) fn value<T>(fallback: T, body: impl FnOnce() -> T) -> T {
    caught(body).unwrap_or(fallback)
}

/// Runs `body`; a panic is caught, printed nowhere, and returned as an error.
fn caught<T>(body: impl FnOnce() -> T) -> BoxliteResult<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(install_hook);
    DEPTH.set(DEPTH.get() + 1);
    let outcome = panics::caught_blocking(|| Ok(body()));
    DEPTH.set(DEPTH.get() - 1);
    outcome
}

/// Keeps panics of ours off the host's stderr.
///
/// std's default hook prints, and only a hook can prevent that. The hook is a static of *std*, and the shared library
/// has a copy of std to itself, so no host written in another language, nor a Rust host that loads the library, is
/// touched. In a Rust program that links this crate and calls the C functions, std is shared: therefore panics outside
/// C calls and outside our threads go to the hook that was there before. A program that uses the Rust API only never
/// comes here.
fn install_hook() {
    let before = take_hook();
    set_hook(Box::new(move |info| if is_ours() { panics::remember(info) } else { before(info) }));
}

fn is_ours() -> bool {
    DEPTH.try_with(Cell::get).is_ok_and(|depth| depth > 0)
        || std::thread::current().name().is_some_and(|name| name.starts_with(THREAD_PREFIX))
}

/// The process that made a handle. A forked child has the handle's memory, but none of the threads behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner(u32);

impl Owner {
    /// The present process.
    pub(super) fn current() -> Self {
        Self(std::process::id())
    }

    /// The process of this id.
    pub(super) fn process(pid: u32) -> Self {
        Self(pid)
    }

    /// Whether the present process is another one than the handle's.
    pub(super) fn is_other_process(self) -> bool {
        self != Self::current()
    }
}

/// A handle that is of use only in the process that made it.
pub(super) trait Live {
    /// The process that made it.
    fn owner(&self) -> Owner;
}
