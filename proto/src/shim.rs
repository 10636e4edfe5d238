//! What the library and a box's shim say to each other: JSON, one message per packet of a SEQPACKET socketpair.
//!
//! The library starts `boxlite-shim box <id>` with its end of the pair as descriptor 0 and sends [`ShimSpec`]
//! with two descriptors attached, unless the box is detached: a pidfd of itself, and a file on all of which it has a
//! process-owned lock as long as it wants the box. The shim answers with [`Report`]s. `shutdown(2)` of the pair by the
//! owner means: stop the box. Fields are only ever added.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Which virtual machine monitor runs the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// QEMU microvm with software emulation (TCG).
    QemuTcg,
    /// QEMU microvm on KVM.
    QemuKvm,
    /// libkrun, on KVM.
    Krun,
}

impl EngineKind {
    /// The name by which people know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::QemuTcg => "qemu-tcg",
            Self::QemuKvm => "qemu-kvm",
            Self::Krun => "libkrun",
        }
    }

    /// What runs the guest's instructions.
    pub fn accelerator(self) -> &'static str {
        match self {
            Self::QemuTcg => "tcg",
            Self::QemuKvm | Self::Krun => "kvm",
        }
    }
}

/// What a flush of the box's disk, such as an `fsync` in the box ends in, comes to on the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskCache {
    /// Writes go through the host's page cache, and a flush of the box is one on the host: what a process in the box
    /// has synced survives the death of any process, and of the host itself.
    #[default]
    Writeback,
    /// Flushes stop at the host's page cache: faster, and what was synced survives the death of any process, but not
    /// the host's. For boxes whose data can be made again.
    Unsafe,
}

/// What a shim does with its machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "course", rename_all = "snake_case")]
pub enum Course {
    /// Boots it, and runs a box on it.
    #[default]
    Boot,
    /// Restores it from a template, and runs a box on it.
    Clone {
        /// The template's directory, as seen from `box_dir`.
        template: String,
        /// What its machine has been through.
        progress: Progress,
    },
    /// Boots it, freezes it, and leaves [`files::RAM`] and [`files::STATE`] in `box_dir`: a template.
    Freeze {
        /// When it is frozen.
        progress: Progress,
    },
}

/// How far a template's machine had come when it was frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// Its agent has heard of no box. Any box of the machine's sizes can be its clone.
    Booted,
    /// A box that nobody has asked for is set up in it, on an image and a disk ([`files::BOX_DISK`], which belongs to the
    /// template). Its clones are boxes of that image that never ran, each on a copy of the disk.
    SetUp,
}

/// Everything a shim needs to run one box. Paths are absolute, or relative to
/// `box_dir`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimSpec {
    /// Wire version of the sender.
    pub protocol: u32,
    /// Build of the sender; a shim of another build refuses.
    pub build_id: String,
    /// What to do.
    #[serde(default)]
    pub course: Course,
    /// The box.
    pub box_id: String,
    /// `<home>/boxes/<id>`: the shim's working directory.
    #[serde(with = "os_path")]
    pub box_dir: PathBuf,
    /// Which engine.
    pub engine: EngineKind,
    /// The engine's program (QEMU); not used for an engine within the shim.
    #[serde(with = "os_path")]
    pub engine_program: PathBuf,
    /// PVH kernel (QEMU), or the library that holds the kernel (libkrun).
    #[serde(with = "os_path")]
    pub kernel: PathBuf,
    /// What the guest boots from: the agent's own root disk (QEMU), or the agent's program (libkrun).
    #[serde(with = "os_path")]
    pub guest_disk: PathBuf,
    /// The image disk.
    #[serde(with = "os_path")]
    pub image_disk: PathBuf,
    /// Tells the image from all others.
    #[serde(default)]
    pub image: String,
    /// The box disk's file name in `box_dir`.
    pub box_disk: String,
    /// How the box disk is written.
    #[serde(default)]
    pub disk_cache: DiskCache,
    /// vCPUs.
    pub cpus: u8,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Host name inside the box.
    pub hostname: String,
    /// Outlives its owner: no owner watch.
    pub detach: bool,
    /// Rate of the time stamp counter in kHz, rounded to MHz; 0 = the shim measures it.
    pub tsc_khz: u32,
    /// Milliseconds until the agent must have answered.
    pub boot_deadline_ms: u64,
    /// Milliseconds between SIGTERM and SIGKILL when the shim itself stops the box.
    pub stop_grace_ms: u64,
    /// What the box is held to. Of a spare: nothing, until its claim.
    #[serde(flatten)]
    pub limits: Limits,
    /// Switches on fault tests in the guest.
    pub test_hooks: bool,
    /// Nobody has asked for this box yet: until a [`Word::Claim`] it goes with its owner at once, and its directory too.
    #[serde(default)]
    pub spare: bool,
    /// A spare that is likely to be claimed for another image: goes once through that.
    #[serde(default)]
    pub rehearse: bool,
}

