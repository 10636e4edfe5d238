//! boxlite: an embeddable micro-VM runtime. A program hands it an OCI image and gets a box, a virtual machine of its
//! own, in which untrusted code runs. No daemon, no root.
//!
//! ```no_run
//! # async fn demo() -> boxlite::BoxliteResult<()> {
//! use boxlite::{BoxCommand, BoxOptions, BoxliteRuntime, runtime::options::BoxliteOptions};
//!
//! let runtime = BoxliteRuntime::new(BoxliteOptions::default())?;
//! let sandbox = runtime.create(BoxOptions::default(), None).await?;
//! let execution = sandbox.exec(BoxCommand::new("echo").arg("hello")).await?;
//! assert_eq!(execution.wait().await?.exit_code, 0);
//! sandbox.stop().await
//! # }
//! ```
//!
//! Rooms, from the outside in: `capi` → [`runtime`] → [`litebox`] → images, disk, vmm, portal → the shim and the
//! guest agent, which are programs of their own. A lower room never uses a higher one.

mod caller;
pub mod capi;
mod db;
pub mod disk;
mod errors;
mod executor;
pub mod images;
mod layout;
pub mod litebox;
mod lock;
mod log;
/// Figures: what a runtime and its boxes have done and what they take.
pub mod metrics {
    pub use crate::litebox::metrics::{BoxMetrics, RuntimeMetrics};
}
mod model;
mod panics;
mod per_process;
mod portal;
mod replace;
pub mod runtime;
pub mod util;
mod vmm;

pub use errors::{BoxliteError, BoxliteResult, Detail};
pub use images::ImageHandle;
pub use litebox::{
    BoxCommand, CopyOptions, ExecResult, ExecStderr, ExecStdin, ExecStdout, Execution, ExecutionId, LiteBox,
};
pub use model::advanced_options::{AdvancedBoxOptions, HealthCheckOptions, SecurityOptions};
pub use model::id::{BoxID, BoxIDMint};
pub use model::options::{
    BoxOptions, BoxliteOptions, Engine, ImageRegistry, ImageRegistryAuth, NetworkSpec, RegistryTransport,
    RootfsSpec, Secret,
};
pub use model::types::{BoxInfo, BoxStatus, HealthState, HealthStatus};
pub use runtime::BoxliteRuntime;

/// This library's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
