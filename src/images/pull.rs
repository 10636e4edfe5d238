//! One pull, from a reference to a record: resolve, fetch what is missing, verify, record.
//!
//! Owns the order of the steps; each step's means are elsewhere.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::Utc;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use super::archive::Container;
use super::config::ImageConfig;
use super::fetch::{BlobKind, Fetcher, Origin, with_retries};
use super::flight::FlightSinks;
use super::image::{ImageLimits, StoredImage};
use super::layout::LocalImage;
use super::manifest::{Descriptor, Document, ImageManifest, select_platform};
use super::progress::ImageStage;
use super::reference::{ImageSource, NamedReference, registry_for};
use super::refs::Record;
use super::registry::RegistryClient;
use super::store::Inner;
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::executor::blocking;
use crate::log::LogLevel;
use crate::model::digest::Digest;
use crate::model::registry::ImageRegistry;

/// An index in an index in an index: nobody nests deeper for good reasons.
const MAX_INDEX_DEPTH: usize = 4;
/// How often a blob may be removed under a pull's feet before it gives up.
const COMMIT_ATTEMPTS: usize = 3;

/// One place to pull from, with nothing left to default.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Registry(NamedReference),
    Local { source: ImageSource, repository: String, tag: Option<String> },
}

impl Target {
    /// A local source, its path made absolute.
    pub(super) fn local(source: &ImageSource) -> BoxliteResult<Self> {
        let absolute = |path: &Path| -> BoxliteResult<(PathBuf, String)> {
            let path = std::path::absolute(path)
                .map_err(|error| BoxliteError::io("find the current directory for", path, &error))?;
            match path.to_str() {
                Some(text) => Ok((path.clone(), text.to_owned())),
                None => Err(BoxliteError::InvalidArgument(
                    Detail::new(format!("the path {} is not UTF-8", path.display()))
                        .subject(path.display().to_string())
                        .hint("give the image source an absolute path that is UTF-8"),
                )),
            }
        };
        let (scheme, path, tag) = match source {
            ImageSource::OciLayout { path, tag } => ("oci", path, tag),
            ImageSource::OciArchive { path, tag } => ("oci-archive", path, tag),
            ImageSource::DockerArchive { path, tag } => ("docker-archive", path, tag),
            ImageSource::Registry(_) => {
                return Err(BoxliteError::Internal(Detail::new("a registry reference is no local source")));
            }
        };
        let (path, text) = absolute(path)?;
        let tag = tag.clone();
        let source = match source {
            ImageSource::OciLayout { .. } => ImageSource::OciLayout { path, tag: tag.clone() },
            ImageSource::OciArchive { .. } => ImageSource::OciArchive { path, tag: tag.clone() },
            _ => ImageSource::DockerArchive { path, tag: tag.clone() },
        };
        Ok(Self::Local { source, repository: format!("{scheme}:{text}"), tag })
    }

    /// The normalised reference.
    pub(super) fn reference(&self) -> String {
        match self {
            Self::Registry(named) => named.to_string(),
            Self::Local { repository, tag: Some(tag), .. } => format!("{repository}:{tag}"),
            Self::Local { repository, tag: None, .. } => repository.clone(),
        }
    }

    /// The reference without tag and digest, and the tag.
    fn parts(&self) -> (String, Option<String>) {
        match self {
            Self::Registry(named) => (format!("{}/{}", named.registry, named.repository), named.tag.clone()),
            Self::Local { repository, tag, .. } => (repository.clone(), tag.clone()),
        }
    }

    /// Whether a local source is no longer there.
    pub(super) fn is_gone(&self) -> bool {
        match self {
            Self::Local {
                source:
                    ImageSource::OciLayout { path, .. }
                    | ImageSource::OciArchive { path, .. }
                    | ImageSource::DockerArchive { path, .. },
                ..
            } => path.try_exists().is_ok_and(|exists| !exists),
            _ => false,
        }
    }

