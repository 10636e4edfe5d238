//! `boxlite-shim vm ID FD`: the process that becomes the virtual machine.
//!
//! Owns the description of the machine to libkrun. It never returns to the supervisor: the guest's reboot, or a kill,
//! ends it.

use std::fs;
use std::os::fd::RawFd;
use std::path::Path;
use std::process::ExitCode;

use boxlite_proto::shim::{DiskCache, files};
use boxlite_proto::{AGENT_VSOCK_PORT, serial};

use super::context::{Access, Context, DiskFormat, KrunError};
use super::firmware;
use super::plan::Plan;
use crate::kernel::KernelError;

/// Exit code of a machine that libkrun, or this file, would not build. libkrun's own ends are 0 and above 147.
pub(super) const REFUSED: i32 = 3;

/// Directories that the agent mounts on; the root has nothing else but the agent, and no guest can write to it.
const MOUNT_POINTS: [&str; 5] = ["/dev", "/proc", "/sys", "/run", "/tmp"];
/// Where libkrun's kernel command line has the init.
const INIT: &str = "/init.krun";

#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("no plan came from the supervisor: {0}")]
    Plan(std::io::Error),
    #[error("the plan is for box {plan}, not for {argument}")]
    OtherBox { argument: String, plan: String },
    #[error(transparent)]
    Firmware(#[from] KernelError),
    #[error("cannot read the agent {path}: {source}")]
    Agent { path: String, source: std::io::Error },
    #[error(transparent)]
    Krun(#[from] KrunError),
}

/// Becomes the machine that the plan behind descriptor `plan` describes; returns only when that failed.
pub(crate) fn run(box_id: &str, plan: RawFd) -> ExitCode {
    let Err(refusal) = become_machine(box_id, plan);
    eprintln!("boxlite-shim vm: {refusal}");
    ExitCode::from(REFUSED as u8)
}

fn become_machine(box_id: &str, plan: RawFd) -> Result<std::convert::Infallible, Refusal> {
    let plan = Plan::receive(plan).map_err(Refusal::Plan)?;
    let spec = &plan.spec;
    if spec.box_id != box_id {
        return Err(Refusal::OtherBox { argument: box_id.into(), plan: spec.box_id.clone() });
    }
    firmware::load(&spec.kernel)?;
    let agent = fs::read(&spec.guest_disk)
        .map_err(|source| Refusal::Agent { path: spec.guest_disk.display().to_string(), source })?;

    let mut machine = Context::new()?;
    machine.set_size(spec.cpus, spec.memory_mib)?;
    machine.set_root_in_memory(&MOUNT_POINTS, INIT, agent)?;
    machine.add_disk(serial::IMAGE, &spec.image_disk, DiskFormat::Raw, Access::ReadOnly)?;
    let access = match spec.disk_cache {
        DiskCache::Writeback => Access::Synced,
        DiskCache::Unsafe => Access::Unsynced,
    };
    machine.add_disk(serial::BOX, Path::new(&spec.box_disk), DiskFormat::Qcow2, access)?;
    machine.add_disk(serial::TRANSFER, Path::new(files::TRANSFER), DiskFormat::Raw, Access::Unsynced)?;
    machine.add_vsock_port(AGENT_VSOCK_PORT, &by_descriptor(plan.agent))?;
    machine.set_console(&by_descriptor(plan.console))?;
    if plan.talkative {
        machine.add_kernel_words(&["loglevel=7"])?;
    }
    Ok(machine.enter()?)
}

/// What a descriptor names, as a path: short whatever the home is called, and without a name in it.
fn by_descriptor(number: RawFd) -> String {
    format!("/proc/self/fd/{number}")
}
