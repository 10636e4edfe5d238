//! Tells the caller how far a build is, now and then, and hears whether to go on.
//!
//! Owns how often; never measures anything itself.

use std::ops::ControlFlow;

use super::error::LayerError;
use super::{Progress, ProgressFn};

/// Bytes between two calls of the progress function.
pub(super) const TICK_BYTES: u64 = 4 << 20;
/// Entries between two calls of the progress function.
pub(super) const TICK_ENTRIES: u64 = 1024;

pub(super) struct Meter<'w, 'p> {
    progress: &'w mut ProgressFn<'p>,
    now: Progress,
    told: Progress,
}

impl<'w, 'p> Meter<'w, 'p> {
    pub(super) fn new(progress: &'w mut ProgressFn<'p>, bytes_total: u64) -> Self {
        let start = Progress { bytes_done: 0, bytes_total, entries: 0 };
        Self { progress, now: start, told: start }
    }

    /// Takes the present counts, and tells them if much has happened since they were last told.
    pub(super) fn tick(&mut self, bytes: u64, entries: u64) -> Result<(), LayerError> {
        self.note(bytes, entries);
        let due = self.now.bytes_done - self.told.bytes_done >= TICK_BYTES
            || entries - self.told.entries >= TICK_ENTRIES;
        if due { self.tell() } else { Ok(()) }
    }

    /// Takes the counts over without telling them.
    pub(super) fn note(&mut self, bytes: u64, entries: u64) {
        self.now.entries = entries;
        self.now.bytes_done = if self.now.bytes_total > 0 { bytes.min(self.now.bytes_total) } else { bytes };
    }

    /// Tells the latest counts.
    pub(super) fn tell(&mut self) -> Result<(), LayerError> {
        self.told = self.now;
        match (self.progress)(self.now) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(LayerError::Cancelled),
        }
    }
}
