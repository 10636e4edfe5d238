//! Images in local containers: OCI layouts, archives of them, and what `docker save` writes.
//!
//! Owns finding the image a tag names and the member that holds a blob. Blobs are verified by who stores them,
//! not here. Blocking.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;

use super::archive::{Container, OpenMember, bad};
use super::config::ImageConfig;
use super::manifest::{Descriptor, Document, IndexEntry, LayerFormat, OCI_CONFIG, OCI_MANIFEST};
use crate::errors::{BoxliteError, BoxliteResult};
use crate::model::digest::Digest;

/// A local image source, resolved to the descriptor of its manifest or index.
#[derive(Debug)]
pub(super) struct LocalImage {
    container: Container,
    /// Where a blob is, when not under `blobs/sha256/`.
    members: HashMap<Digest, String>,
    /// A manifest made here, for containers that have none.
    made: HashMap<Digest, Vec<u8>>,
    pub root: Descriptor,
}

impl LocalImage {
    /// Finds `tag`, or the only image, in an OCI layout.
    pub(super) fn layout(container: Container, tag: Option<&str>) -> BoxliteResult<Self> {
        let index = container.document("index.json").map_err(|error| {
            error.with_hint("an OCI layout has an index.json: `skopeo copy docker://… oci:DIR:TAG` makes one")
        })?;
        let subject = container.path().display().to_string();
        let Document::Index(entries) = Document::parse(&index, &subject)? else {
            return Err(bad(container.path(), "has an index.json that is no index"));
        };
        let root = choose(&entries, tag, container.path())?.blob;
        Ok(Self { container, members: HashMap::new(), made: HashMap::new(), root })
    }

    /// Finds `tag`, or the only image, in what `docker save` wrote, and makes the manifest it lacks.
    pub(super) fn docker(container: Container, tag: Option<&str>) -> BoxliteResult<Self> {
        let path = container.path().to_owned();
        let json = container.document("manifest.json")?;
        let images: Vec<SavedImage> = serde_json::from_slice(&json)
            .map_err(|error| bad(&path, &format!("has a manifest.json that is not JSON of one: {error}")))?;
        let image = choose_saved(&images, tag, &path)?;
        let config = container.document(&image.config)?;
        let config_digest = Digest::of(&config);
        let parsed = ImageConfig::parse(&config, &path.display().to_string())?;
        if parsed.diff_ids.len() != image.layers.len() {
            let counts = format!("{} layers, its config {}", image.layers.len(), parsed.diff_ids.len());
            return Err(bad(&path, &format!("lists {counts}")));
        }
        let mut members = HashMap::from([(config_digest, image.config.clone())]);
        let mut layers = Vec::new();
        for (name, diff_id) in image.layers.iter().zip(&parsed.diff_ids) {
            let (blob, format) = measure(&container, name, *diff_id)?;
            members.insert(blob.digest, name.clone());
            layers.push((blob, format));
        }
        let size = config.len() as u64;
        let manifest = make_manifest(Descriptor { digest: config_digest, size }, &layers)?;
        let root = Descriptor { digest: Digest::of(&manifest), size: manifest.len() as u64 };
        Ok(Self { container, members, made: HashMap::from([(root.digest, manifest)]), root })
    }

    /// A manifest or index; verified.
    pub(super) fn document(&self, blob: &Descriptor) -> BoxliteResult<Vec<u8>> {
        let content = match self.made.get(&blob.digest) {
            Some(made) => made.clone(),
            None => self.container.document(&self.member(&blob.digest))?,
        };
        let found = Digest::of(&content);
        if found != blob.digest {
            let what = format!("has blob {} with the wrong digest: its content is {found}", blob.digest);
            return Err(bad(self.container.path(), &what));
        }
        Ok(content)
    }

    /// Opens a config or layer.
    pub(super) fn open(&self, digest: &Digest) -> BoxliteResult<OpenMember> {
        self.container.require(&self.member(digest))
    }

    fn member(&self, digest: &Digest) -> String {
        self.members.get(digest).cloned().unwrap_or_else(|| format!("blobs/sha256/{}", digest.hex()))
    }
}

