//! Every way in which a box can fail to start: the sentence, the remedy, and how the library is told.

use std::fmt;
use std::io;
use std::path::PathBuf;

use boxlite_proto::shim::{FailureKind, StartFailure};

use super::oom::OomKills;
use crate::engine::process::End;
use crate::kernel::KernelError;

/// A file without which no box runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Engine,
    Kernel,
    GuestDisk,
    GuestAgent,
    Kvm,
    ImageDisk,
    BoxDisk,
    BoxDirectory,
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Engine => "QEMU",
            Self::Kernel => "the guest kernel",
            Self::GuestDisk => "the guest agent's disk",
            Self::GuestAgent => "the guest agent",
            Self::Kvm => "hardware virtualisation (KVM)",
            Self::ImageDisk => "the image disk",
            Self::BoxDisk => "the box's disk",
            Self::BoxDirectory => "the box's directory",
        })
    }
}

impl Piece {
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::Engine => "install QEMU (Debian: qemu-system-x86) or set the engine's program",
            Self::Kvm => {
                "make /dev/kvm usable (enable virtualisation in the firmware or the hypervisor, and join the group kvm), \
                 or choose the engine `qemu`"
            }
            Self::Kernel | Self::GuestDisk | Self::GuestAgent => {
                "run `make setup` and `make build`, or set the runtime directory"
            }
            Self::ImageDisk => "pull the image again",
            Self::BoxDisk | Self::BoxDirectory => "remove the box and create it again",
        }
    }
}

/// What the host has run out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shortage {
    Memory,
    Disk,
    Descriptors,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Disk => "disk space",
            Self::Descriptors => "file descriptors",
        })
    }
}

