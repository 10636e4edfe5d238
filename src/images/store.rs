//! The image store: a directory of files that any number of homes and processes share.
//!
//! Owns the directory's layout, what "stored" means, and removal. It holds no state of its own beyond the files:
//! `blobs/sha256/HEX` (verified content), `refs/HASH.json` (reference → manifest, written last), `disks/`
//! (one read-only disk per manifest), `locks/` and `tmp/` (only while somebody works).

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::sync::Semaphore;

use super::access::Access;
use super::blobs::{Blobs, remove_if_there, write_file};
use super::config::ImageConfig;
use super::flight::Flights;
use super::image::{ImageDisk, ImageLimits, LayerDescriptor, StoredImage};
use super::manifest::{Document, ImageManifest};
use super::progress::ProgressSink;
use super::pull::{Target, pull};
use super::reference::{ImageSource, check_registry};
use super::refs::{Record, Refs};
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::executor::blocking;
use crate::lock::{LockGuard, Locks};
use crate::model::digest::Digest;
use crate::model::registry::ImageRegistry;

/// The version of the directory's layout; a newer one is refused.
const FORMAT: u64 = 1;
const FORMAT_FILE: &str = "boxlite-images.json";
/// Partial blobs that nobody has come back for.
const PARTIAL_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// The images of one or many homes. Clones share everything.
#[derive(Clone, Debug)]
pub struct ImageStore(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub dir: PathBuf,
    pub blobs: Blobs,
    pub refs: Refs,
    pub locks: Locks,
    pub registries: Vec<ImageRegistry>,
    pub access: Access,
    pub limits: ImageLimits,
    /// Bounds the transfers of all pulls together.
    pub transfers: Semaphore,
    pub pulls: Flights<StoredImage>,
    pub builds: Flights<ImageDisk>,
}