    /// What an archive looks like now: the same stamp means the same content. Layouts are cheap to look at anew.
    pub(super) fn stamp(&self) -> Option<String> {
        let Self::Local {
            source: ImageSource::OciArchive { path, .. } | ImageSource::DockerArchive { path, .. },
            ..
        } = self
        else {
            return None;
        };
        let metadata = path.metadata().ok()?;
        Some(format!(
            "{}:{}:{}:{}.{:09}:{}.{:09}",
            metadata.dev(),
            metadata.ino(),
            metadata.len(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.ctime(),
            metadata.ctime_nsec()
        ))
    }
}

/// Pulls `target` and records it.
pub(super) async fn pull(
    store: Arc<Inner>,
    target: Target,
    sinks: FlightSinks,
) -> BoxliteResult<StoredImage> {
    let reference: Arc<str> = target.reference().into();
    // Taken first: an archive replaced meanwhile is looked at again.
    let stamp = target.stamp();
    let mut failed = Vec::new();
    if let Target::Registry(named) = &target {
        for (at, entry) in store.access.mirrors.of(named, &store.registries) {
            let mirror = at.registry.clone();
            let origin = registry(&store, at, entry, true).await;
            let attempt = async { pull_from(&store, &target, origin?, &stamp, true, sinks.clone()).await };
            match attempt.await {
                Err(error) if leaves_registry(&error) => {
                    let fields = json!({ "mirror": mirror, "error": error.to_string() });
                    store.access.log.write(LogLevel::Warn, "mirror can't be used", &reference, fields);
                    failed.push(error);
                }
                result => return result,
            }
        }
    }
    let origin = open(&store, &target).await?;
    let pulled = pull_from(&store, &target, origin, &stamp, false, sinks).await;
    pulled.map_err(|error| after_mirrors(error, &failed))
}

/// Whether the registry itself may succeed where its mirror failed like this.
fn leaves_registry(error: &BoxliteError) -> bool {
    matches!(error, BoxliteError::NotFound(_) | BoxliteError::Network(_) | BoxliteError::Image(_))
}

/// The registry's own error; that there were mirrors is not to be forgotten over it.
fn after_mirrors(error: BoxliteError, failed: &[BoxliteError]) -> BoxliteError {
    if failed.is_empty() {
        return error;
    }
    let mirrors: Vec<&str> = failed.iter().map(|error| error.detail().message()).collect();
    let hint = format!("{}; its mirrors were asked before: {}", error.hint(), mirrors.join("; "));
    error.with_hint(hint)
}

/// Pulls from one place, and records what came as what `target` names.
async fn pull_from(
    store: &Arc<Inner>,
    target: &Target,
    origin: Origin,
    stamp: &Option<String>,
    is_mirror: bool,
    sinks: FlightSinks,
) -> BoxliteResult<StoredImage> {
    let reference: Arc<str> = target.reference().into();
    let fetcher = Fetcher { store: Arc::clone(store), origin, reference: Arc::clone(&reference), sinks };
    fetcher.tell(ImageStage::Resolving, None);
    // A mirror is asked once: trying again is for what nobody else has.
    let attempts = if is_mirror { 1 } else { store.limits.attempts };
    let (manifest_json, manifest) = resolve(&fetcher, &ImageLimits { attempts, ..store.limits }).await?;
    let (repository, tag) = target.parts();
    let record = Record {
        reference: reference.to_string(),
        repository,
        tag,
        manifest: Digest::of(&manifest_json),
        stored_at: Utc::now(),
        stamp: stamp.clone(),
    };
    for _ in 0..COMMIT_ATTEMPTS {
        if fetch_all(&fetcher, &manifest).await? == Fetched::Removed {
            continue;
        }
        if let Some(image) = commit(store, &record, &manifest_json, &manifest).await? {
            fetcher.tell(ImageStage::Done, None);
            return Ok(image);
        }
    }
    Err(BoxliteError::Busy(
        Detail::new(format!("blobs of {reference} were removed again and again while it was pulled"))
            .subject(reference.to_string())
            .hint("pull again when nobody is removing images"),
    ))
}

async fn registry(
    store: &Inner,
    named: NamedReference,
    mut entry: ImageRegistry,
    is_mirror: bool,
) -> BoxliteResult<Origin> {
    let known = store.access.credentials.fill_in(&mut entry).await;
    let client = RegistryClient::new(named, entry, known, &store.access.authorities, is_mirror)?;
    Ok(Origin::Registry(Arc::new(client)))
}

async fn open(store: &Arc<Inner>, target: &Target) -> BoxliteResult<Origin> {
    match target {
        Target::Registry(named) => {
            let entry = registry_for(&named.registry, &store.registries);
            registry(store, named.clone(), entry, false).await
        }
        Target::Local { source, .. } => {
            let (source, tmp, limit) = (source.clone(), store.tmp_dir(), store.limits.max_layer_bytes);
            let image = blocking(move || match &source {
                ImageSource::OciLayout { path, tag } => {
                    LocalImage::layout(Container::directory(path)?, tag.as_deref())
                }
                ImageSource::OciArchive { path, tag } => {
                    LocalImage::layout(Container::archive(path, &tmp, limit)?, tag.as_deref())
                }
                ImageSource::DockerArchive { path, tag } => {
                    LocalImage::docker(Container::archive(path, &tmp, limit)?, tag.as_deref())
                }
                ImageSource::Registry(named) => {
                    Err(BoxliteError::Internal(format!("{} is no local source", named.repository).into()))
                }
            });
            Ok(Origin::Local(Arc::new(image.await?)))
        }
    }
}

/// Follows indexes to the manifest for this machine.
async fn resolve(fetcher: &Fetcher, limits: &ImageLimits) -> BoxliteResult<(Vec<u8>, ImageManifest)> {
    let mut json = match &fetcher.origin {
        Origin::Registry(client) => {
            with_retries(limits, || client.login()).await?;
            with_retries(limits, || client.root()).await?
        }
        Origin::Local(image) => local_document(image, image.root).await?,
    };
    for _ in 0..MAX_INDEX_DEPTH {
        let entries = match Document::parse(&json, &fetcher.reference)? {
            Document::Image(manifest) => return Ok((json, manifest)),
            Document::Index(entries) => entries,
        };
        let chosen = select_platform(&entries, &fetcher.reference)?.blob;
        json = match &fetcher.origin {
            Origin::Registry(client) => {
                with_retries(limits, || client.manifest(Some(&chosen.digest))).await?
            }
            Origin::Local(image) => local_document(image, chosen).await?,
        };
        if json.len() as u64 != chosen.size {
            return Err(BoxliteError::Image(
                Detail::new(format!(
                    "manifest {} of {} has {} bytes, its index says {}",
                    chosen.digest,
                    fetcher.reference,
                    json.len(),
                    chosen.size
                ))
                .subject(fetcher.reference.to_string())
                .hint("the index is damaged: push the image again"),
            ));
        }
    }
    Err(BoxliteError::Image(
        Detail::new(format!("{} nests indexes more than {MAX_INDEX_DEPTH} deep", fetcher.reference))
            .subject(fetcher.reference.to_string()),
    ))
}

async fn local_document(image: &Arc<LocalImage>, blob: Descriptor) -> BoxliteResult<Vec<u8>> {
    let image = Arc::clone(image);
    blocking(move || image.document(&blob)).await
}

/// How fetching an image's blobs ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fetched {
    /// They are stored.
    All,
    /// The config was, and is gone again: somebody removes images, or it was damaged.
    Removed,
}

