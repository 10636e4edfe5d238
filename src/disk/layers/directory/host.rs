//! Reading the host's files beneath one directory.
//!
//! Owns the system calls of the walk; never follows a symlink, never leaves the directory, never writes.

use std::ffi::{CStr, CString, OsStr};
use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::unistd::{Whence, lseek};

use super::super::error::EntryProblem;
use crate::disk::erofs::{DeviceNumber, Special};

/// Full names of extended attributes and their values.
pub(super) type XattrList = Vec<(Vec<u8>, Vec<u8>)>;

/// What a name of the host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostKind {
    File,
    Directory,
    Symlink,
    Special(Special),
}

/// A file of the host, held by a descriptor that can only be asked about it.
pub(super) struct Found {
    handle: File,
    pub(super) kind: HostKind,
    pub(super) stat: Metadata,
}

/// The directory that is read.
pub(super) struct Host {
    root: OwnedFd,
    device: u64,
    /// The caller, if it is not root: its files are root's in the disk.
    caller: Option<(u32, u32)>,
}

impl Host {
    pub(super) fn open(dir: &Path) -> Result<Self, EntryProblem> {
        let root = File::open(dir).map_err(|error| EntryProblem::Host { action: "open", error })?;
        let stat = root.metadata().map_err(|error| EntryProblem::Host { action: "examine", error })?;
        if !stat.is_dir() {
            let error = io::Error::from_raw_os_error(libc::ENOTDIR);
            return Err(EntryProblem::Host { action: "open", error });
        }
        let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
        let caller = (!user.is_root()).then_some((user.as_raw(), group.as_raw()));
        Ok(Self { root: root.into(), device: stat.dev(), caller })
    }

    /// The file at a path below the directory, which itself is the empty path.
    pub(super) fn find(&self, path: &[u8]) -> Result<Found, EntryProblem> {
        let of = |error| EntryProblem::Host { action: "examine", error };
        let handle = File::from(self.open_at(path, OFlag::O_PATH | OFlag::O_NOFOLLOW).map_err(of)?);
        let stat = handle.metadata().map_err(of)?;
        let kind = stat.file_type();
        let device =
            DeviceNumber { major: libc::major(stat.rdev()) as u32, minor: libc::minor(stat.rdev()) as u32 };
        let kind = if kind.is_file() {
            HostKind::File
        } else if kind.is_dir() {
            HostKind::Directory
        } else if kind.is_symlink() {
            HostKind::Symlink
        } else if kind.is_char_device() {
            HostKind::Special(Special::CharDevice(device))
        } else if kind.is_block_device() {
            HostKind::Special(Special::BlockDevice(device))
        } else if kind.is_fifo() {
            HostKind::Special(Special::Fifo)
        } else {
            HostKind::Special(Special::Socket)
        };
        Ok(Found { handle, kind, stat })
    }