impl Inner {
    pub(super) fn tmp_dir(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    pub(super) fn disks_dir(&self) -> PathBuf {
        self.dir.join("disks")
    }

    /// Held, briefly, by whoever writes or removes records and by whoever removes blobs.
    pub(super) async fn lock_records(&self, operation: &str) -> BoxliteResult<LockGuard> {
        self.locks.acquire("store", operation).await
    }

    /// The image of a record; `None` when not all of it is there.
    pub(super) fn load(&self, record: &Record) -> Option<StoredImage> {
        let manifest = self.manifest(&record.manifest)?;
        let config = ImageConfig::parse(&self.blobs.document(&manifest.config.digest)?, "stored").ok()?;
        if config.diff_ids.len() != manifest.layers.len()
            || !manifest.layers.iter().all(|layer| self.blobs.has(&layer.blob))
        {
            return None;
        }
        let layers = manifest.layers.iter().zip(&config.diff_ids).map(|(layer, diff_id)| LayerDescriptor {
            digest: layer.blob.digest,
            size: layer.blob.size,
            format: layer.format,
            diff_id: *diff_id,
        });
        let layers: Vec<LayerDescriptor> = layers.collect();
        Some(StoredImage {
            reference: record.reference.clone(),
            repository: record.repository.clone(),
            tag: record.tag.clone(),
            manifest_digest: record.manifest,
            config_digest: manifest.config.digest,
            size_bytes: layers.iter().map(|layer| layer.size).sum::<u64>() + manifest.config.size,
            layers,
            config,
            created: record.stored_at,
        })
    }

    fn manifest(&self, digest: &Digest) -> Option<ImageManifest> {
        match Document::parse(&self.blobs.document(digest)?, "stored").ok()? {
            Document::Image(manifest) => Some(manifest),
            Document::Index(_) => None,
        }
    }

    pub(super) fn blobs_of(&self, record: &Record) -> Vec<Digest> {
        let manifest = self.manifest(&record.manifest);
        let inner = manifest.iter().flat_map(|manifest| {
            manifest.layers.iter().map(|layer| layer.blob.digest).chain([manifest.config.digest])
        });
        inner.chain([record.manifest]).collect()
    }

    pub(super) fn find(
        &self,
        reference: &str,
        registries: &[ImageRegistry],
    ) -> BoxliteResult<Option<(Record, StoredImage)>> {
        if let Ok(wanted) = Digest::parse(reference) {
            let stored =
                self.refs.list()?.into_iter().filter_map(|record| Some((self.load(&record)?, record)));
            let mut fitting = stored
                .filter(|(image, _)| image.manifest_digest == wanted || image.config_digest == wanted)
                .map(|(image, record)| (record, image));
            return Ok(fitting.next());
        }
        for target in targets(reference, registries)? {
            if let Some(record) = self.refs.read(&target.reference())
                && let Some(image) = self.load(&record)
            {
                return Ok(Some((record, image)));
            }
        }
        Ok(None)
    }

    fn remove(&self, record: &Record) -> BoxliteResult<()> {
        let candidates = self.blobs_of(record);
        self.refs.remove(&record.reference)?;
        let others = self.refs.list()?;
        if others.iter().all(|other| other.manifest != record.manifest) {
            remove_if_there(&super::disks::disk_path(&self.disks_dir(), &record.manifest))?;
        }
        let needed: HashSet<Digest> = others.iter().flat_map(|other| self.blobs_of(other)).collect();
        candidates
            .iter()
            .filter(|digest| !needed.contains(digest))
            .try_for_each(|digest| self.blobs.remove(digest))
    }

    /// Reads the format of the directory; a new one gets ours, by whichever process has the lock first.
    fn check_format(&self) -> BoxliteResult<()> {
        let path = self.dir.join(FORMAT_FILE);
        let found = loop {
            match std::fs::read(&path) {
                Ok(json) => {
                    break serde_json::from_slice(&json).ok().and_then(|json: Value| json["format"].as_u64());
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(BoxliteError::io("read", &path, &error)),
            }
            let guard = self.locks.acquire_blocking("store", "making the image store")?;
            if !path.exists() {
                let json = serde_json::json!({ "format": FORMAT }).to_string();
                write_file(&self.tmp_dir().join("store.format"), &path, json.as_bytes())?;
            }
            drop(guard);
        };
        if found == Some(FORMAT) {
            return Ok(());
        }
        Err(BoxliteError::Storage(
            Detail::new(format!("{} is an image store of another format than {FORMAT}", self.dir.display()))
                .subject(path.display().to_string())
                .hint("use the boxlite version that made it, or another images directory"),
        ))
    }

    /// Removes what killed processes left and nobody works on.
    fn sweep(&self) -> BoxliteResult<()> {
        let tmp = self.tmp_dir();
        let entries = std::fs::read_dir(&tmp).map_err(|error| BoxliteError::io("read", &tmp, &error))?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let young = || {
                let modified = entry.metadata().and_then(|metadata| metadata.modified());
                let age = modified.ok().and_then(|time| SystemTime::now().duration_since(time).ok());
                age.is_none_or(|age| age < PARTIAL_LIFETIME)
            };
            if name.ends_with(".partial") && young() {
                continue;
            }
            // A temporary file is named after the lock under which it is written.
            let lock = name.split('.').next().unwrap_or(name);
            if let Some(_held) = self.locks.try_acquire(lock, "sweeping")? {
                remove_if_there(&entry.path())?;
            }
        }
        self.locks.sweep()
    }
}

/// Where a reference may lead, in order.
fn targets(reference: &str, registries: &[ImageRegistry]) -> BoxliteResult<Vec<Target>> {
    match ImageSource::parse(reference)? {
        ImageSource::Registry(parsed) => {
            Ok(parsed.candidates(registries).into_iter().map(Target::Registry).collect())
        }
        local => Ok(vec![Target::local(&local)?]),
    }
}

/// The reference as a box keeps it: the path of a local source made absolute, so that it means the same wherever it
/// is read again.
pub fn absolute_reference(reference: &str) -> BoxliteResult<String> {
    match ImageSource::parse(reference)? {
        ImageSource::Registry(_) => Ok(reference.to_owned()),
        local => Ok(Target::local(&local)?.reference()),
    }
}

impl ImageStore {
    /// Opens the store at `images_dir`, or makes one. Blocking, but short.
    pub fn open(
        images_dir: PathBuf,
        registries: Vec<ImageRegistry>,
        limits: ImageLimits,
    ) -> BoxliteResult<Self> {
        Self::open_with(images_dir, registries, limits, Access::default())
    }

    /// As `open`, with what `access` adds.
    pub(crate) fn open_with(
        images_dir: PathBuf,
        registries: Vec<ImageRegistry>,
        limits: ImageLimits,
        access: Access,
    ) -> BoxliteResult<Self> {
        for entry in &registries {
            check_registry(&entry.host)?;
        }
        for sub in ["blobs/sha256", "refs", "disks", "tmp"] {
            let dir = images_dir.join(sub);
            std::fs::create_dir_all(&dir).map_err(|error| BoxliteError::io("create", &dir, &error))?;
        }
        let tmp = images_dir.join("tmp");
        let inner = Inner {
            blobs: Blobs::new(images_dir.join("blobs/sha256"), tmp.clone()),
            refs: Refs::new(images_dir.join("refs"), tmp),
            locks: Locks::open(images_dir.join("locks"), limits.lock_patience)?,
            registries,
            access,
            transfers: Semaphore::new(limits.parallel_layers.max(1)),
            limits,
            pulls: Flights::default(),
            builds: Flights::default(),
            dir: images_dir,
        };
        inner.check_format()?;
        inner.sweep()?;
        Ok(Self(Arc::new(inner)))
    }

