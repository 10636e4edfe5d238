//! Manifests and indexes, OCI's and Docker's, and the media types in them.
//!
//! Owns reading them and choosing a platform; never fetches anything.

use serde::Deserialize;

use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::model::digest::Digest;

/// Larger manifests, indexes and configs are refused before they are parsed.
pub(super) const MAX_DOCUMENT_BYTES: u64 = 4 << 20;

pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// What is asked for at a registry.
pub(super) const ACCEPTED: [&str; 4] = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST];

/// This machine's CPU in the words of image configs.
pub(super) fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// How a layer's tar is packed, as its media type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerFormat {
    /// A bare tar.
    Tar,
    /// A tar in gzip.
    TarGzip,
    /// A tar in zstd.
    TarZstd,
}

impl LayerFormat {
    /// The OCI media type of this format.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Tar => "application/vnd.oci.image.layer.v1.tar",
            Self::TarGzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::TarZstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }

    fn from_media_type(media_type: &str) -> Option<Self> {
        let suffix = [
            "application/vnd.oci.image.layer.v1.",
            "application/vnd.oci.image.layer.nondistributable.v1.",
            "application/vnd.docker.image.rootfs.diff.",
            "application/vnd.docker.image.rootfs.foreign.diff.",
        ]
        .iter()
        .find_map(|prefix| media_type.strip_prefix(prefix))?;
        match suffix {
            "tar" => Some(Self::Tar),
            "tar+gzip" | "tar.gzip" => Some(Self::TarGzip),
            "tar+zstd" | "tar.zstd" => Some(Self::TarZstd),
            _ => None,
        }
    }

    /// What the first bytes of a layer say.
    pub(super) fn from_magic(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::TarGzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::TarZstd,
            _ => Self::Tar,
        }
    }
}

/// A blob's digest and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub digest: Digest,
    pub size: u64,
}

/// One layer as its manifest describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ManifestLayer {
    pub blob: Descriptor,
    pub format: LayerFormat,
}

/// A manifest of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ImageManifest {
    pub config: Descriptor,
    pub layers: Vec<ManifestLayer>,
}

/// One line of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IndexEntry {
    pub blob: Descriptor,
    pub platform: Option<Platform>,
    /// The tag, in an OCI layout's index.
    pub ref_name: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Platform {
    pub architecture: String,
    pub os: String,
}

/// What a reference leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Document {
    Image(ImageManifest),
    Index(Vec<IndexEntry>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    schema_version: Option<i64>,
    media_type: Option<String>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    manifests: Option<Vec<RawDescriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    media_type: Option<String>,
    digest: String,
    size: u64,
    platform: Option<Platform>,
    #[serde(default)]
    annotations: Option<std::collections::BTreeMap<String, String>>,
}

fn bad(subject: &str, what: impl std::fmt::Display) -> BoxliteError {
    BoxliteError::Image(
        Detail::new(format!("the manifest of {subject} {what}"))
            .subject(subject)
            .hint("the image is damaged or no container image: build or push it again"),
    )
}

impl Document {
    /// Reads a manifest or an index; `subject` is named in errors.
    pub(super) fn parse(json: &[u8], subject: &str) -> BoxliteResult<Self> {
        if json.len() as u64 > MAX_DOCUMENT_BYTES {
            return Err(bad(subject, format!("has {} bytes, more than 4 MiB", json.len())));
        }
        let raw: RawDocument = serde_json::from_slice(json)
            .map_err(|error| bad(subject, format!("is not JSON of one: {error}")))?;
        if raw.schema_version != Some(2) {
            let version = raw.schema_version.map_or_else(|| "none".to_owned(), |version| version.to_string());
            return Err(bad(subject, format!("has schema version {version}, only 2 is supported")));
        }
        match (raw.media_type.as_deref(), raw.manifests, raw.layers) {
            // A document that can be read as both is an attack on whoever signs one and runs the other.
            (_, Some(_), Some(_)) => Err(bad(subject, "is a manifest and an index at once")),
            (None | Some(OCI_INDEX | DOCKER_LIST), Some(entries), None) => entries
                .iter()
                .map(|entry| index_entry(entry, subject))
                .collect::<Result<_, _>>()
                .map(Self::Index),
            (None | Some(OCI_MANIFEST | DOCKER_MANIFEST), None, Some(layers)) => {
                let config = raw.config.ok_or_else(|| bad(subject, "has no `config`"))?;
                Ok(Self::Image(image_manifest(&config, &layers, subject)?))
            }
            (Some(other), _, _) if !ACCEPTED.contains(&other) => {
                Err(bad(subject, format!("has the media type `{other}`, which is no image manifest")))
            }
            _ => Err(bad(subject, "has neither `layers` nor `manifests` as its media type asks")),
        }
    }
}

