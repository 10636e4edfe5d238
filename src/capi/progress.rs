//! What a progress callback is shown, and how often.
//!
//! Owns the snapshot and its rate. Events come from threads of the runtime; the callback runs on the caller's.

use std::ffi::{CString, c_char, c_void};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::argument::{c_string, field, pointer};
use super::call::Callback;
use crate::images::{Digest, ImageProgress, ImageStage, LayerProgress, ProgressSink};

/// At most 20 reports a second.
const INTERVAL: Duration = Duration::from_millis(50);

/// How far a call is. Lent to a progress callback until it returns; never freed.
///
/// @ingroup progress
pub struct boxlite_progress {
    stage: CString,
    reference: CString,
    layers: Vec<Layer>,
}

struct Layer {
    digest: CString,
    done_bytes: u64,
    total_bytes: u64,
}

/// Told how far a call is. Return 0 to go on, anything else to cancel the call.
///
/// @ingroup progress
pub type boxlite_progress_fn =
    Option<unsafe extern "C" fn(progress: *const boxlite_progress, user: *mut c_void) -> i32>;

/// What the events so far add up to.
#[derive(Default)]
struct State {
    stage: Option<ImageStage>,
    reference: String,
    layers: Vec<LayerProgress>,
}

impl State {
    fn take_in(&mut self, event: &ImageProgress) {
        self.stage = Some(event.stage);
        self.reference.clone_from(&event.reference);
        if let Some(layer) = event.layer {
            match self.layers.iter_mut().find(|known| known.digest == layer.digest) {
                Some(known) => *known = layer,
                None => self.layers.push(layer),
            }
        }
    }

    fn snapshot(&self, stage: &'static str) -> boxlite_progress {
        let layer = |layer: &LayerProgress| Layer {
            digest: digest_text(&layer.digest),
            done_bytes: layer.done_bytes,
            total_bytes: layer.total_bytes,
        };
        boxlite_progress {
            stage: c_string(stage),
            reference: c_string(self.reference.as_str()),
            layers: self.layers.iter().map(layer).collect(),
        }
    }
}

fn digest_text(digest: &Digest) -> CString {
    c_string(digest.to_string())
}

fn stage_name(stage: ImageStage) -> &'static str {
    match stage {
        ImageStage::Resolving => "resolve",
        ImageStage::Pulling => "pull",
        ImageStage::BuildingDisk => "image-disk",
        // The image is there: what follows is the virtual machine.
        ImageStage::Done => "boot",
    }
}

/// Whether the callback wants the call to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    GoOn,
    Cancel,
}

/// Carries events from the runtime to the waiting caller.
pub(super) struct Reporter {
    callback: Callback,
    state: Arc<Mutex<State>>,
    wake: Sender<()>,
    changed: Receiver<()>,
    unreported: bool,
    next: Instant,
}

impl Reporter {
    pub(super) fn new(callback: Callback) -> Self {
        // One token: it says that something is new, the state says what.
        let (wake, changed) = bounded(1);
        let state = Arc::default();
        Self { callback, state, wake, changed, unreported: false, next: Instant::now() }
    }

    /// Where the operation reports to.
    pub(super) fn sink(&self) -> ProgressSink {
        if self.callback.function.is_none() {
            return ProgressSink::none();
        }
        let (state, wake) = (Arc::clone(&self.state), self.wake.clone());
        ProgressSink::new(move |event| {
            state.lock().unwrap_or_else(PoisonError::into_inner).take_in(event);
            // Full: the caller has yet to look, and will see this event as well.
            let _ = wake.try_send(());
        })
    }

    /// Has a token when there is news. It is never disconnected while `self` lives.
    pub(super) fn changed(&self) -> &Receiver<()> {
        &self.changed
    }

    pub(super) fn note_change(&mut self) {
        self.unreported = true;
    }

    /// When `report_if_due` has something to do.
    pub(super) fn next_report(&self) -> Option<Instant> {
        self.unreported.then_some(self.next)
    }

