//! What the supervisor knows of a virtual machine monitor: how to start it and what it hands out.
//!
//! Owns the seam and the choice of the engine. Boxes, agents and files are the supervisor's.

pub(crate) mod krun;
pub(crate) mod process;
pub(crate) mod qemu;
mod shortage;

use std::fs::File;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use boxlite_proto::probe::Libkrun;
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
    pub(crate) agent: AgentPipe,
    /// What the guest writes to its console.
    pub(crate) console: OwnedFd,
    /// What the monitor writes to its standard error.
    pub(crate) messages: OwnedFd,
    /// The monitor's control connection, where it has one.
    pub(crate) monitor: Option<OwnedFd>,
    /// The machine has no state yet: what it is to be restored from.
    pub(crate) frozen: Option<Frozen>,
}

/// A template's state, for a machine that waits for it.
pub(crate) struct Frozen {
    /// The state's descriptor, by its number in the monitor's process.
    pub(crate) state: RawFd,
    /// Size of the box's disk in bytes, where the template's guest doesn't know it.
    pub(crate) box_disk: Option<u64>,
}

/// The host's end of the one byte pipe to the agent.
pub(crate) enum AgentPipe {
    /// It is there from the start; the agent opens its end when it runs.
    Open(OwnedFd),
    /// The agent's first connection to this socket is the pipe; there is no second.
    Expected(UnixListener),
}

/// A virtual machine monitor.
pub(crate) trait Engine {
    /// Finds out before anything is started whether every piece is there and readable.
    fn check(&self, spec: &ShimSpec) -> Result<(), StartError>;
    /// Starts the machine. Called from the main thread, since the child's life hangs on the forking thread's.
    fn launch(&self, spec: &ShimSpec, boot: Boot) -> Result<Machine, StartError>;
    /// Why the monitor ended before the agent had answered, from its last words.
    fn explain(&self, end: End, messages: String) -> StartError;
    /// Whether the guest's clock needs to be told the time stamp counter's rate, which takes a while to measure.
    fn needs_tsc_rate(&self) -> bool;
}

/// The engine of this kind.
pub(crate) fn of(kind: EngineKind) -> Box<dyn Engine> {
    match kind {
        EngineKind::QemuTcg | EngineKind::QemuKvm => Box::new(qemu::Qemu),
        EngineKind::Krun => Box::new(krun::Krun),
    }
}

/// Whether libkrun can be used.
pub(crate) fn libkrun() -> Libkrun {
    krun::availability()
}

/// Opens a file that an engine is to use, to find out before it tries.
fn readable_file(path: &Path) -> io::Result<()> {
    if File::open(path)?.metadata()?.is_file() {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::EISDIR))
    }
}
