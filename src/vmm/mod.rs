//! Starts a box's shim and watches it from outside. What happens inside the shim is the shim's business.

mod descriptor;
pub(crate) mod pieces;
mod shim;
mod tree;
mod tsc;

pub(crate) use shim::{Owner, ShimProcess, Started, StartingShim};
pub(crate) use tree::{processes_of, reap_tree};
pub(crate) use tsc::TscRate;
