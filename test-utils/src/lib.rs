//! Test helpers.
pub mod home;
pub mod oci;
pub mod registry;
pub mod erofs_reader;
pub mod layers;
pub mod host_tree;