/// Why a box could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(
        "the shim is build {ours} (protocol {our_protocol}) but {who} is build {theirs} (protocol {their_protocol})"
    )]
    BuildMismatch { who: &'static str, ours: String, our_protocol: u32, theirs: String, their_protocol: u32 },
    #[error("the shim was started for box {argument} but told to run box {spec}")]
    WrongBox { argument: String, spec: String },
    #[error("the message from the library can't be understood: {0}")]
    BadSpec(String),
    #[error("another shim runs this box: it holds the lock on {}", .lock.display())]
    Busy { lock: PathBuf },
    #[error("cannot use {piece} at {}: {source}", .path.display())]
    Piece { piece: Piece, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Firmware(KernelError),
    #[error("cannot start {}: {source}", .program.display())]
    EngineStart { program: PathBuf, source: io::Error },
    #[error("the host has not enough {shortage} for this box: {messages}")]
    Shortage { shortage: Shortage, messages: String },
    #[error("the engine does not take what it was given: {messages}")]
    EngineRefused { messages: String },
    #[error("the engine ended ({end}) before the agent answered{}{messages}", if .messages.is_empty() { "" } else { ": " })]
    EngineDied { end: End, messages: String },
    #[error("the virtual machine ended before the agent answered")]
    GuestDied,
    #[error("the machine could not be restored from its template: {why}")]
    Template { why: String },
    #[error("the machine could not be made into a template: {why}")]
    Freeze { why: String },
    #[error("the agent did not answer within {after_ms} ms")]
    AgentSilent { after_ms: u64 },
    #[error("the agent refused to set up the box: {why}")]
    AgentRefused { why: String },
    #[error("the channel to the agent failed: {0}")]
    Channel(String),
    #[error("the owner went away during the start")]
    OwnerGone,
    #[error("the start was broken off by signal {0}")]
    Interrupted(&'static str),
    #[error("cannot set up {what}: {source}")]
    Plumbing { what: &'static str, source: io::Error },
}

impl StartError {
    /// The same failure, or that memory was wanting where the host has killed the engine for that.
    pub(crate) fn of_memory(self, oom_kills: &OomKills) -> Self {
        match self {
            Self::EngineDied { end: End::Signalled(libc::SIGKILL), .. } if oom_kills.have_risen() => {
                let messages = "its kernel killed the virtual machine".into();
                Self::Shortage { shortage: Shortage::Memory, messages }
            }
            other => other,
        }
    }

    fn kind(&self) -> FailureKind {
        match self {
            Self::BuildMismatch { .. } => FailureKind::BuildMismatch,
            Self::Busy { .. } => FailureKind::Busy,
            Self::Piece { source, .. } | Self::EngineStart { source, .. } => {
                shortage(source).map_or(FailureKind::MissingPiece, |_| FailureKind::Resources)
            }
            Self::Plumbing { source, .. } => {
                shortage(source).map_or(FailureKind::Internal, |_| FailureKind::Resources)
            }
            Self::Shortage { .. } => FailureKind::Resources,
            Self::Firmware(_) | Self::EngineRefused { .. } => FailureKind::MissingPiece,
            Self::EngineDied { .. }
            | Self::GuestDied
            | Self::Channel(_)
            | Self::Template { .. }
            | Self::Freeze { .. } => FailureKind::EngineDied,
            Self::AgentSilent { .. } => FailureKind::AgentSilent,
            Self::AgentRefused { .. } => FailureKind::AgentRefused,
            Self::OwnerGone | Self::Interrupted(_) => FailureKind::OwnerGone,
            Self::WrongBox { .. } | Self::BadSpec(_) => FailureKind::Internal,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::BuildMismatch { .. } => "build and install library, shim and guest disk together".into(),
            Self::Busy { .. } => "stop the box where it runs, or wait until it has ended".into(),
            Self::Piece { piece, source, .. } => {
                shortage(source).map_or_else(|| piece.remedy().into(), free_some)
            }
            Self::Firmware(_) => Piece::Kernel.remedy().into(),
            Self::EngineStart { source, .. } => {
                shortage(source).map_or_else(|| Piece::Engine.remedy().into(), free_some)
            }
            Self::Plumbing { source, .. } => {
                shortage(source).map_or_else(|| "see logs/shim.log in the box's directory".into(), free_some)
            }
            Self::Shortage { shortage, .. } => free_some(*shortage),
            Self::EngineRefused { .. } => {
                "a file it names is damaged or of another kind: `make setup` makes the kernel anew, a pull the \
                 image disk; a damaged box disk is kept for repair"
                    .into()
            }
            Self::EngineDied { .. } | Self::GuestDied | Self::Channel(_) => {
                "the console's end is in this error; logs/console.log and logs/shim.log have the rest".into()
            }
            Self::AgentSilent { .. } => {
                "the host may be overloaded: start fewer boxes at once, or give a boot more time (BOXLITE_BOOT_SECONDS, 30)"
                    .into()
            }
            Self::AgentRefused { .. } => "see logs/console.log in the box's directory".into(),
            Self::Template { .. } | Self::Freeze { .. } => {
                "boxes boot without a template, too: `template_space` 0 does without them for good".into()
            }
            Self::OwnerGone | Self::Interrupted(_) => "start the box again".into(),
            Self::WrongBox { .. } | Self::BadSpec(_) => {
                "the shim is started by the boxlite library of the same build only".into()
            }
        }
    }

    fn os_errno(&self) -> Option<i32> {
        match self {
            Self::Piece { source, .. } | Self::EngineStart { source, .. } | Self::Plumbing { source, .. } => {
                source.raw_os_error()
            }
            _ => None,
        }
    }

    /// Whether one more boot, with the kernel talking, may tell more.
    pub(crate) fn console_may_tell_more(&self) -> bool {
        matches!(self, Self::GuestDied | Self::Channel(_))
    }

    /// As the library is told.
    pub(crate) fn into_report(self, stage: &str, console: String) -> StartFailure {
        StartFailure {
            kind: self.kind(),
            stage: stage.to_owned(),
            message: self.to_string(),
            hint: self.hint(),
            console,
            os_errno: self.os_errno(),
        }
    }
}

fn free_some(shortage: Shortage) -> String {
    match shortage {
        Shortage::Memory => "give the box less memory, or stop other boxes".into(),
        Shortage::Disk => "free space on the file system of the boxlite home".into(),
        Shortage::Descriptors => "raise the limit on open files, or stop other boxes".into(),
    }
}

fn shortage(error: &io::Error) -> Option<Shortage> {
    match error.raw_os_error()? {
        libc::ENOMEM | libc::EAGAIN => Some(Shortage::Memory),
        libc::ENOSPC | libc::EDQUOT => Some(Shortage::Disk),
        libc::EMFILE | libc::ENFILE => Some(Shortage::Descriptors),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_piece_names_itself_and_the_remedy() {
        let source = io::Error::from_raw_os_error(libc::ENOENT);
        let report = StartError::Piece { piece: Piece::Kernel, path: "/x/kernel.elf".into(), source }
            .into_report("engine", String::new());
        assert_eq!(report.kind, FailureKind::MissingPiece);
        assert_eq!(report.os_errno, Some(libc::ENOENT));
        assert!(report.message.contains("/x/kernel.elf") && report.message.contains("kernel"), "{report:?}");
        assert!(report.hint.contains("make setup"), "{report:?}");
        assert_eq!(report.stage, "engine");
    }

    #[test]
    fn running_out_is_its_own_kind() {
        for (errno, word) in [(libc::ENOMEM, "memory"), (libc::ENOSPC, "space"), (libc::EMFILE, "open files")]
        {
            let source = io::Error::from_raw_os_error(errno);
            let report = StartError::Plumbing { what: "x", source }.into_report("s", String::new());
            assert_eq!(report.kind, FailureKind::Resources);
            assert!(report.hint.contains(word), "{report:?}");
        }
    }
}
