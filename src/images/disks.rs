//! Disks of images and of plain directories: built once, named by what they are made of, never changed.
//!
//! Owns `disks/`; the file format is the disk module's. A disk under its final name is complete.

use std::fs::{File, Permissions};
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::blobs::sync_parent;
use super::fetch::Abandon;
use super::flight::FlightSinks;
use super::image::{ImageDisk, StoredImage};
use super::manifest::LayerFormat;
use super::progress::{ImageProgress, ImageStage, ProgressSink};
use super::stamp::directory_stamp;
use super::store::{ImageStore, Inner};
use crate::disk::layers::{
    BuildLimits, LayerCompression, LayerSource, Progress, build_directory_disk, build_image_disk,
};
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::executor::blocking;
use crate::model::digest::Digest;

/// How often a directory may change while its disk is built.
const DIRECTORY_ATTEMPTS: usize = 3;

/// What a disk is made of.
#[derive(Clone)]
enum Material {
    Image(Arc<StoredImage>),
    Directory(PathBuf),
}

/// How names of directories' disks begin.
pub(super) const DIRECTORY_DISK: &str = "dir-";

pub(super) fn directory_disk_path(disks: &Path, stamp: &Digest) -> PathBuf {
    disks.join(format!("{DIRECTORY_DISK}{}.erofs", stamp.hex()))
}

pub(super) fn disk_path(disks: &Path, manifest: &Digest) -> PathBuf {
    disks.join(format!("{}.erofs", manifest.hex()))
}

impl ImageStore {
    /// The disk of a stored image; built when it is missing.
    pub async fn disk(&self, image: &StoredImage, progress: &ProgressSink) -> BoxliteResult<ImageDisk> {
        let path = disk_path(&self.0.disks_dir(), &image.manifest_digest);
        let material = Material::Image(Arc::new(image.clone()));
        self.disk_of(material, image.reference.clone(), image.manifest_digest, path, progress).await
    }

    /// The disk of a directory as it is now; built anew when anything in it changed.
    pub async fn ensure_rootfs_dir(&self, dir: &Path, progress: &ProgressSink) -> BoxliteResult<ImageDisk> {
        for _ in 0..DIRECTORY_ATTEMPTS {
            let (root, stamp) = self.stamp(dir).await?;
            let path = directory_disk_path(&self.0.disks_dir(), &stamp);
            let name = root.display().to_string();
            let material = Material::Directory(root);
            let disk = self.disk_of(material, name, stamp, path.clone(), progress).await?;
            if !disk.built || self.stamp(dir).await?.1 == stamp {
                return Ok(disk);
            }
            // Written while it was read: the disk may hold half of a change.
            super::blobs::remove_if_there(&path)?;
        }
        Err(BoxliteError::Busy(
            Detail::new(format!("the directory {} keeps changing while its disk is built", dir.display()))
                .subject(dir.display().to_string())
                .hint("let whatever writes to the directory finish first"),
        ))
    }

    async fn stamp(&self, dir: &Path) -> BoxliteResult<(PathBuf, Digest)> {
        let (dir, store) = (dir.to_owned(), self.0.dir.clone());
        blocking(move || {
            let named = |error: &std::io::Error| match error.kind() {
                std::io::ErrorKind::NotFound => BoxliteError::NotFound(
                    Detail::new(format!("there is no directory {}", dir.display()))
                        .subject(dir.display().to_string())
                        .hint("check the rootfs path"),
                ),
                _ => BoxliteError::io("open", &dir, error),
            };
            let root = dir.canonicalize().map_err(|error| named(&error))?;
            let store = store.canonicalize().map_err(|error| BoxliteError::io("open", &store, &error))?;
            if store.starts_with(&root) {
                return Err(BoxliteError::InvalidArgument(
                    Detail::new(format!(
                        "the rootfs directory {} holds the image store {}",
                        root.display(),
                        store.display()
                    ))
                    .subject(root.display().to_string())
                    .hint("choose a directory that does not contain the home"),
                ));
            }
            let stamp = directory_stamp(&root)?;
            Ok((root, stamp))
        })
        .await
    }

    async fn disk_of(
        &self,
        material: Material,
        reference: String,
        digest: Digest,
        path: PathBuf,
        progress: &ProgressSink,
    ) -> BoxliteResult<ImageDisk> {
        let started = Instant::now();
        if let Some(disk) = existing(&path, digest, started) {
            return Ok(disk);
        }
        let inner = Arc::clone(&self.0);
        let key = format!("disk {digest}");
        self.0
            .builds
            .join(&key, progress, |sinks| build(inner, material, reference, digest, path, sinks))
            .await
    }
}

