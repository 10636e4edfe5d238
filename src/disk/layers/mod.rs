//! From an image's layers, or a directory, to one read-only EROFS disk.
//!
//! Layers are read from the top down, each once: data goes to the disk as it streams by, what upper layers hide is
//! passed over, and what each layer says is kept as a journal. From the journals the tree is made, bottom layer
//! first, by the rules of the OCI image specification. Should a file then be needed that was passed over (a hard link
//! can keep one whose own name is gone), its layer is read again for it.
//!
//! Needs no privileges, runs no program, holds no file's data; blocks, so call it where that is allowed. What layers
//! may hold and what is refused is said in [`build_image_disk`].

mod assemble;
mod build;
mod directory;
mod entries;
mod error;
mod inodes;
mod journal;
mod path;
mod progress;
mod shadow;
mod source;
mod tree;

use std::fmt;
use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use self::error::LayerError;
use crate::errors::{BoxliteError, BoxliteResult, Detail};

/// Size that every image disk pretends to have, if what it holds fits: so any image fits a device of a machine that was
/// started before the image was known. Larger images have the next power of two.
pub const IMAGE_DISK_BYTES: u64 = 8 << 30;

/// How a layer's tar archive is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LayerCompression {
    None,
    Gzip,
    Zstd,
}

impl LayerCompression {
    /// By the first bytes of the data.
    fn of_magic(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

impl fmt::Display for LayerCompression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "uncompressed tar",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// One layer of an image.
#[derive(Clone, Debug)]
pub struct LayerSource {
    /// The blob.
    pub path: PathBuf,
    /// By the media type; data of another kind is refused.
    pub compression: LayerCompression,
    /// SHA-256 of the uncompressed archive, verified if it is known.
    pub diff_id: Option<[u8; 32]>,
    /// What errors call the layer: its digest.
    pub label: String,
}

/// What an image may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildLimits {
    /// Uncompressed bytes of a layer, and bytes that it may take on the disk.
    pub max_layer_bytes: u64,
    /// Entries of all layers together; each costs some 200 bytes of memory. Twice as many names may come of them
    /// (paths imply directories), and their paths, links and directories' attributes may take 256 bytes each on
    /// average.
    pub max_entries: u64,
}

impl BuildLimits {
    fn max_names(&self) -> usize {
        usize::try_from(self.max_entries.min(u64::from(u32::MAX >> 2)) * 2 + 1000).unwrap_or(usize::MAX)
    }

    fn metadata_bytes(&self) -> u64 {
        self.max_entries.saturating_mul(256).saturating_add(1 << 20)
    }
}

impl Default for BuildLimits {
    fn default() -> Self {
        Self { max_layer_bytes: 64 << 30, max_entries: 4_000_000 }
    }
}

/// How far a build is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Compressed bytes read, of all layers; of a directory the bytes of its files.
    pub bytes_done: u64,
    /// Bytes to read in all; 0 while that is not known.
    pub bytes_total: u64,
    /// Entries seen.
    pub entries: u64,
}

/// What was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BuildReport {
    /// Size of the disk as a machine sees it.
    pub disk_bytes: u64,
    /// Bytes of it that the image takes.
    pub image_bytes: u64,
    /// Entries of all layers.
    pub entries: u64,
    /// Names in the finished tree.
    pub names: u64,
    /// Regular files whose data was written.
    pub files_written: u64,
    /// Regular files that upper layers hide, passed over.
    pub files_skipped: u64,
    /// Layers read a second time for files that had been passed over.
    pub layers_reread: u64,
    /// Extended attributes left out: EROFS has no place for their namespace, or they would steer the guest's overlay.
    pub xattrs_dropped: u64,
}

/// Called between pieces of work; `Break` cancels.
pub type ProgressFn<'a> = dyn FnMut(Progress) -> ControlFlow<()> + 'a;

/// Builds the disk of an image from its layers, bottom layer first, into the file `out`.
///
/// `out` is created or truncated; after an error it is gone. The same layers give the same bytes.
///
/// Paths and hard links' targets are relative to the image's root: an absolute one (but for `/`, the root itself) is an
/// error, as is a `..` that leads out of the root. The directory part of a path is resolved through the image's own
/// symlinks (also through those of lower layers), an absolute target from the image's root; a target whose `..` leads
/// out of the root is an error. A missing directory is made (mode 0755, root, mtime 0).
///
/// An entry takes the place of what lower layers have, never of what its own layer has: a path that one layer names
/// twice, in whatever spelling or through whatever symlinks, is an error, and so is one that names no directory but has
/// entries below it. A directory may be named again, its last attributes count. Whiteouts hide what lower layers have,
/// wherever they stand in their layer, also beside an entry of the same path. Hard links must lead to a name that
/// exists at that point.
///
/// Attributes `trusted.overlay.*` are left out: they would steer the guest's overlay file system. A character device
/// 0:0 is stored as it is, although overlayfs takes one for a whiteout in every layer: in a box its name cannot be
/// opened, as under any container runtime that mounts layers with overlayfs.
///
/// # Errors
/// `Image` (damaged, truncated or malformed layer, wrong diff id; the subject is the layer's label),
/// `ResourceExhausted` (a limit, or a full disk), `Storage` (the blob or `out` cannot be used), `Cancelled`.
pub fn build_image_disk(
    layers: &[LayerSource],
    out: &Path,
    limits: &BuildLimits,
    progress: &mut ProgressFn<'_>,
) -> BoxliteResult<BuildReport> {
    with_output(out, |file| build::build(layers, file, limits, progress))
}

/// Builds a disk that holds what the directory `dir` holds, into the file `out`.
///
/// Stays on the directory's file system: of other mounts in it, only the mount point. Owners are kept, but files of
/// the calling user belong to root in the disk unless the caller is root (who can only read what is its own anyway).
///
/// # Errors
/// As [`build_image_disk`]; a file that cannot be read is a `Storage` error that names it.
pub fn build_directory_disk(
    dir: &Path,
    out: &Path,
    limits: &BuildLimits,
    progress: &mut ProgressFn<'_>,
) -> BoxliteResult<BuildReport> {
    let label = dir.display().to_string();
    with_output(out, |file| {
        directory::build(dir, file, limits, progress).map_err(|error| (error, label.clone()))
    })
}

/// What went wrong, and the label of what it went wrong with.
type Failure = (LayerError, String);

/// Runs `work` on the new file `out`, extends it to its full size, and removes it if anything fails.
fn with_output(
    out: &Path,
    work: impl FnOnce(&File) -> Result<BuildReport, Failure>,
) -> BoxliteResult<BuildReport> {
    let create = |error| BoxliteError::io("create the image disk", out, &error);
    let file = File::create(out).map_err(create)?;
    if !file.metadata().map_err(create)?.is_file() {
        // Never removed: somebody else's device or FIFO.
        let text = format!("cannot write the image disk to {}: it is not a regular file", out.display());
        return Err(BoxliteError::Storage(Detail::new(text).subject(out.display().to_string())));
    }
    let built =
        work(&file).map_err(|(error, label)| error.into_boxlite(&label, out)).and_then(|mut report| {
            report.disk_bytes = disk_bytes(report.image_bytes);
            file.set_len(report.disk_bytes)
                .map_err(|error| BoxliteError::io("extend the image disk", out, &error))?;
            Ok(report)
        });
    if built.is_err() {
        // The first error is the one to tell; what cannot be removed was not writable either.
        let _ = std::fs::remove_file(out);
    }
    built
}

fn disk_bytes(image_bytes: u64) -> u64 {
    image_bytes.next_power_of_two().max(IMAGE_DISK_BYTES)
}
