//! Plain data that every room knows: ids, options, what callers are told. Public under `runtime`, by their old names.

pub mod advanced_options;
pub(crate) mod digest;
pub mod id;
pub mod options;
pub mod registry;
pub mod types;
