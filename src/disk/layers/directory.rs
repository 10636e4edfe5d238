//! Stub.
use std::fs::File;
use std::path::Path;
use super::error::LayerError;
use super::{BuildLimits, BuildReport, ProgressFn};
pub(super) fn build(_dir: &Path, _out: &File, _limits: &BuildLimits, _progress: &mut ProgressFn<'_>) -> Result<BuildReport, LayerError> {
    Err(LayerError::Bug("not yet"))
}
