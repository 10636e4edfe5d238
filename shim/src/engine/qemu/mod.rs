//! QEMU's microvm with software emulation: checks, starts and explains it.
//!
//! Owns what is particular to QEMU. Supervises nothing.

pub(crate) mod command;
mod explain;
pub(crate) mod qmp;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use boxlite_proto::shim::ShimSpec;

use super::process::{End, Process};
use super::{Boot, Engine, Machine};
use crate::supervisor::failure::{Piece, StartError};
use command::Ends;

/// The engine that needs nothing of the host but QEMU.
pub(crate) struct Qemu;

impl Engine for Qemu {
    fn check(&self, spec: &ShimSpec) -> Result<(), StartError> {
        let box_disk = spec.box_dir.join(&spec.box_disk);
        let pieces: [(Piece, &Path); 5] = [
            (Piece::Engine, &spec.engine_program),
            (Piece::Kernel, &spec.kernel),
            (Piece::GuestDisk, &spec.guest_disk),
            (Piece::ImageDisk, &spec.image_disk),
            (Piece::BoxDisk, &box_disk),
        ];
        for (piece, path) in pieces {
            readable_file(path).map_err(|source| StartError::Piece { piece, path: path.into(), source })?;
        }
        Ok(())
    }

    fn launch(&self, spec: &ShimSpec, boot: Boot) -> Result<Machine, StartError> {
        let plumbing = |source| StartError::Plumbing { what: "the machine's sockets", source };
        let (agent, agent_there) = pair().map_err(plumbing)?;
        let (console, console_there) = pair().map_err(plumbing)?;
        let (mut monitor, monitor_there) = pair().map_err(plumbing)?;
        let (messages, messages_there) = pair().map_err(plumbing)?;
        let ends = Ends {
            agent: agent_there.as_raw_fd(),
            console: console_there.as_raw_fd(),
            monitor: monitor_there.as_raw_fd(),
        };
        // QEMU reads this once it gets there; until then no event is sent.
        monitor.write_all(qmp::HANDSHAKE).map_err(plumbing)?;
        let mut qemu = Command::new(&spec.engine_program);
        qemu.args(command::arguments(spec, boot, ends));
        let pass: [OwnedFd; 3] = [agent_there.into(), console_there.into(), monitor_there.into()];
        let process = Process::spawn(qemu, messages_there.into(), &pass)
            .map_err(|source| StartError::EngineStart { program: spec.engine_program.clone(), source })?;
        Ok(Machine {
            process,
            agent: agent.into(),
            console: console.into(),
            messages: messages.into(),
            monitor: Some(monitor.into()),
        })
    }

    fn explain(&self, end: End, messages: String) -> StartError {
        explain::explain(end, messages)
    }
}

/// Both ends close-on-exec.
fn pair() -> io::Result<(UnixStream, UnixStream)> {
    UnixStream::pair()
}

fn readable_file(path: &Path) -> io::Result<()> {
    if File::open(path)?.metadata()?.is_file() {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::EISDIR))
    }
}
