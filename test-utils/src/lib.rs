//! Test helpers.
pub mod home;
pub mod oci;
pub mod registry;