/// What shim and agent hold a box to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Most processes in the box; 0 = the agent's default.
    pub pids_max: u32,
    /// Thousandths of one CPU for all commands of the box together; 0 = no limit.
    pub cpu_millis: u32,
    /// Milliseconds after which the shim stops the box; 0 = never.
    pub max_lifetime_ms: u64,
    /// Milliseconds without a command or an open stream after which the shim stops the box; 0 = never.
    pub idle_timeout_ms: u64,
}

/// What the owner tells the shim after the spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "word", rename_all = "snake_case")]
pub enum Word {
    /// The spare is to be the box that was asked for. Answered by [`Report::Claimed`], from which on it is, or by
    /// [`Report::Refused`], with which the spare ends.
    Claim(Claim),
}

/// What makes a spare a box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Host name inside the box.
    pub hostname: String,
    /// Outlives its owner from now on.
    pub detach: bool,
    /// The box's image disk, where the spare has another image: seen from the directory that the box has by now.
    #[serde(default)]
    pub image_disk: Option<String>,
    /// What the box is held to; its times count from now on.
    #[serde(flatten)]
    pub limits: Limits,
}

/// What the shim tells its owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "snake_case")]
pub enum Report {
    /// The shim is up, has the box's lock and has written `shim.pid`.
    Started {
        /// The shim's pid.
        pid: u32,
    },
    /// A step of the start is done.
    Stage {
        /// Its name, such as `engine`, `agent`, `configure`.
        name: String,
        /// Microseconds since the shim began.
        at_us: u64,
    },
    /// The agent has answered; `agent.sock` accepts.
    Ready {
        /// The steps of the agent's start, by name, in microseconds.
        stages: Vec<(String, u64)>,
        /// The guest's kernel release.
        kernel: String,
        /// The guest's clock source.
        clocksource: String,
        /// The time stamp counter's rate in kHz that the guest was told, for the next start.
        #[serde(default)]
        tsc_khz: u32,
    },
    /// The box could not be started; the shim ends.
    Failed(StartFailure),
    /// The spare is the owner's box.
    Claimed {
        /// What was done for it, by name, in microseconds each.
        stages: Vec<(String, u64)>,
    },
    /// The spare could not be made the owner's box, and ends.
    Refused {
        /// One sentence.
        why: String,
    },
}

/// Why a box could not be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartFailure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// The step that was being done.
    pub stage: String,
    /// One sentence that names what failed.
    pub message: String,
    /// What a person can do about it.
    pub hint: String,
    /// The end of the guest's console, of one more boot without `quiet` where the guest died.
    pub console: String,
    /// The operating system's error number, where one was the cause.
    pub os_errno: Option<i32>,
}

/// Kinds of start failures, each its own error for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// A piece (QEMU, kernel, disk) is missing or unusable.
    MissingPiece,
    /// Another shim runs this box.
    Busy,
    /// Memory, disk or descriptors ran out.
    Resources,
    /// The engine ended before the agent answered.
    EngineDied,
    /// The agent did not answer in time.
    AgentSilent,
    /// The agent answered with an error.
    AgentRefused,
    /// Library, shim and agent are of different builds.
    BuildMismatch,
    /// The owner went away during the start.
    OwnerGone,
    /// Anything else.
    Internal,
}