    /// Asks the source what `reference` is now and fetches what is missing. Does not build the disk.
    pub async fn pull(&self, reference: &str, progress: &ProgressSink) -> BoxliteResult<StoredImage> {
        let targets = targets(reference, &self.0.registries)?;
        let mut failures = Vec::new();
        for target in targets {
            match self.pull_target(target, progress).await {
                Err(error) if passes_on(&error) => failures.push(error),
                result => return result,
            }
        }
        Err(summary(reference, failures))
    }

    /// The stored image, else pulls it. A reference that is stored needs no network; local sources are looked at
    /// anew, since people build them again in place.
    pub async fn ensure(&self, reference: &str, progress: &ProgressSink) -> BoxliteResult<StoredImage> {
        let mut targets = targets(reference, &self.0.registries)?;
        let stored = self.get(reference).await?;
        match (stored, targets.pop()) {
            (Some(image), Some(local @ Target::Local { .. })) => {
                let stamp = local.stamp();
                let unchanged = stamp.is_some() && self.record_stamp(&image.reference).await? == stamp;
                if unchanged || local.is_gone() { Ok(image) } else { self.pull_target(local, progress).await }
            }
            (Some(image), _) => Ok(image),
            (None, _) => self.pull(reference, progress).await,
        }
    }

    async fn record_stamp(&self, reference: &str) -> BoxliteResult<Option<String>> {
        let (inner, reference) = (Arc::clone(&self.0), reference.to_owned());
        blocking(move || Ok(inner.refs.read(&reference).and_then(|record| record.stamp))).await
    }

    async fn pull_target(&self, target: Target, progress: &ProgressSink) -> BoxliteResult<StoredImage> {
        let inner = Arc::clone(&self.0);
        let key = target.reference();
        self.0.pulls.join(&key, progress, |sinks| pull(inner, target, sinks)).await
    }

    /// All complete images, the newest first.
    pub async fn list(&self) -> BoxliteResult<Vec<StoredImage>> {
        let inner = Arc::clone(&self.0);
        blocking(move || Ok(inner.refs.list()?.iter().filter_map(|record| inner.load(record)).collect()))
            .await
    }

    /// The complete image of a reference, or of a manifest or config digest.
    pub async fn get(&self, reference: &str) -> BoxliteResult<Option<StoredImage>> {
        let (inner, reference) = (Arc::clone(&self.0), reference.to_owned());
        blocking(move || Ok(inner.find(&reference, &inner.registries)?.map(|(_, image)| image))).await
    }

    /// Removes a reference, and blobs and disk that no other reference needs. Boxes that have the disk open keep
    /// it until they stop. Whether an image is in use is for the caller to ask before.
    pub async fn remove(&self, reference: &str) -> BoxliteResult<()> {
        let guard = self.0.lock_records(&format!("removing {reference}")).await?;
        let (inner, reference) = (Arc::clone(&self.0), reference.to_owned());
        blocking(move || {
            let _held = guard;
            match inner.find(&reference, &inner.registries)? {
                Some((record, _)) => inner.remove(&record),
                None => Err(BoxliteError::NotFound(
                    Detail::new(format!("image {reference} is not stored")).subject(reference),
                )),
            }
        })
        .await
    }
}

/// Whether the next search registry is worth a try.
fn passes_on(error: &BoxliteError) -> bool {
    matches!(error, BoxliteError::NotFound(_) | BoxliteError::Network(_))
}

/// One error for all the places that were tried.
fn summary(reference: &str, mut failures: Vec<BoxliteError>) -> BoxliteError {
    let Some(last) = failures.pop() else {
        return BoxliteError::Internal(format!("{reference} leads nowhere").into());
    };
    if failures.is_empty() {
        return last;
    }
    failures.push(last);
    let tried: Vec<&str> = failures.iter().map(|error| error.detail().message()).collect();
    let text = format!("no registry gave {reference}: {}", tried.join("; "));
    let detail = Detail::new(text).subject(reference);
    let telling = failures.iter().find(|error| !matches!(error, BoxliteError::NotFound(_)));
    match telling {
        Some(error) => BoxliteError::Network(detail.hint(error.hint().to_owned())),
        None => BoxliteError::NotFound(detail.hint("check the name, or write the registry in front of it")),
    }
}
