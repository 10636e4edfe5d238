//! Test helpers.
pub mod erofs_reader;
pub mod home;
pub mod host_tree;
pub mod layers;
pub mod oci;
pub mod registry;