fn existing(path: &Path, digest: Digest, started: Instant) -> Option<ImageDisk> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    metadata.is_file().then(|| ImageDisk {
        path: path.to_owned(),
        bytes: metadata.len(),
        manifest_digest: digest,
        built: false,
        took: started.elapsed(),
    })
}

async fn build(
    inner: Arc<Inner>,
    material: Material,
    reference: String,
    digest: Digest,
    path: PathBuf,
    sinks: FlightSinks,
) -> BoxliteResult<ImageDisk> {
    let started = Instant::now();
    let lock = format!("disk-{}", digest.hex());
    let guard = inner.locks.acquire_behind_work(&lock, &format!("building the disk of {reference}")).await?;
    if let Some(disk) = existing(&path, digest, started) {
        return Ok(disk);
    }
    let tell = move |stage| sinks.emit(&ImageProgress { reference: reference.clone(), stage, layer: None });
    tell(ImageStage::BuildingDisk);
    let (_abandon, abandoned) = Abandon::new();
    let finished = path.clone();
    let work = move || {
        let temporary = inner.tmp_dir().join(format!("{lock}.tmp"));
        let mut go_on = || {
            guard.progress();
            if abandoned.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let built = write_disk(&inner, &material, &temporary, &path, &mut go_on);
        if built.is_err() {
            // The lock is still held: nobody else writes this file.
            let _ = std::fs::remove_file(&temporary);
        }
        built.map_err(|error| explain(&inner, &material, error))
    };
    let bytes = blocking(work).await?;
    tell(ImageStage::Done);
    Ok(ImageDisk { path: finished, bytes, manifest_digest: digest, built: true, took: started.elapsed() })
}

/// Writes the disk under a temporary name, then gives it its own. Returns its length.
fn write_disk(
    inner: &Inner,
    material: &Material,
    temporary: &Path,
    path: &Path,
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
) -> BoxliteResult<u64> {
    let limits =
        BuildLimits { max_layer_bytes: inner.limits.max_layer_bytes, max_entries: inner.limits.max_entries };
    let mut progress = |_: Progress| go_on();
    match material {
        Material::Image(image) => {
            let layers: Vec<LayerSource> = image
                .layers
                .iter()
                .map(|layer| LayerSource {
                    path: inner.blobs.path(&layer.digest),
                    compression: match layer.format {
                        LayerFormat::Tar => LayerCompression::None,
                        LayerFormat::TarGzip => LayerCompression::Gzip,
                        LayerFormat::TarZstd => LayerCompression::Zstd,
                    },
                    diff_id: Some(layer.diff_id.bytes()),
                    label: layer.digest.to_string(),
                })
                .collect();
            build_image_disk(&layers, temporary, &limits, &mut progress)?;
        }
        Material::Directory(dir) => {
            build_directory_disk(dir, temporary, &limits, &mut progress)?;
        }
    }
    finish(temporary, path).map_err(|error| BoxliteError::io("finish", path, &error))
}

fn finish(temporary: &Path, path: &Path) -> std::io::Result<u64> {
    let file = File::options().read(true).write(true).open(temporary)?;
    file.set_permissions(Permissions::from_mode(0o444))?;
    file.sync_all()?;
    std::fs::rename(temporary, path)?;
    sync_parent(path)?;
    Ok(file.metadata()?.len())
}

/// A layer that can't be read may have been damaged on this disk since it was verified: then it goes, so that the
/// next pull fetches it again.
fn explain(inner: &Inner, material: &Material, error: BoxliteError) -> BoxliteError {
    let Material::Image(image) = material else { return error };
    if !matches!(error, BoxliteError::Image(_)) {
        return error;
    }
    let damaged: Vec<String> = image
        .layers
        .iter()
        .filter(|layer| !inner.blobs.is_intact(&layer.digest))
        .filter(|layer| inner.blobs.remove(&layer.digest).is_ok())
        .map(|layer| layer.digest.to_string())
        .collect();
    if damaged.is_empty() {
        return error;
    }
    BoxliteError::Storage(
        Detail::new(format!(
            "{}; stored layers were damaged and are removed: {}",
            *error.detail(),
            damaged.join(", ")
        ))
        .subject(image.reference.clone())
        .hint("pull the image again"),
    )
}
