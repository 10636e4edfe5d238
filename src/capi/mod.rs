//! The C API: every `boxlite_*` function of `include/boxlite.h`, one file per noun.
//!
//! Owns what a C caller holds (handles, builders, results) and the way in: NULL, UTF-8, fork and panic checks, and the
//! wait for a future of the runtime. Never does any work of its own, and never keeps a caller's pointer.
//!
//! The header is generated from these files (`make header`), so doc comments here are written for C programmers.
#![allow(non_camel_case_types, reason = "the names are the C API's")]
#![allow(
    clippy::missing_safety_doc,
    reason = "what callers must keep to is the header's own text, and cbindgen would copy the section's heading"
)]

mod argument;
mod box_end;
mod box_limits;
mod box_options;
mod boxes;
mod call;
mod command;
mod command_streams;
mod copy;
mod copy_options;
mod credentials;
mod engine;
mod error;
mod exec;
mod execution;
mod execution_streams;
mod executions;
mod guard;
mod images;
mod info;
mod list;
mod metrics;
mod mirrors;
mod progress;
mod prune;
mod registries;
mod repair;
mod runtime;
mod runtime_options;
mod stream_state;
mod system_check;
mod templates;
mod version;
mod wait;

#[cfg(test)]
mod tests;

pub use box_end::*;
pub use box_limits::*;
pub use box_options::*;
pub use boxes::*;
pub use call::*;
pub use command::*;
pub use command_streams::*;
pub use copy::*;
pub use copy_options::*;
pub use credentials::*;
pub use engine::*;
pub use error::*;
pub use exec::*;
pub use execution::*;
pub use execution_streams::*;
pub use executions::*;
pub use images::*;
pub use info::*;
pub use list::*;
pub use metrics::*;
pub use mirrors::*;
pub use progress::*;
pub use prune::*;
pub use registries::*;
pub use repair::*;
pub use runtime::*;
pub use runtime_options::*;
pub use stream_state::*;
pub use system_check::*;
pub use templates::*;
pub use version::*;
