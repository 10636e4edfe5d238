//! What the supervisor knows of a virtual machine monitor: how to start it and what it hands out.
//!
//! Owns the seam and the choice of the engine. Boxes, agents and files are the supervisor's.

pub(crate) mod process;
pub(crate) mod qemu;

use std::os::fd::OwnedFd;

use boxlite_proto::shim::{EngineKind, ShimSpec};

use crate::supervisor::failure::StartError;
use process::{End, Process};

/// What the guest's kernel tells on its console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verbosity {
    /// Nothing short of a disaster: each line costs time.
    Quiet,
    /// Everything, to find out why a boot failed.
    Full,
}

/// One way to boot a box.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Boot {
    /// How much the kernel says.
    pub(crate) verbosity: Verbosity,
    /// Rate of the time stamp counter in kHz.
    pub(crate) tsc_khz: u32,
}

/// A running virtual machine, as its engine hands it over.
pub(crate) struct Machine {
    /// The monitor's process; its end is the machine's.
    pub(crate) process: Process,
    /// Host end of the byte pipe to the agent.
    pub(crate) agent: OwnedFd,
    /// What the guest writes to its console.
    pub(crate) console: OwnedFd,
    /// What the monitor writes to its standard error.
    pub(crate) messages: OwnedFd,
    /// The monitor's control connection, where it has one.
    pub(crate) monitor: Option<OwnedFd>,
}

/// A virtual machine monitor.
pub(crate) trait Engine {
    /// Finds out before anything is started whether every piece is there and readable.
    fn check(&self, spec: &ShimSpec) -> Result<(), StartError>;
    /// Starts the machine. Called from the main thread, since the child's life hangs on the forking thread's.
    fn launch(&self, spec: &ShimSpec, boot: Boot) -> Result<Machine, StartError>;
    /// Why the monitor ended before the agent had answered, from its last words.
    fn explain(&self, end: End, messages: String) -> StartError;
}

/// The engine of this kind.
pub(crate) fn of(kind: EngineKind) -> Box<dyn Engine> {
    match kind {
        EngineKind::QemuTcg => Box::new(qemu::Qemu),
    }
}