fn descriptor(raw: &RawDescriptor, subject: &str) -> BoxliteResult<Descriptor> {
    let digest = Digest::parse(&raw.digest)
        .map_err(|error| bad(subject, format!("has a bad digest `{}`: {error}", raw.digest)))?;
    Ok(Descriptor { digest, size: raw.size })
}

fn index_entry(raw: &RawDescriptor, subject: &str) -> BoxliteResult<IndexEntry> {
    let ref_name = raw.annotations.as_ref().and_then(|map| map.get("org.opencontainers.image.ref.name"));
    Ok(IndexEntry {
        blob: descriptor(raw, subject)?,
        platform: raw.platform.clone(),
        ref_name: ref_name.cloned(),
    })
}

fn image_manifest(
    config: &RawDescriptor,
    layers: &[RawDescriptor],
    subject: &str,
) -> BoxliteResult<ImageManifest> {
    match config.media_type.as_deref() {
        None | Some(OCI_CONFIG | DOCKER_CONFIG) => {}
        Some(other) => {
            return Err(bad(subject, format!("has a config of type `{other}`: it is no container image")));
        }
    }
    let layers = layers
        .iter()
        .map(|raw| {
            let media_type = raw.media_type.as_deref().unwrap_or_default();
            let format = LayerFormat::from_media_type(media_type).ok_or_else(|| {
                bad(subject, format!("has layer {} of the unknown media type `{media_type}`", raw.digest))
                    .with_hint("layers are tar, tar+gzip or tar+zstd; encrypted ones are not supported")
            })?;
            Ok(ManifestLayer { blob: descriptor(raw, subject)?, format })
        })
        .collect::<BoxliteResult<Vec<_>>>()?;
    if layers.is_empty() {
        return Err(bad(subject, "has no layers"));
    }
    Ok(ImageManifest { config: descriptor(config, subject)?, layers })
}

/// The entry for this machine: its platform, or the only one that names none.
pub(super) fn select_platform<'a>(entries: &'a [IndexEntry], subject: &str) -> BoxliteResult<&'a IndexEntry> {
    let host = host_architecture();
    let fits = |platform: &Platform| platform.os == "linux" && platform.architecture == host;
    if let Some(entry) = entries.iter().find(|entry| entry.platform.as_ref().is_some_and(fits)) {
        return Ok(entry);
    }
    let mut unnamed = entries.iter().filter(|entry| entry.platform.is_none());
    if let (Some(entry), None) = (unnamed.next(), unnamed.next()) {
        return Ok(entry);
    }
    let mut offered: Vec<String> = entries
        .iter()
        .filter_map(|entry| entry.platform.as_ref())
        .filter(|platform| platform.os != "unknown")
        .map(|platform| format!("{}/{}", platform.os, platform.architecture))
        .collect();
    offered.sort_unstable();
    offered.dedup();
    let offered = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
    Err(BoxliteError::Image(
        Detail::new(format!("{subject} has no image for linux/{host}; it offers: {offered}"))
            .subject(subject)
            .hint(format!("choose an image or a tag built for linux/{host}")),
    ))
}

#[cfg(test)]
#[path = "tests/manifest.rs"]
mod tests;
