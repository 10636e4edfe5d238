//! What can be wrong with a layer, by name, and how it is told to the caller.
//!
//! Owns the texts and remedies; never decides what is an error.

use std::io;
use std::path::Path;

use boxlite_archive::TarError;

use super::LayerCompression;
use crate::disk::erofs::ErofsError;
use crate::errors::{BoxliteError, Detail};

/// Why the layers could not be made into a disk.
#[derive(Debug, thiserror::Error)]
pub(super) enum LayerError {
    #[error("cannot read the layer: {0}")]
    Read(io::Error),
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    #[error("the layer is declared as {declared} but its data is {found}")]
    WrongCompression { declared: LayerCompression, found: LayerCompression },
    #[error("the {format} data is damaged: {reason}")]
    Damaged { format: LayerCompression, reason: String },
    #[error("the {format} data ends too early")]
    Truncated { format: LayerCompression },
    #[error("the gzip data is followed by bytes that are no gzip member")]
    GarbageAfterGzip,
    #[error(transparent)]
    Tar(#[from] TarError),
    #[error("its uncompressed data has the digest sha256:{found}, its diff id is sha256:{expected}")]
    DiffId { expected: String, found: String },
    #[error("it holds more than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("the layers have more than {limit} entries")]
    TooManyEntries { limit: u64 },
    #[error("the layers' paths, links and directories' attributes take more than {limit} bytes of memory")]
    TooMuchMetadata { limit: u64 },
    #[error("entry `{}`: {problem}", shown(path))]
    Entry { path: Vec<u8>, problem: EntryProblem },
    #[error("the layer changed while it was being read")]
    Changed,
    #[error(transparent)]
    Disk(#[from] ErofsError),
    #[error("the build was cancelled")]
    Cancelled,
    #[error("{0}")]
    Bug(&'static str),
}

/// What is wrong with one entry.
#[derive(Debug, thiserror::Error)]
pub(super) enum EntryProblem {
    #[error("its path leads out of the root by `..`")]
    Escapes,
    #[error("its path is absolute; paths in a layer are relative to the image's root")]
    Absolute,
    #[error("its path leads out of the root through a symbolic link with `..`")]
    SymlinkEscapes,
    #[error("it appears twice in the layer: an earlier entry has the same path or lies below it")]
    Duplicate,
    #[error("its path is longer than {} bytes", super::path::MAX_PATH)]
    PathTooLong,
    #[error("a name in its path is longer than 255 bytes")]
    NameTooLong,
    #[error("its path holds a NUL byte")]
    Nul,
    #[error("its path lies more than {} directories deep", super::tree::MAX_DEPTH)]
    TooDeep,
    #[error("the root can only be a directory")]
    RootType,
    #[error("it is a whiteout without a name")]
    EmptyWhiteout,
    #[error("its hard link target `{}` leads out of the root by `..`", .0.escape_ascii())]
    LinkEscapes(Vec<u8>),
    #[error("its hard link target `{}` is absolute; targets are relative to the image's root", .0.escape_ascii())]
    LinkAbsolute(Vec<u8>),
    #[error("its link target is not a valid path")]
    LinkPath,
    #[error("its hard link target `{}` does not exist", .0.escape_ascii())]
    LinkMissing(Vec<u8>),
    #[error("its hard link target `{}` is a directory", .0.escape_ascii())]
    LinkToDirectory(Vec<u8>),
    #[error("its symlink target is empty, has a NUL byte or more than 4095 bytes")]
    SymlinkTarget,
    #[error("a part of its path is not a directory")]
    ParentNotDirectory,
    #[error("its path leads through too many symbolic links")]
    SymlinkLoop,
    #[error("the layers' paths lead through symbolic links too often")]
    TooManySteps,
    #[error("the tree has more than {limit} names, directories that only paths imply included")]
    TooManyNames { limit: usize },
    #[error("{0}")]
    Attributes(ErofsError),
    #[error("cannot {action} it: {error}")]
    Host { action: &'static str, error: io::Error },
    #[error("it changed while it was being read")]
    Changed,
}

impl EntryProblem {
    /// This problem, of the entry at `path`.
    pub(super) fn at(self, path: &[u8]) -> LayerError {
        LayerError::Entry { path: path.to_vec(), problem: self }
    }
}

impl LayerError {
    /// What the caller is told: about which layer (`label`), or about the disk at `out`.
    pub(super) fn into_boxlite(self, label: &str, out: &Path) -> BoxliteError {
        match self {
            Self::Disk(ErofsError::Io(error)) => BoxliteError::io("write the image disk", out, &error),
            Self::Cancelled => {
                BoxliteError::Cancelled(Detail::new("the image disk's build was cancelled").subject(label))
            }
            Self::Bug(text) => BoxliteError::Internal(Detail::new(text).subject(label)),
            Self::Thread(_) => BoxliteError::ResourceExhausted(
                detail(&self, label).hint("raise the limit on this user's processes and threads (ulimit -u)"),
            ),
            Self::TooLarge { .. } => BoxliteError::ResourceExhausted(
                detail(&self, label).hint("raise the limit on a layer's size if this image is to be trusted"),
            ),
            Self::TooManyEntries { .. }
            | Self::TooMuchMetadata { .. }
            | Self::Entry { problem: EntryProblem::TooManyNames { .. }, .. } => {
                BoxliteError::ResourceExhausted(
                    detail(&self, label).hint("raise the limit on entries if this image is to be trusted"),
                )
            }
            Self::Read(ref error) => {
                let mut detail = detail(&self, label).hint("pull the image again");
                if let Some(errno) = error.raw_os_error() {
                    detail = detail.errno(errno);
                }
                BoxliteError::Storage(detail)
            }
            Self::Entry { problem: EntryProblem::Host { ref error, .. }, .. } => {
                let mut detail = detail(&self, label)
                    .hint("make every file of the directory readable to this user, or leave it out");
                if let Some(errno) = error.raw_os_error() {
                    detail = detail.errno(errno);
                }
                BoxliteError::Storage(detail)
            }
            Self::WrongCompression { .. } => BoxliteError::Image(
                detail(&self, label)
                    .hint("the image's manifest names a wrong media type: push the image again"),
            ),
            Self::Truncated { .. } | Self::Damaged { .. } | Self::DiffId { .. } | Self::Changed => {
                BoxliteError::Image(detail(&self, label).hint("remove the image and pull it again"))
            }
            _ => BoxliteError::Image(
                detail(&self, label).hint("the layer is malformed: build the image again with another tool"),
            ),
        }
    }
}

/// A path in messages; the root's own is empty.
fn shown(path: &[u8]) -> std::slice::EscapeAscii<'_> {
    if path.is_empty() { b"/".escape_ascii() } else { path.escape_ascii() }
}

fn detail(error: &LayerError, label: &str) -> Detail {
    Detail::new(format!("{label}: {error}")).subject(label)
}
