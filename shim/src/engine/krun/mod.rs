//! libkrun on KVM: checks, starts and explains it.
//!
//! Owns what is particular to libkrun from the supervisor's side. The machine itself runs in a process of its own, the
//! shim's program anew ([`vm`]), since libkrun takes over the process that enters it and leaves it by `_exit`: a fresh
//! program shares no thread, no memory and no descriptor with the supervisor but those it is given.

mod context;
mod explain;
mod firmware;
mod plan;
mod sys;
pub(crate) mod vm;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use boxlite_proto::probe::{KVM_DEVICE, Libkrun};
use boxlite_proto::shim::{ShimSpec, files};

use super::process::{End, Process};
use super::{AgentPipe, Boot, Engine, Machine, readable_file};
use crate::kernel::library::check_file;
use crate::supervisor::failure::{Piece, Shortage, StartError};
use plan::Plan;

/// This program, whatever has become of its file since.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// The engine that needs KVM.
pub(crate) struct Krun;

impl Engine for Krun {
    fn check(&self, spec: &ShimSpec) -> Result<(), StartError> {
        OpenOptions::new().read(true).write(true).open(KVM_DEVICE).map_err(|source| StartError::Piece {
            piece: Piece::Kvm,
            path: KVM_DEVICE.into(),
            source,
        })?;
        check_file(&spec.kernel).map_err(StartError::Firmware)?;
        let box_disk = spec.box_dir.join(&spec.box_disk);
        let pieces: [(Piece, &Path); 3] = [
            (Piece::GuestAgent, &spec.guest_disk),
            (Piece::ImageDisk, &spec.image_disk),
            (Piece::BoxDisk, &box_disk),
        ];
        for (piece, path) in pieces {
            readable_file(path).map_err(|source| StartError::Piece { piece, path: path.into(), source })?;
        }
        enough_memory(spec.memory_mib)
    }

    fn launch(&self, spec: &ShimSpec, boot: Boot) -> Result<Machine, StartError> {
        let plumbing = |source| StartError::Plumbing { what: "the machine's sockets", source };
        let (agent, agent_there) = rendezvous(Path::new(files::AGENT_SOCKET)).map_err(plumbing)?;
        let (console, console_there) = io::pipe().map_err(plumbing)?;
        let (messages, messages_there) = UnixStream::pair().map_err(plumbing)?;
        let plan = Plan::new(spec, boot, agent_there.as_raw_fd(), console_there.as_raw_fd());
        let plan_there = plan.send().map_err(plumbing)?;
        let mut vm = Command::new(OWN_PROGRAM);
        vm.arg0("boxlite-shim").args(["vm", &spec.box_id, &plan_there.as_raw_fd().to_string()]);
        let pass: [OwnedFd; 3] = [agent_there, console_there.into(), plan_there];
        let process = Process::spawn(vm, messages_there.into(), &pass)
            .map_err(|source| StartError::EngineStart { program: OWN_PROGRAM.into(), source })?;
        Ok(Machine {
            process,
            agent: AgentPipe::Expected(agent),
            console: console.into(),
            messages: messages.into(),
            monitor: None,
            frozen: None,
        })
    }

    fn explain(&self, end: End, messages: String) -> StartError {
        explain::explain(end, messages)
    }

    fn needs_tsc_rate(&self) -> bool {
        // On KVM the guest reads the host's clock page.
        false
    }
}

/// Whether this shim can use libkrun: it is built in, so that only what it loads can be missing.
pub(super) fn availability() -> Libkrun {
    match firmware::try_own() {
        Ok(()) => Libkrun::Ready,
        Err(error) => Libkrun::Missing { why: error.to_string(), remedy: Piece::Kernel.remedy().into() },
    }
}

/// A socket to be connected to once, and a descriptor by which: it has no name any more, so nobody else can.
fn rendezvous(path: &Path) -> io::Result<(UnixListener, OwnedFd)> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    let name = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path);
    fs::remove_file(path)?;
    Ok((listener, name?.into()))
}

/// libkrun reserves a guest's memory without asking whether there is any.
fn enough_memory(wanted_mib: u32) -> Result<(), StartError> {
    let total_mib = total_memory_mib();
    match total_mib {
        Some(total_mib) if u64::from(wanted_mib) > total_mib => Err(StartError::Shortage {
            shortage: Shortage::Memory,
            messages: format!("it is to have {wanted_mib} MiB, and the host has {total_mib} MiB in all"),
        }),
        _ => Ok(()),
    }
}

fn total_memory_mib() -> Option<u64> {
    let text = io::read_to_string(File::open("/proc/meminfo").ok()?).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_socket_without_a_name_is_reached_by_its_descriptor_alone() {
        let dir = std::env::temp_dir().join(format!("shim-rendezvous-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let path = dir.join("s");
        fs::write(&path, "left by a killed run").unwrap();
        let (listener, name) = rendezvous(&path).unwrap();
        assert!(!path.exists());
        let by_descriptor = format!("/proc/self/fd/{}", name.as_raw_fd());
        let mut caller = UnixStream::connect(&by_descriptor).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        caller.write_all(b"x").unwrap();
        accepted.read_exact(&mut [0]).unwrap();
        drop(listener);
        crate::sys::soon("the second caller finds nobody", || UnixStream::connect(&by_descriptor).is_err());
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn more_memory_than_the_host_has_is_refused_by_name() {
        enough_memory(64).unwrap();
        let error = enough_memory(u32::MAX).unwrap_err().to_string();
        assert!(error.contains("4294967295 MiB") && error.contains("memory"), "{error}");
    }
}
