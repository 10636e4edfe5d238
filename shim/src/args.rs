//! The command line. Parses it and nothing else.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;

use boxlite_proto::probe::KVM_DEVICE;

/// What a person who calls the shim by hand is told.
pub(crate) const USAGE: &str =
    "usage: boxlite-shim box ID           run a box (started by the boxlite library only)
       boxlite-shim vm ID FD         be a box's virtual machine (started by `boxlite-shim box` only)
       boxlite-shim make-kernel LIBKRUNFW OUT
       boxlite-shim probe [--device PATH]
                                     tell as JSON whether guests run on KVM
       boxlite-shim tsc              print the rate of the time stamp counter in kHz
       boxlite-shim version          print the build id";

/// What the shim is asked to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Be the box with this id.
    Box { id: String },
    /// Be the virtual machine of the box with this id, as the plan behind this descriptor says.
    Vm { id: String, plan: RawFd },
    /// Make QEMU's kernel file.
    MakeKernel { args: Vec<OsString> },
    /// Find out whether guests run on KVM.
    Probe { device: PathBuf },
    /// Measure the time stamp counter.
    Tsc,
    /// Print the build id.
    Version,
}

/// A command line that asks for nothing the shim can do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UsageError {
    #[error("no command given")]
    NoCommand,
    #[error("unknown command {0:?}")]
    Unknown(OsString),
    #[error("`box` takes one box id")]
    BoxId,
    #[error("`vm` takes a box id and the number of a descriptor above 2")]
    VmArguments,
    #[error("{0:?} is no box id: letters, digits, '_', '.' and '-' only, at most 64 of them")]
    BadBoxId(OsString),
    #[error("`probe` takes nothing but `--device PATH`")]
    ProbeDevice,
    #[error("`{0}` takes no arguments")]
    Surplus(&'static str),
}

impl Command {
    /// Reads the arguments that follow the program's name.
    pub(crate) fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Self, UsageError> {
        let command = args.next().ok_or(UsageError::NoCommand)?;
        let rest: Vec<OsString> = args.collect();
        let bare = |name, command| if rest.is_empty() { Ok(command) } else { Err(UsageError::Surplus(name)) };
        match command.to_str() {
            Some("box") => match rest.as_slice() {
                [id] => Ok(Self::Box { id: box_id(id)? }),
                _ => Err(UsageError::BoxId),
            },
            Some("vm") => match rest.as_slice() {
                [id, plan] => Ok(Self::Vm { id: box_id(id)?, plan: descriptor(plan)? }),
                _ => Err(UsageError::VmArguments),
            },
            Some("make-kernel") => Ok(Self::MakeKernel { args: rest }),
            Some("probe") => match rest.as_slice() {
                [] => Ok(Self::Probe { device: KVM_DEVICE.into() }),
                [option, device] if option == "--device" => Ok(Self::Probe { device: device.into() }),
                _ => Err(UsageError::ProbeDevice),
            },
            Some("tsc") => bare("tsc", Self::Tsc),
            Some("version" | "--version") => bare("version", Self::Version),
            _ => Err(UsageError::Unknown(command)),
        }
    }
}

fn descriptor(number: &OsString) -> Result<RawFd, UsageError> {
    let number = number.to_str().and_then(|text| text.parse().ok()).filter(|number| *number > 2);
    number.ok_or(UsageError::VmArguments)
}

/// A box id becomes an argument of QEMU and part of paths, so only harmless characters pass.
fn box_id(id: &OsString) -> Result<String, UsageError> {
    let fine = |text: &&str| {
        (1..=64).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
    };
    id.to_str().filter(fine).map(str::to_owned).ok_or_else(|| UsageError::BadBoxId(id.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Command, UsageError> {
        Command::parse(args.iter().map(OsString::from))
    }

    #[test]
    fn commands_are_told_apart() {
        assert_eq!(parse(&["box", "aB3"]), Ok(Command::Box { id: "aB3".into() }));
        assert_eq!(parse(&["vm", "aB3", "7"]), Ok(Command::Vm { id: "aB3".into(), plan: 7 }));
        assert_eq!(parse(&["tsc"]), Ok(Command::Tsc));
        assert_eq!(parse(&["probe"]), Ok(Command::Probe { device: "/dev/kvm".into() }));
        assert_eq!(parse(&["probe", "--device", "/x"]), Ok(Command::Probe { device: "/x".into() }));
        assert_eq!(parse(&["version"]), Ok(Command::Version));
        assert_eq!(
            parse(&["make-kernel", "a", "b"]),
            Ok(Command::MakeKernel { args: vec!["a".into(), "b".into()] })
        );
    }

    #[test]
    fn wrong_ones_are_refused_by_name() {
        assert_eq!(parse(&[]), Err(UsageError::NoCommand));
        assert_eq!(parse(&["bx"]), Err(UsageError::Unknown("bx".into())));
        assert_eq!(parse(&["box"]), Err(UsageError::BoxId));
        assert_eq!(parse(&["box", "a", "b"]), Err(UsageError::BoxId));
        for wrong in [&["probe", "--device"][..], &["probe", "/x"], &["probe", "--device", "/x", "y"]] {
            assert_eq!(parse(wrong), Err(UsageError::ProbeDevice), "{wrong:?}");
        }
        for wrong in [&["vm", "a"][..], &["vm", "a", "2"], &["vm", "a", "x"], &["vm", "a", "7", "8"]] {
            assert_eq!(parse(wrong), Err(UsageError::VmArguments), "{wrong:?}");
        }
        assert_eq!(parse(&["tsc", "x"]), Err(UsageError::Surplus("tsc")));
        let long = "a".repeat(65);
        for id in ["", "-a", "a/b", "a,b", "a b", "..", &long] {
            assert_eq!(parse(&["box", id]), Err(UsageError::BadBoxId(id.into())), "{id}");
        }
    }
}
