//! What the shim's probe finds out about KVM and libkrun: one JSON object on its standard output.
//!
//! The verdicts and how they read to a person; how they are reached is the shim's affair.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Where KVM is, unless somebody says otherwise.
pub const KVM_DEVICE: &str = "/dev/kvm";

/// All that `boxlite-shim probe` has found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// Whether guests run on KVM.
    pub kvm: KvmVerdict,
    /// Whether this shim can use libkrun.
    pub libkrun: Libkrun,
}

/// Whether a shim can use libkrun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Libkrun {
    /// It is built in, and what it loads is there.
    Ready,
    /// It can't.
    Missing {
        /// What is missing.
        why: String,
        /// What to do about it.
        remedy: String,
    },
}

/// Whether guests run on KVM at the speed of the hardware.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum KvmVerdict {
    /// They do.
    Usable {
        /// What one turn of a counted loop took in a guest's kernel, in nanoseconds, rounded up.
        ns_per_turn: u64,
    },
    /// There is no KVM on this machine, or none is visible here.
    NoDevice {
        /// What is at its path.
        seen: String,
    },
    /// This user may not use it.
    NoPermission {
        /// Who may.
        seen: String,
        /// How to change that.
        remedy: String,
    },
    /// Guests run, but the machine emulates them: slower than QEMU would.
    NotAccelerated {
        /// What was measured.
        seen: String,
    },
    /// It fails where it should work.
    Broken {
        /// The step that failed.
        step: ProbeStep,
        /// How.
        seen: String,
        /// What can be done.
        remedy: String,
    },
}

/// What the probe does, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeStep {
    /// The probe's process starts and answers.
    Start,
    /// The device is opened.
    Open,
    /// It is asked for KVM's version.
    ApiVersion,
    /// It is asked for the extensions that libkrun needs.
    Extensions,
    /// A virtual machine is made.
    CreateVm,
    /// It gets memory and a vCPU.
    Prepare,
    /// It runs.
    Run,
    /// It runs and neither ends nor can be interrupted.
    Hang,
    /// It has given the right answers.
    Answer,
}

impl ProbeStep {
    /// The step as a part of a sentence: "… failed".
    fn describe(self) -> &'static str {
        match self {
            Self::Start => "running the probe",
            Self::Open => "opening the device",
            Self::ApiVersion => "asking for KVM's version",
            Self::Extensions => "looking for the extensions a machine needs",
            Self::CreateVm => "making a virtual machine",
            Self::Prepare => "giving a virtual machine its memory and CPU",
            Self::Run => "running a guest",
            Self::Hang => "ending a guest",
            Self::Answer => "checking what a guest computed",
        }
    }
}

impl KvmVerdict {
    /// There is nothing at `device`.
    pub fn missing(device: &Path) -> Self {
        Self::NoDevice { seen: format!("{} does not exist", device.display()) }
    }

    /// Whether guests run on KVM at the speed of the hardware.
    pub fn is_usable(&self) -> bool {
        matches!(self, Self::Usable { .. })
    }

    /// What a person can do about it; empty when nothing needs to be done.
    pub fn remedy(&self) -> &str {
        match self {
            Self::Usable { .. } => "",
            Self::NoDevice { .. } => {
                "switch virtualisation on in the firmware (or nested virtualisation in the hypervisor above), load \
                 kvm_intel or kvm_amd, and in a container pass the device in (`--device /dev/kvm`)"
            }
            Self::NotAccelerated { .. } => {
                "use a machine with hardware virtualisation: a bare-metal one, or one whose hypervisor offers nested \
                 virtualisation"
            }
            Self::NoPermission { remedy, .. } | Self::Broken { remedy, .. } => remedy,
        }
    }
}

impl fmt::Display for KvmVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usable { ns_per_turn } => {
                write!(
                    f,
                    "KVM runs guests at hardware speed (at most {ns_per_turn} ns per turn of a counted loop)"
                )
            }
            Self::NoDevice { seen } => write!(f, "there is no KVM: {seen}"),
            Self::NoPermission { seen, .. } => write!(f, "KVM may not be used: {seen}"),
            Self::NotAccelerated { seen } => write!(f, "KVM is there but emulated in software: {seen}"),
            Self::Broken { step, seen, .. } => {
                write!(f, "KVM does not work: {} failed: {seen}", step.describe())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_survive_the_wire_and_all_but_the_good_one_have_a_remedy() {
        let text = String::from;
        let verdicts = [
            KvmVerdict::Usable { ns_per_turn: 1 },
            KvmVerdict::missing(Path::new("/x/kvm")),
            KvmVerdict::NoPermission { seen: text("s"), remedy: text("r") },
            KvmVerdict::NotAccelerated { seen: text("s") },
            KvmVerdict::Broken { step: ProbeStep::CreateVm, seen: text("s"), remedy: text("r") },
        ];
        for kvm in verdicts {
            assert_eq!(kvm.is_usable(), kvm.remedy().is_empty(), "{kvm}");
            let report = ProbeReport { kvm, libkrun: Libkrun::Missing { why: text("w"), remedy: text("r") } };
            let json = serde_json::to_string(&report).unwrap();
            assert_eq!(serde_json::from_str::<ProbeReport>(&json).unwrap(), report, "{json}");
        }
    }
}
