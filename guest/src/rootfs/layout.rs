//! Where things lie in the agent's own mount namespace, which no process of the box ever sees.
//!
//! Owns path constants only.

/// The agent's tmpfs.
pub(crate) const RUN: &str = "/run";
/// The image's EROFS.
pub(crate) const IMAGE: &str = "/run/image";
/// The box's ext4.
pub(crate) const DISK: &str = "/run/disk";
/// The overlay of both: the box's root.
pub(crate) const ROOT: &str = "/run/root";
/// Files the agent writes for the box, bound into its /etc.
pub(crate) const FILES: &str = "/run/files";
