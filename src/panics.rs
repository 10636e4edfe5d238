//! A panic of ours as an error that says where it came from.
//!
//! Owns what a panic hook has noted, on the thread that panicked; so a panic has to be turned into an error on that
//! thread. Installs no hook: that is the C API's.

use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};

use futures::FutureExt;

use crate::errors::{BoxliteError, BoxliteResult, Detail};

thread_local! {
    /// Text and place of this thread's last panic, from the hook to whoever caught it.
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Notes text and place of a panic, for [`error`]. For a panic hook.
pub(crate) fn remember(info: &PanicHookInfo<'_>) {
    let text = payload_text(info.payload());
    let told = info.location().map_or_else(|| text.to_owned(), |place| format!("{text} ({place})"));
    // Fails only while the thread ends; then nobody asks for the text.
    let _ = LAST.try_with(|last| *last.borrow_mut() = Some(told));
}

/// The error for a panic that was caught on this thread.
pub(crate) fn error(payload: Box<dyn Any + Send>) -> BoxliteError {
    let told = LAST.try_with(|last| last.borrow_mut().take()).ok().flatten();
    let text = told.unwrap_or_else(|| payload_text(payload.as_ref()).to_owned());
    // A payload may panic when dropped, and nothing would catch that.
    std::mem::forget(payload);
    BoxliteError::Panic(Detail::new(text))
}

/// `work`, whose panic is an error.
///
/// Unwind safety: what a panic leaves half done lies behind locks that are poisoned, or is not reached again.
pub(crate) async fn caught<T>(work: impl Future<Output = BoxliteResult<T>>) -> BoxliteResult<T> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|payload| Err(error(payload)))
}

/// Blocking `work`, whose panic is an error.
pub(crate) fn caught_blocking<T>(work: impl FnOnce() -> BoxliteResult<T>) -> BoxliteResult<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| Err(error(payload)))
}

fn payload_text(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "a panic without a text"
    }
}