fn choose<'a>(entries: &'a [IndexEntry], tag: Option<&str>, path: &Path) -> BoxliteResult<&'a IndexEntry> {
    let matching: Vec<&IndexEntry> = match tag {
        None => entries.iter().collect(),
        Some(tag) => entries.iter().filter(|entry| entry.ref_name.as_deref() == Some(tag)).collect(),
    };
    let tags = || list(entries.iter().filter_map(|entry| entry.ref_name.as_deref()));
    match (matching.as_slice(), tag) {
        ([only], _) => Ok(only),
        ([], None) => Err(bad(path, "holds no image")),
        ([], Some(tag)) => Err(not_there(path, tag, &tags())),
        // One image for several platforms may stand in the index itself.
        (several, _) => {
            let owned: Vec<IndexEntry> = several.iter().map(|&entry| entry.clone()).collect();
            if owned.iter().all(|entry| entry.platform.is_some()) {
                let subject = path.display().to_string();
                let chosen = super::manifest::select_platform(&owned, &subject)?;
                if let Some(found) = entries.iter().find(|entry| *entry == chosen) {
                    return Ok(found);
                }
            }
            Err(ambiguous(path, &tags()))
        }
    }
}

fn list<'a>(tags: impl Iterator<Item = &'a str>) -> String {
    let tags: Vec<&str> = tags.collect();
    if tags.is_empty() { "none".into() } else { tags.join(", ") }
}

fn not_there(path: &Path, tag: &str, offered: &str) -> BoxliteError {
    let path = path.display();
    BoxliteError::NotFound(format!("{path} has no image `{tag}`; it has: {offered}").into())
        .with_subject(format!("{path}:{tag}"))
        .with_hint("write one of the tags it has after the path")
}

fn ambiguous(path: &Path, offered: &str) -> BoxliteError {
    let path = path.display();
    BoxliteError::InvalidArgument(format!("{path} holds several images: {offered}").into())
        .with_subject(path.to_string())
        .with_hint("write the wanted tag after the path, as in oci:DIR:TAG")
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

fn choose_saved<'a>(
    images: &'a [SavedImage],
    tag: Option<&str>,
    path: &Path,
) -> BoxliteResult<&'a SavedImage> {
    let tags = || list(images.iter().flat_map(|image| image.repo_tags.iter().flatten()).map(String::as_str));
    // `docker save` writes `app:1` for docker.io/library/app:1; a person may write either, or the tag alone.
    let is = |saved: &str, tag: &str| {
        saved == tag
            || saved.rsplit_once(':').is_some_and(|(_, end)| end == tag)
            || saved.ends_with(&format!("/{tag}"))
    };
    let mut matching = images
        .iter()
        .filter(|image| tag.is_none_or(|tag| image.repo_tags.iter().flatten().any(|saved| is(saved, tag))));
    match (matching.next(), matching.next(), tag) {
        (Some(only), None, _) => Ok(only),
        (Some(_), Some(_), _) => Err(ambiguous(path, &tags())),
        (None, _, Some(tag)) => Err(not_there(path, tag, &tags())),
        (None, _, None) => Err(bad(path, "holds no image")),
    }
}

/// A layer's digest and size. A bare tar's digest is its diff_id, so only packed ones are read here.
fn measure(container: &Container, name: &str, diff_id: Digest) -> BoxliteResult<(Descriptor, LayerFormat)> {
    let mut member = container.require(name)?;
    let unreadable = |error: std::io::Error| BoxliteError::io("read", container.path(), &error);
    let mut head = Vec::new();
    member.reader.by_ref().take(4).read_to_end(&mut head).map_err(unreadable)?;
    let format = LayerFormat::from_magic(&head);
    if format == LayerFormat::Tar {
        return Ok((Descriptor { digest: diff_id, size: member.size }, format));
    }
    let mut hasher = <sha2::Sha256 as sha2::Digest>::new();
    std::io::copy(&mut head.as_slice().chain(member.reader), &mut hasher).map_err(unreadable)?;
    Ok((Descriptor { digest: hasher.into(), size: member.size }, format))
}

fn make_manifest(config: Descriptor, layers: &[(Descriptor, LayerFormat)]) -> BoxliteResult<Vec<u8>> {
    let describe = |media_type: &str, blob: &Descriptor| serde_json::json!({ "mediaType": media_type, "digest": blob.digest.to_string(), "size": blob.size });
    let layers: Vec<_> = layers.iter().map(|(blob, format)| describe(format.media_type(), blob)).collect();
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": describe(OCI_CONFIG, &config),
        "layers": layers,
    });
    serde_json::to_vec(&manifest)
        .map_err(|error| BoxliteError::Internal(format!("cannot write a manifest: {error}").into()))
}