/// Content of `boxes/<id>/exit`, written by the shim when the box has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// How the box ended.
    #[serde(rename = "type")]
    pub kind: ExitKind,
    /// Exit code of the engine's process or the main command.
    pub exit_code: Option<i32>,
    /// Signal that ended the engine's process.
    pub signal: Option<i32>,
    /// One sentence for a person.
    pub message: String,
}

/// How a box ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitKind {
    /// Stopped in order: by a call, or because its owner went away.
    Stopped,
    /// Its owner went away.
    OwnerGone,
    /// The main command ended.
    MainExited,
    /// The VM ended without the agent's `bye`.
    Crashed,
    /// The host's kernel killed the engine for want of memory.
    OutOfMemory,
    /// It never came up.
    StartFailed,
    /// It had to be killed.
    Killed,
    /// It had run for as long as it may.
    LifetimeOver,
    /// It had been idle for as long as it may.
    Idle,
}

/// libkrunfw, the library that holds the guest's kernel.
pub mod libkrunfw {
    /// The name under which libkrun asks the dynamic loader for it.
    pub const NAME: &str = "libkrunfw.so.5";
    /// Where distributions put it. It is looked for beside the shim first.
    pub const SYSTEM_PLACES: [&str; 5] =
        ["/usr/local/lib64", "/usr/local/lib", "/usr/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib"];
}

/// Names of files in a box's directory.
pub mod files {
    /// Pid and start time of the shim; exists while the box runs.
    pub const PID: &str = "shim.pid";
    /// Locked (fcntl) by the shim while it lives.
    pub const LOCK: &str = "shim.lock";
    /// The socket on which the shim accepts connections for the agent.
    pub const AGENT_SOCKET: &str = "agent.sock";
    /// How the box ended last.
    pub const EXIT: &str = "exit";
    /// The `exit` of the run before.
    pub const EXIT_PREVIOUS: &str = "exit.previous";
    /// Directory of logs.
    pub const LOGS: &str = "logs";
    /// The shim's log, in `LOGS`.
    pub const SHIM_LOG: &str = "shim.log";
    /// The guest's console, in `LOGS`.
    pub const CONSOLE_LOG: &str = "console.log";
    /// The box's writable disk.
    pub const BOX_DISK: &str = "box.qcow2";
    /// The transfer disk, see [`transfer`](crate::transfer); exists while the box runs.
    pub const TRANSFER: &str = "transfer";
    /// A template's memory.
    pub const RAM: &str = "ram";
    /// A template's devices and CPUs.
    pub const STATE: &str = "state";
}

/// Paths as JSON: a string where they are UTF-8, else a list of bytes.
mod os_path {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Wire {
        Text(String),
        Bytes(Vec<u8>),
    }

    pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        match path.to_str() {
            Some(text) => text.serialize(serializer),
            None => path.as_os_str().as_bytes().serialize(serializer),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        Ok(match Wire::deserialize(deserializer)? {
            Wire::Text(text) => text.into(),
            Wire::Bytes(bytes) => OsString::from_vec(bytes).into(),
        })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[derive(Serialize, Deserialize)]
        struct Holder(#[serde(with = "super")] PathBuf);

        #[test]
        fn any_path_survives_the_wire() {
            for bytes in [&b"/a b"[..], b"/\xff\n/x"] {
                let path = PathBuf::from(OsString::from_vec(bytes.to_vec()));
                let json = serde_json::to_string(&Holder(path.clone())).unwrap();
                assert_eq!(serde_json::from_str::<Holder>(&json).unwrap().0, path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_without_limits_is_one_without_limits() {
        let word = r#"{"word":"claim","hostname":"h","detach":false}"#;
        let plain =
            Claim { hostname: "h".into(), detach: false, image_disk: None, limits: Limits::default() };
        assert_eq!(serde_json::from_str::<Word>(word).unwrap(), Word::Claim(plain.clone()));
        let limits = Limits { pids_max: 1, cpu_millis: 2, max_lifetime_ms: u64::MAX, idle_timeout_ms: 4 };
        let limited = Word::Claim(Claim { limits, ..plain });
        let json = serde_json::to_string(&limited).unwrap();
        assert!(json.contains(r#""cpu_millis":2"#), "{json}");
        assert_eq!(serde_json::from_str::<Word>(&json).unwrap(), limited);
    }
}
