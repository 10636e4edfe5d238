//! Where a copy goes: the rules by which `destination` and the source's name make a path.
//!
//! Owns these rules, the same into a box and out of it, and the making of missing directories.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::CopyError;
use crate::sys::{self, Stat};

/// A directory, and the source's name in it; without one the source's content goes right there.
#[derive(Debug)]
pub(crate) struct Target {
    /// `None` in a dry run where the directory is yet to be made.
    pub(crate) base: Option<OwnedFd>,
    pub(crate) name: Option<Vec<u8>>,
    /// The path for messages.
    pub(crate) shown: Vec<u8>,
}

/// How missing directories are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Making {
    pub(crate) dry_run: bool,
    pub(crate) owner: Option<(u32, u32)>,
}

impl Target {
    /// The directory itself, made where it is missing.
    pub(crate) fn directory(path: &[u8], making: Making) -> Result<Self, CopyError> {
        make_all(path, making)?;
        Ok(Self { base: open(path, making)?, name: None, shown: path.to_vec() })
    }

    /// Into an existing or `/`-ended directory under the source's own name, else exactly there. Content alone, when
    /// a directory comes without its parent.
    pub(crate) fn resolve(
        destination: &[u8],
        source_is_dir: bool,
        source_name: &[u8],
        include_parent: bool,
        making: Making,
    ) -> Result<Self, CopyError> {
        let is_dir = destination.ends_with(b"/")
            || destination.ends_with(b"/.")
            || Path::new(OsStr::from_bytes(destination)).is_dir();
        if source_is_dir && (!include_parent || source_name.is_empty()) {
            return Self::directory(destination, making);
        }
        if is_dir {
            if !is_name(source_name) {
                return Err(CopyError::refused(source_name, "has no name to be copied under"));
            }
            let into = Self::directory(destination, making)?;
            return Ok(Self { name: Some(source_name.to_vec()), ..into });
        }
        let (parent, name) = match destination.iter().rposition(|byte| *byte == b'/') {
            Some(0) => (&b"/"[..], &destination[1..]),
            Some(at) => (&destination[..at], &destination[at + 1..]),
            None => (&b"."[..], destination),
        };
        if !is_name(name) {
            return Err(CopyError::refused(destination, "ends in no name that could be made"));
        }
        let into = Self::directory(parent, making)?;
        Ok(Self { name: Some(name.to_vec()), ..into })
    }
}

fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && !name.contains(&b'/') && !matches!(name, b"." | b"..")
}

fn open(path: &[u8], making: Making) -> Result<Option<OwnedFd>, CopyError> {
    let failed = |error| CopyError::path("open the directory", path, error);
    let name = sys::name(path).map_err(failed)?;
    match sys::open(None, &name, libc::O_RDONLY | libc::O_DIRECTORY) {
        Ok(fd) => Ok(Some(fd)),
        Err(error) if making.dry_run && error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// Makes a directory with its missing parents.
fn make_all(path: &[u8], making: Making) -> Result<(), CopyError> {
    if making.dry_run || Path::new(OsStr::from_bytes(path)).is_dir() {
        return Ok(());
    }
    let ends = (1..path.len()).filter(|at| path[*at] == b'/' && path[at - 1] != b'/').chain([path.len()]);
    for end in ends {
        let part = &path[..end];
        let failed = |error| CopyError::path("make the directory", part, error);
        let name = sys::name(part).map_err(failed)?;
        let here = sys::open(None, c".", libc::O_PATH | libc::O_DIRECTORY).map_err(failed)?;
        match sys::mkdir(here.as_fd(), &name, 0o777) {
            Ok(()) => {
                if let Some(owner) = making.owner {
                    sys::chown(here.as_fd(), Some(&name), owner).map_err(failed)?;
                }
            }
            // Whether it is a directory shows with the next one.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            // `/` and `..` on a read-only file system, and the like: what is there need not be made.
            Err(_) if Stat::at(here.as_fd(), &name, true).is_ok_and(|stat| stat.is_dir()) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}
