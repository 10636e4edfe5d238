//! Images: from a reference to a verified, complete image, and from that to one read-only disk.
//!
//! Owns everything under `<home>/images/`, which many homes and processes may share. Knows nothing of boxes.

mod access;
mod archive;
mod authorities;
mod blobs;
mod config;
mod credentials;
mod disks;
mod fetch;
mod flight;
mod handle;
mod helper;
mod identity;
mod image;
mod layout;
mod manifest;
mod mirrors;
mod progress;
mod prune;
mod pull;
mod reference;
mod refs;
mod registry;
mod stamp;
mod store;

pub use crate::model::digest::{Digest, DigestError};
pub(crate) use access::Access;
pub(crate) use authorities::Authorities;
pub use config::ImageConfig;
pub(crate) use credentials::Credentials;
pub use handle::{ImageHandle, PulledImage};
pub use image::{ImageDisk, ImageLimits, LayerDescriptor, StoredImage};
pub use manifest::LayerFormat;
pub(crate) use mirrors::Mirrors;
pub use progress::{ImageProgress, ImageStage, LayerProgress, ProgressSink};
pub(crate) use prune::ImageUser;
pub use prune::{PrunedItem, PrunedKind};
pub use reference::{ImageSource, NamedReference, RegistryReference, validate};
pub use store::{ImageStore, absolute_reference};

#[cfg(test)]
mod tests;
