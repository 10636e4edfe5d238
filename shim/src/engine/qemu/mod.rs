//! QEMU's microvm with software emulation: checks, starts and explains it.
//!
//! Owns what is particular to QEMU. Supervises nothing.

pub(crate) mod command;
mod explain;
pub(crate) mod monitor;
pub(crate) mod qmp;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use boxlite_proto::shim::{Course, Progress, ShimSpec, files};

use super::process::{End, Process};
use super::{AgentPipe, Boot, Engine, Frozen, Machine, readable_file};
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
        // A machine that is frozen before its agent has heard of a box has none.
        let has_box = spec.course != Course::Freeze { progress: Progress::Booted };
        let wanted = if has_box { &pieces[..] } else { &pieces[..3] };
        for (piece, path) in wanted {
            let (piece, path) = (*piece, *path);
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
        let mut pass: Vec<OwnedFd> = vec![agent_there.into(), console_there.into(), monitor_there.into()];
        let frozen = match &spec.course {
            Course::Clone { template, progress } => {
                Some(open_template(spec, Path::new(template), *progress, &mut pass)?)
            }
            Course::Boot | Course::Freeze { .. } => None,
        };
        let process = Process::spawn(qemu, messages_there.into(), &pass)
            .map_err(|source| StartError::EngineStart { program: spec.engine_program.clone(), source })?;
        Ok(Machine {
            process,
            agent: AgentPipe::Open(agent.into()),
            console: console.into(),
            messages: messages.into(),
            monitor: Some(monitor.into()),
            frozen,
        })
    }

    fn explain(&self, end: End, messages: String) -> StartError {
        explain::explain(end, messages)
    }

    fn needs_tsc_rate(&self) -> bool {
        true
    }
}

/// Opens a template's state for QEMU to inherit. Its memory QEMU opens by itself.
fn open_template(
    spec: &ShimSpec,
    template: &Path,
    progress: Progress,
    pass: &mut Vec<OwnedFd>,
) -> Result<Frozen, StartError> {
    let unusable = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| StartError::Template { why: format!("{}: {source}", path.display()) }
    };
    let state = template.join(files::STATE);
    let state: OwnedFd = File::open(&state).map_err(unusable(&state))?.into();
    let box_disk = match progress {
        Progress::Booted => {
            let disk = Path::new(&spec.box_disk);
            Some(virtual_size(disk).map_err(unusable(disk))?)
        }
        Progress::SetUp => None,
    };
    let frozen = Frozen { state: state.as_raw_fd(), box_disk };
    pass.push(state);
    Ok(frozen)
}

/// The size of a disk in a qcow2 file, as its header has it (QEMU's docs/interop/qcow2: bytes 24 to 31, big-endian).
fn virtual_size(disk: &Path) -> io::Result<u64> {
    let mut size = [0; 8];
    File::open(disk)?.read_exact_at(&mut size, 24)?;
    Ok(u64::from_be_bytes(size))
}

/// Both ends close-on-exec.
fn pair() -> io::Result<(UnixStream, UnixStream)> {
    UnixStream::pair()
}