    /// The names in a directory, sorted by their bytes.
    pub(super) fn list(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, EntryProblem> {
        let of = |error| EntryProblem::Host { action: "list", error };
        let directory = self.open_at(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY).map_err(of)?;
        let mut names = std::fs::read_dir(own_path(&directory))
            .map_err(of)?
            .map(|entry| entry.map(|entry| entry.file_name().into_vec()))
            .collect::<io::Result<Vec<_>>>()
            .map_err(of)?;
        names.sort_unstable();
        Ok(names)
    }

    /// Opens a file's data; it must still be the file that was found.
    pub(super) fn open_file(&self, path: &[u8], found: &Found) -> Result<File, EntryProblem> {
        let of = |error| EntryProblem::Host { action: "open", error };
        // Non-blocking: should a FIFO have taken the name, opening it must not wait for a writer.
        let file = self.open_at(path, OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK);
        let file = File::from(file.map_err(of)?);
        let stat = file.metadata().map_err(of)?;
        if (stat.dev(), stat.ino()) != (found.stat.dev(), found.stat.ino()) {
            return Err(EntryProblem::Changed);
        }
        Ok(file)
    }

    pub(super) fn read_link(&self, found: &Found) -> Result<Vec<u8>, EntryProblem> {
        readlinkat(found.handle.as_fd(), c"")
            .map(OsStringExt::into_vec)
            .map_err(|errno| EntryProblem::Host { action: "read", error: errno.into() })
    }

    /// Whether a directory is on the file system of the one that is read.
    pub(super) fn same_device(&self, found: &Found) -> bool {
        found.stat.dev() == self.device
    }

    /// Owner and group as the disk has them.
    pub(super) fn owner(&self, found: &Found) -> (u32, u32) {
        let (uid, gid) = (found.stat.uid(), found.stat.gid());
        match self.caller {
            None => (uid, gid),
            Some((user, group)) => (if uid == user { 0 } else { uid }, if gid == group { 0 } else { gid }),
        }
    }

    /// The extended attributes that this process may see, sorted by name.
    pub(super) fn xattrs(&self, found: &Found) -> Result<XattrList, EntryProblem> {
        let of = |error| EntryProblem::Host { action: "read an attribute of", error };
        let path = CString::new(own_path(&found.handle)).map_err(|error| of(error.into()))?;
        let names = sized(|buffer| list_xattrs(&path, buffer)).map_err(of)?;
        let mut xattrs = Vec::new();
        for name in names.split_inclusive(|byte| *byte == 0) {
            let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
            match sized(|buffer| get_xattr(&path, name, buffer)) {
                Ok(value) => xattrs.push((name.to_bytes().to_vec(), value)),
                // Removed since it was listed.
                Err(error) if error.raw_os_error() == Some(libc::ENODATA) => {}
                Err(error) => return Err(of(error)),
            }
        }
        xattrs.sort_unstable();
        Ok(xattrs)
    }

    fn open_at(&self, path: &[u8], flags: OFlag) -> io::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        // A symlink at the end is wanted itself: O_PATH with O_NOFOLLOW opens it also under RESOLVE_NO_SYMLINKS.
        let path = if path.is_empty() { OsStr::new(".") } else { OsStr::from_bytes(path) };
        openat2(&self.root, path, how).map_err(io::Error::from)
    }
}

/// The next stretch of data at or behind `position`; holes are passed over where the file system knows them.
pub(super) fn data_from(file: &File, position: u64, size: u64) -> Result<Range<u64>, EntryProblem> {
    let seek = |from: u64, whence| {
        let from = i64::try_from(from).map_err(|_| nix::Error::EOVERFLOW)?;
        lseek(file, from, whence).map(|offset| (offset as u64).min(size))
    };
    match seek(position, Whence::SeekData) {
        Ok(start) => Ok(start..seek(start, Whence::SeekHole).ok().filter(|end| *end > start).unwrap_or(size)),
        // Nothing but a hole up to the end.
        Err(nix::Error::ENXIO) => Ok(size..size),
        // The file system cannot say.
        Err(_) => Ok(position..size),
    }
}

fn own_path(descriptor: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", descriptor.as_raw_fd())
}

/// Calls with a buffer that grows until the answer fits. An answer of "not supported" is an empty one.
fn sized(call: impl Fn(&mut [u8]) -> io::Result<usize>) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; 256];
    loop {
        match call(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(error) if error.raw_os_error() == Some(libc::ERANGE) && buffer.len() < 1 << 17 => {
                let length = buffer.len() * 4;
                buffer.resize(length, 0);
            }
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        }
    }
}

fn list_xattrs(path: &CStr, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: `path` ends with a NUL, and the kernel writes at most `buffer.len()` bytes to `buffer`.
    let length = unsafe { libc::listxattr(path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    usize::try_from(length).map_err(|_| io::Error::last_os_error())
}

fn get_xattr(path: &CStr, name: &CStr, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: `path` and `name` end with a NUL, and the kernel writes at most `buffer.len()` bytes to `buffer`.
    let length =
        unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    usize::try_from(length).map_err(|_| io::Error::last_os_error())
}
