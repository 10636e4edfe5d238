//! Starts a box's shim and watches it from outside. What happens inside the shim is the shim's business.

mod descriptor;
pub(crate) mod engine;
mod host;
mod locate;
pub(crate) mod pieces;
mod presence;
pub(crate) mod probe;
mod remembered;
mod shim;
pub(crate) mod template;
mod tree;
mod tsc;
mod usage;

pub(crate) use host::available_memory;
pub(crate) use locate::{is_shim, locate};
pub(crate) use remembered::sweep_drafts;
pub(crate) use shim::{Owner, ShimProcess, Started, StartingShim};
pub(crate) use tree::{processes_of, reap_tree};
pub(crate) use tsc::TscRate;
pub(crate) use usage::{Usage, usage_of};
