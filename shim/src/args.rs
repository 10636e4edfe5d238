//! The command line. Parses it and nothing else.

use std::ffi::OsString;

/// What a person who calls the shim by hand is told.
pub(crate) const USAGE: &str =
    "usage: boxlite-shim box ID           run a box (started by the boxlite library only)
       boxlite-shim make-kernel LIBKRUNFW OUT
       boxlite-shim tsc              print the rate of the time stamp counter in kHz
       boxlite-shim version          print the build id";

/// What the shim is asked to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Be the box with this id.
    Box { id: String },
    /// Make QEMU's kernel file.
    MakeKernel { args: Vec<OsString> },
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
    #[error("{0:?} is no box id: letters, digits, '_', '.' and '-' only, at most 64 of them")]
    BadBoxId(OsString),
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
            Some("make-kernel") => Ok(Self::MakeKernel { args: rest }),
            Some("tsc") => bare("tsc", Self::Tsc),
            Some("version" | "--version") => bare("version", Self::Version),
            _ => Err(UsageError::Unknown(command)),
        }
    }
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
        assert_eq!(parse(&["tsc"]), Ok(Command::Tsc));
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
        assert_eq!(parse(&["tsc", "x"]), Err(UsageError::Surplus("tsc")));
        let long = "a".repeat(65);
        for id in ["", "-a", "a/b", "a,b", "a b", "..", &long] {
            assert_eq!(parse(&["box", id]), Err(UsageError::BadBoxId(id.into())), "{id}");
        }
    }
}
