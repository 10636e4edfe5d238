//! What the store hands out: images and their disks.
//!
//! Owns the types; reads and writes nothing.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::config::ImageConfig;
use super::manifest::LayerFormat;
use crate::model::digest::Digest;
use crate::model::types::{Bytes, ImageInfo};

/// A complete image in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredImage {
    /// The normalised reference, such as `docker.io/library/alpine:latest`.
    pub reference: String,
    /// The reference without tag and digest.
    pub repository: String,
    /// The tag, where there is one.
    pub tag: Option<String>,
    /// Digest of the manifest for this machine's platform: the image's identity.
    pub manifest_digest: Digest,
    /// Digest of the config.
    pub config_digest: Digest,
    /// The layers, bottom first.
    pub layers: Vec<LayerDescriptor>,
    /// How the image wants to be run.
    pub config: ImageConfig,
    /// Bytes of config and layers as stored.
    pub size_bytes: u64,
    /// When it was stored.
    pub created: DateTime<Utc>,
}

impl From<StoredImage> for ImageInfo {
    fn from(image: StoredImage) -> Self {
        Self {
            reference: image.reference,
            repository: image.repository,
            tag: image.tag.unwrap_or_default(),
            id: image.manifest_digest.to_string(),
            cached_at: image.created,
            size: Some(Bytes(image.size_bytes)),
        }
    }
}

/// One layer of a stored image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerDescriptor {
    /// Digest of the blob.
    pub digest: Digest,
    /// Bytes of the blob.
    pub size: u64,
    /// How it is packed.
    pub format: LayerFormat,
    /// Digest of the unpacked tar.
    pub diff_id: Digest,
}

/// The read-only disk of an image or a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageDisk {
    /// The disk's file; it never changes.
    pub path: PathBuf,
    /// The file's (sparse) length.
    pub bytes: u64,
    /// The image's manifest digest; for a directory, the digest of its path and state.
    pub manifest_digest: Digest,
    /// Whether this call built it.
    pub built: bool,
    /// How long this call took.
    pub took: Duration,
}

/// Bounds on what the store takes in and how patiently it does so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageLimits {
    /// Unpacked bytes of one layer.
    pub max_layer_bytes: u64,
    /// Entries of all layers together.
    pub max_entries: u64,
    /// Layers fetched at once.
    pub parallel_layers: usize,
    /// How long the owner of a lock may stand still before a waiter gives up.
    pub lock_patience: Duration,
    /// Attempts in a row without one byte of progress before a transfer is given up.
    pub attempts: u32,
    /// The pause before the second attempt; it doubles with each one.
    pub first_pause: Duration,
}

impl Default for ImageLimits {
    fn default() -> Self {
        Self {
            max_layer_bytes: 64 << 30,
            max_entries: 4_000_000,
            parallel_layers: 4,
            lock_patience: Duration::from_secs(30),
            attempts: 5,
            first_pause: Duration::from_millis(250),
        }
    }
}
