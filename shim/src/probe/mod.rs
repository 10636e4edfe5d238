//! Finds out whether guests run on KVM at the speed of the hardware, by running one.
//!
//! That `/dev/kvm` can be opened proves little: there are machines whose KVM emulates the guest's kernel code, gives
//! right answers, and is slower than QEMU. So a small real guest is run and timed. In a process of its own, since a
//! broken KVM may hang it. Owns the verdict; what follows from it is the library's decision.

mod device;
mod guest;
mod timer;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use boxlite_proto::probe::{KvmVerdict, ProbeReport, ProbeStep};
use kvm_ioctls::{Cap, Kvm, VmFd};

use crate::engine;
use guest::{Answers, Guest, Outcome, TURNS};

/// The only version there has been since 2007.
const API_VERSION: i32 = kvm_bindings::KVM_API_VERSION as i32;
/// What libkrun and QEMU can't do without.
const EXTENSIONS: [(Cap, &str); 5] = [
    (Cap::Irqchip, "IRQCHIP"),
    (Cap::Ioeventfd, "IOEVENTFD"),
    (Cap::Irqfd, "IRQFD"),
    (Cap::UserMemory, "USER_MEMORY"),
    (Cap::SetTssAddr, "SET_TSS_ADDR"),
];
/// Hardware takes about 1 ns a turn, nested virtualisation up to some tens; emulation takes hundreds.
const MOST_NS_PER_TURN: u64 = 100;
/// A round of the loop at that rate.
const MOST_A_ROUND: Duration = Duration::from_nanos(MOST_NS_PER_TURN * TURNS as u64);
/// A guest that hasn't ended by then has missed that rate; with less CPU time nothing can be said of one that was cut off.
const LEAST_TO_TELL: Duration = Duration::from_millis(10);

/// Probes the device and prints the report.
pub(crate) fn run(device: &Path) -> ExitCode {
    let kvm = examine(device).unwrap_or_else(|verdict| verdict);
    match serde_json::to_string(&ProbeReport { kvm, libkrun: engine::libkrun() }) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("boxlite-shim: the report can't be written: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Both sides are verdicts: the error is the one that a step ended the probe with.
fn examine(device: &Path) -> Result<KvmVerdict, KvmVerdict> {
    let kvm = device::open(device)?;
    check_interface(device, &kvm)?;
    let vm = create_vm(&kvm)?;
    let mut guest =
        Guest::new(&kvm, &vm).map_err(|error| broken(ProbeStep::Prepare, &error.to_string(), ""))?;
    judge(&guest.run(MOST_A_ROUND)?)
}

fn check_interface(device: &Path, kvm: &Kvm) -> Result<(), KvmVerdict> {
    let version = kvm.get_api_version();
    if version != API_VERSION {
        let seen = match version {
            ..0 => format!("{} does not answer as KVM does", device.display()),
            _ => format!("KVM has version {version}, not {API_VERSION}"),
        };
        return Err(broken(ProbeStep::ApiVersion, &seen, "name the device of the kernel's own KVM"));
    }
    match EXTENSIONS.iter().find(|(extension, _)| !kvm.check_extension(*extension)) {
        Some((_, name)) => {
            let seen = format!("KVM lacks {name}");
            Err(broken(ProbeStep::Extensions, &seen, "use a kernel with the whole of KVM"))
        }
        None => Ok(()),
    }
}

fn create_vm(kvm: &Kvm) -> Result<VmFd, KvmVerdict> {
    kvm.create_vm().map_err(|error| {
        let remedy = match error.errno() {
            libc::EBUSY => "stop the other hypervisor (VirtualBox, VMware) that has the CPU's virtualisation",
            libc::ENOMEM => "free memory",
            _ => "",
        };
        broken(ProbeStep::CreateVm, &error.to_string(), remedy)
    })
}

/// The verdict on a guest that has run.
fn judge(outcome: &Outcome) -> Result<KvmVerdict, KvmVerdict> {
    match outcome {
        Outcome::Done { fastest, answers } => {
            check(answers)?;
            let ns_per_turn = per_turn(*fastest, TURNS);
            if *fastest <= MOST_A_ROUND {
                return Ok(KvmVerdict::Usable { ns_per_turn });
            }
            Err(KvmVerdict::NotAccelerated { seen: slow(ns_per_turn) })
        }
        Outcome::CutOff { cpu, wall, fastest, .. }
            if *cpu < LEAST_TO_TELL || fastest.is_some_and(|fastest| fastest <= MOST_A_ROUND) =>
        {
            Err(broken(
                ProbeStep::Run,
                &format!(
                    "the machine is too busy: the guest got {} ms of CPU time in {} ms",
                    cpu.as_millis(),
                    wall.as_millis()
                ),
                "try again when there is less load",
            ))
        }
        Outcome::CutOff { fastest: Some(fastest), .. } => {
            Err(KvmVerdict::NotAccelerated { seen: slow(per_turn(*fastest, TURNS)) })
        }
        Outcome::CutOff { cpu, turns: 0, .. } => Err(KvmVerdict::NotAccelerated {
            seen: format!("a guest got nowhere in {} ms of CPU time", cpu.as_millis()),
        }),
        Outcome::CutOff { cpu, turns, .. } => {
            Err(KvmVerdict::NotAccelerated { seen: slow(per_turn(*cpu, *turns)) })
        }
    }
}

fn check(answers: &Answers) -> Result<(), KvmVerdict> {
    if answers.computed == answers.expected {
        return Ok(());
    }
    let seen = format!("it said {:#010x} instead of {:#010x}", answers.computed, answers.expected);
    Err(broken(ProbeStep::Answer, &seen, ""))
}

fn per_turn(took: Duration, turns: u32) -> u64 {
    u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).div_ceil(u64::from(turns.max(1)))
}

fn slow(ns_per_turn: u64) -> String {
    format!(
        "one turn of a counted loop takes {ns_per_turn} ns in a guest's kernel; hardware takes about 1 ns, and more \
         than {MOST_NS_PER_TURN} ns means that each instruction is emulated"
    )
}

fn broken(step: ProbeStep, seen: &str, remedy: &str) -> KvmVerdict {
    let remedy =
        if remedy.is_empty() { "look for KVM's messages in the kernel's log (dmesg)" } else { remedy };
    KvmVerdict::Broken { step, seen: seen.to_owned(), remedy: remedy.to_owned() }
}

#[cfg(test)]
mod tests;
