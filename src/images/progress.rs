//! What a caller is told while an image is fetched and its disk is built.
//!
//! Owns the events and the sink they go to; never decides anything.

use std::fmt;
use std::sync::Arc;

use crate::model::digest::Digest;

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageStage {
    /// The reference is turned into a manifest.
    Resolving,
    /// Config and layers are fetched.
    Pulling,
    /// The layers are written to one disk.
    BuildingDisk,
    /// Nothing is left to do.
    Done,
}

/// How far one layer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerProgress {
    /// Which layer.
    pub digest: Digest,
    /// Bytes present.
    pub done_bytes: u64,
    /// Bytes it has.
    pub total_bytes: u64,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageProgress {
    /// The normalised reference, or the directory.
    pub reference: String,
    /// What is being done.
    pub stage: ImageStage,
    /// The layer this event is about, while pulling.
    pub layer: Option<LayerProgress>,
}

type Callback = Arc<dyn Fn(&ImageProgress) + Send + Sync>;

/// Where events go; it may be nowhere. It is called on a thread of the runtime and must not block.
#[derive(Clone, Default)]
pub struct ProgressSink(Option<Callback>);

impl ProgressSink {
    /// A sink that drops everything.
    pub fn none() -> Self {
        Self(None)
    }

    /// A sink that calls `callback`.
    pub fn new(callback: impl Fn(&ImageProgress) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(callback)))
    }

    /// Hands one event over.
    pub fn emit(&self, progress: &ImageProgress) {
        if let Some(callback) = &self.0 {
            callback(progress);
        }
    }
}

impl fmt::Debug for ProgressSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "ProgressSink(callback)" } else { "ProgressSink(none)" })
    }
}
