//! Disks of a box: what they are made of and how they are written.
//!
//! Owns file formats only; never starts a process, never talks to a registry.

pub(crate) mod erofs;
pub(crate) mod ext4;
pub mod layers;
pub(crate) mod qcow2;
