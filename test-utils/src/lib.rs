//! Test helpers.
pub mod oci;
pub mod registry;