/// Fetches the config, which may refuse the image, then the layers side by side.
async fn fetch_all(fetcher: &Fetcher, manifest: &ImageManifest) -> BoxliteResult<Fetched> {
    fetcher.tell(ImageStage::Pulling, None);
    if manifest.config.size > super::manifest::MAX_DOCUMENT_BYTES {
        return Err(BoxliteError::Image(
            Detail::new(format!(
                "the config of {} has {} bytes, more than 4 MiB",
                fetcher.reference, manifest.config.size
            ))
            .subject(fetcher.reference.to_string()),
        ));
    }
    fetcher.clone().fetch(manifest.config, BlobKind::Config).await?;
    let Some(config) = fetcher.store.blobs.read_document(&manifest.config.digest)? else {
        // A damaged one has to go to be fetched again.
        fetcher.store.blobs.remove(&manifest.config.digest)?;
        return Ok(Fetched::Removed);
    };
    check_config(&config, manifest, &fetcher.reference)?;
    let transfers: Vec<_> =
        manifest.layers.iter().map(|layer| fetcher.clone().fetch(layer.blob, BlobKind::Layer)).collect();
    let parallel = fetcher.store.limits.parallel_layers.max(1);
    stream::iter(transfers).buffer_unordered(parallel).try_collect::<()>().await?;
    Ok(Fetched::All)
}

/// Checks the config against this machine and the manifest.
fn check_config(json: &[u8], manifest: &ImageManifest, reference: &str) -> BoxliteResult<()> {
    let config = ImageConfig::parse(json, reference)?;
    config.check_platform(reference)?;
    if config.diff_ids.len() != manifest.layers.len() {
        return Err(BoxliteError::Image(
            Detail::new(format!(
                "{reference} has {} layers in its manifest and {} in its config",
                manifest.layers.len(),
                config.diff_ids.len()
            ))
            .subject(reference)
            .hint("the image is damaged: build or push it again"),
        ));
    }
    Ok(())
}

/// Records the image if all of it is there; under the lock that removing takes too.
async fn commit(
    store: &Arc<Inner>,
    record: &Record,
    manifest_json: &[u8],
    manifest: &ImageManifest,
) -> BoxliteResult<Option<StoredImage>> {
    let guard = store.lock_records(&format!("recording {}", record.reference)).await?;
    let (store, record) = (Arc::clone(store), record.clone());
    let (json, manifest) = (manifest_json.to_vec(), manifest.clone());
    blocking(move || {
        let _held = guard;
        let mut blobs = manifest.layers.iter().map(|layer| &layer.blob).chain([&manifest.config]);
        if !blobs.all(|blob| store.blobs.has(blob)) {
            return Ok(None);
        }
        store.blobs.store_document(&json)?;
        let known = store.refs.read(&record.reference);
        let unchanged =
            known.filter(|known| (known.manifest, &known.stamp) == (record.manifest, &record.stamp));
        let record = match unchanged {
            Some(known) => known,
            None => {
                store.refs.write(&record)?;
                record
            }
        };
        Ok(store.load(&record))
    })
    .await
}