    pub(super) fn report_if_due(&mut self) -> Verdict {
        let now = Instant::now();
        if !self.unreported || now < self.next {
            return Verdict::GoOn;
        }
        self.unreported = false;
        self.next = now + INTERVAL;
        let snapshot = {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.snapshot(state.stage.map_or("prepare", stage_name))
        };
        self.call(&snapshot)
    }

    /// The last report, whatever the rate.
    pub(super) fn finish(&mut self, succeeded: bool) {
        let stage = if succeeded { "done" } else { "failed" };
        let snapshot = self.state.lock().unwrap_or_else(PoisonError::into_inner).snapshot(stage);
        // The operation has ended: there is nothing left to cancel.
        let _ = self.call(&snapshot);
    }

    fn call(&self, snapshot: &boxlite_progress) -> Verdict {
        let Some(function) = self.callback.function else { return Verdict::GoOn };
        // SAFETY: the caller gave this function for this purpose; the snapshot outlives the call; no lock is held.
        match unsafe { function(snapshot, self.callback.user) } {
            0 => Verdict::GoOn,
            _ => Verdict::Cancel,
        }
    }
}

/// What is being done: "prepare", "resolve", "pull", "image-disk", "boot"; and in the last report of a call "done" when it
/// succeeded, else "failed", also when it was cut off. Later versions may have more.
///
/// Valid until the callback returns; NULL when `progress` is NULL. Any thread; does not block.
///
/// @ingroup progress
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_progress_stage(progress: *const boxlite_progress) -> *const c_char {
    // SAFETY: the caller passes NULL or what its callback was lent.
    unsafe { field(progress, std::ptr::null(), |progress| progress.stage.as_ptr()) }
}

/// The image this is about, as a full reference; "" as long as it is not known.
///
/// Valid until the callback returns; NULL when `progress` is NULL. Any thread; does not block.
///
/// @ingroup progress
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_progress_reference(progress: *const boxlite_progress) -> *const c_char {
    // SAFETY: the caller passes NULL or what its callback was lent.
    unsafe { field(progress, std::ptr::null(), |progress| progress.reference.as_ptr()) }
}

/// How many of the image's layers are known so far; 0 when `progress` is NULL. Any thread; does not block.
///
/// @ingroup progress
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_progress_layer_len(progress: *const boxlite_progress) -> usize {
    // SAFETY: the caller passes NULL or what its callback was lent.
    unsafe { field(progress, 0, |progress| progress.layers.len()) }
}

/// The digest of layer `index`, such as "sha256:9f86…".
///
/// Valid until the callback returns; NULL when `index` is out of range or `progress` is NULL. Any thread; does not
/// block.
///
/// @ingroup progress
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_progress_layer_digest(
    progress: *const boxlite_progress,
    index: usize,
) -> *const c_char {
    // SAFETY: the caller passes NULL or what its callback was lent.
    unsafe {
        field(progress, std::ptr::null(), |progress| {
            pointer(progress.layers.get(index).map(|layer| &layer.digest))
        })
    }
}

/// How many bytes of layer `index` are present; 0 when `index` is out of range or `progress` is NULL. Any thread; does
/// not block.
///
/// @ingroup progress
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_progress_layer_done_bytes(
    progress: *const boxlite_progress,
    index: usize,
) -> u64 {
    // SAFETY: the caller passes NULL or what its callback was lent.
    unsafe { field(progress, 0, |progress| progress.layers.get(index).map_or(0, |layer| layer.done_bytes)) }
}

/// How many bytes layer `index` has; 0 when `index` is out of range or `progress` is NULL. Any thread; does not block.
///
/// @ingroup progress
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_progress_layer_total_bytes(
    progress: *const boxlite_progress,
    index: usize,
) -> u64 {
    // SAFETY: the caller passes NULL or what its callback was lent.
    unsafe { field(progress, 0, |progress| progress.layers.get(index).map_or(0, |layer| layer.total_bytes)) }
}
