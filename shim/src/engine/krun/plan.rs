//! What the supervisor tells the machine's process: one JSON object through a pipe.
//!
//! Owns the message and its way. Nothing of it appears on a command line.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use boxlite_proto::shim::ShimSpec;
use serde::{Deserialize, Serialize};

use crate::engine::{Boot, Verbosity};
use crate::sys;

/// A machine to be.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) spec: ShimSpec,
    /// The kernel says all it can.
    pub(super) talkative: bool,
    /// Names the socket that the agent's connection goes to.
    pub(super) agent: RawFd,
    /// Takes the console's output.
    pub(super) console: RawFd,
}

impl Plan {
    pub(super) fn new(spec: &ShimSpec, boot: Boot, agent: RawFd, console: RawFd) -> Self {
        Self { spec: spec.clone(), talkative: boot.verbosity == Verbosity::Full, agent, console }
    }

    /// Puts the plan into a pipe, which has room for it, and gives the end to read it from.
    pub(super) fn send(&self) -> io::Result<OwnedFd> {
        let json = serde_json::to_vec(self)?;
        let (read, mut write) = io::pipe()?;
        // A plan that does not fit must be an error, not a wait for a reader that comes later.
        sys::set_nonblocking(&write)?;
        write.write_all(&json)?;
        Ok(read.into())
    }

    /// Takes the plan from the descriptor that the command line named.
    pub(super) fn receive(number: RawFd) -> io::Result<Self> {
        // SAFETY: the supervisor has passed this descriptor for this purpose, and nothing else here uses it.
        let mut pipe = unsafe { File::from_raw_fd(number) };
        let mut json = Vec::new();
        pipe.read_to_end(&mut json)?;
        Ok(serde_json::from_slice(&json)?)
    }
}
