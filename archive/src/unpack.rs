//! Unpacks an archive below a directory, whoever wrote it and whatever happens to the directory meanwhile.
//!
//! Owns the rules: every name is looked up beneath the target and through no symbolic link; a file gets its name when it
//! is complete; devices are never made.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::draft::{Draft, Fill, put};
use crate::sys::{self, Stat};
use crate::tar::{Entry, Kind, Source, TarReader};
use crate::target::{Making, Target};
use crate::{CopyError, TarError, Timestamp};

/// How to unpack.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnpackOptions {
    /// What exists is an error.
    pub no_overwrite: bool,
    /// Nothing is written; what would be in the way is the error.
    pub dry_run: bool,
    /// Whose everything becomes; `None`: the process's.
    pub owner: Option<(u32, u32)>,
    /// Set-uid and set-gid bits are kept.
    pub keep_set_id: bool,
    /// Links to directories that are in the target already are gone through.
    pub through_links: bool,
    /// Large files are written around the page cache: where copies in memory are dear.
    pub direct: bool,
}

/// Where an archive goes.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// One file or tree, called `.` in the archive.
    Named {
        /// The path that was asked for.
        destination: &'a [u8],
        /// The source's own name.
        source_name: &'a [u8],
        /// A directory keeps its name below `destination`.
        include_parent: bool,
    },
    /// Everything into a directory, which is made where it is missing.
    Directory(&'a [u8]),
}

/// What was unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Bytes of files' content.
    pub bytes: u64,
    /// Files, directories and links.
    pub entries: u64,
}

/// Unpacks the archive that `input` gives, to its end.
///
/// # Errors
/// With the path that is in the way or can't be written; `Tar` and `Stream` when the archive is no good. What was
/// complete by then stays.
pub fn unpack<S: Source<Error = CopyError>>(
    input: S,
    place: Place<'_>,
    options: UnpackOptions,
) -> Result<Unpacked, CopyError> {
    let mut reader = TarReader::new(input);
    let making = Making { dry_run: options.dry_run, owner: options.owner };
    let mut next = reader.next_entry()?;
    let target = match (place, &next) {
        (Place::Directory(path), _) => Target::directory(path, making)?,
        (Place::Named { .. }, None) => return Err(TarError::Short("it is empty").into()),
        (Place::Named { destination, source_name, include_parent }, Some(first)) => {
            let is_dir = first.kind == Kind::Directory;
            Target::resolve(destination, is_dir, source_name, include_parent, making)?
        }
    };
    let mut tree = Tree { target, options, parent: None, pending: Vec::new(), done: Unpacked::default() };
    let outcome = (|| {
        while let Some(entry) = next {
            tree.entry(&entry, &mut reader)?;
            next = reader.next_entry()?;
        }
        match reader.finish()? {
            (_, true) => Ok(()),
            (_, false) => Err(TarError::Short("the blocks that mark its end are missing").into()),
        }
    })();
    let settled = tree.settle(None);
    outcome.and(settled).map(|()| tree.done)
}

/// A directory that was made, which gets its own attributes once nothing more is put into it.
struct Pending {
    path: Vec<u8>,
    mode: u32,
    mtime: Timestamp,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

struct Tree {
    target: Target,
    options: UnpackOptions,
    /// The directory of the last entry: most have it in common with the next.
    parent: Option<(Vec<u8>, OwnedFd)>,
    pending: Vec<Pending>,
    done: Unpacked,
}

impl Tree {
    fn entry<S: Source<Error = CopyError>>(
        &mut self,
        entry: &Entry,
        reader: &mut TarReader<S>,
    ) -> Result<(), CopyError> {
        let path = self.place(&entry.path)?;
        self.settle(Some(&path))?;
        if path.is_empty() {
            // The target itself, which is there.
            return match entry.kind {
                Kind::Directory => Ok(()),
                _ => Err(CopyError::refused(
                    &self.target.shown,
                    "is a directory, and no file can take its place",
                )),
            };
        }
        self.done.entries += 1;
        if self.options.dry_run {
            return self.check(&path, entry.kind == Kind::Directory);
        }
        match &entry.kind {
            Kind::Directory => self.directory(path, entry),
            Kind::File { size } => self.file(&path, entry, *size, reader),
            Kind::Symlink { target } => {
                let target = sys::name(target).map_err(|error| self.failed("make the link", &path, error))?;
                self.special(&path, entry, |dir, name| sys::symlink(&target, dir, name))
            }
            Kind::Fifo => self.special(&path, entry, sys::mkfifo),
            Kind::HardLink { target } => {
                let target = self.place(target)?;
                self.hard_link(&path, &target)
            }
            Kind::CharDevice(_) | Kind::BlockDevice(_) => Ok(()),
        }
    }

    /// An archive's name as a path from the target's directory, without `.` and doubled slashes.
    fn place(&self, name: &[u8]) -> Result<Vec<u8>, CopyError> {
        let mut path = self.target.name.clone().unwrap_or_default();
        for part in name.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => return Err(CopyError::refused(name, "leads out of the target by `..`")),
                part => {
                    if !path.is_empty() {
                        path.push(b'/');
                    }
                    path.extend_from_slice(part);
                }
            }
        }
        Ok(path)
    }

    /// The path for messages.
    fn shown(&self, path: &[u8]) -> Vec<u8> {
        let base = self.target.shown.strip_suffix(b"/").unwrap_or(&self.target.shown);
        [base, b"/", path].concat()
    }

    fn failed(&self, action: &'static str, path: &[u8], error: io::Error) -> CopyError {
        CopyError::path(action, &self.shown(path), error)
    }

    /// The open directory that `path` lies in, made where it is missing, and the name in it.
    fn enter(&mut self, path: &[u8]) -> Result<(BorrowedFd<'_>, CString), CopyError> {
        let (dir, name) = split(path);
        let name = sys::name(name).map_err(|error| self.failed("use", path, error))?;
        if self.parent.as_ref().is_none_or(|(open, _)| open != dir) {
            let fd = match self.open_dir(dir) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && !self.options.dry_run => {
                    self.make_dir(dir)?;
                    self.open_dir(dir)
                }
                opened => opened,
            };
            let fd = fd.map_err(|error| self.failed("open the directory", dir, error))?;
            self.parent = Some((dir.to_vec(), fd));
        }
        match &self.parent {
            Some((_, fd)) => Ok((fd.as_fd(), name)),
            None => Err(TarError::Bug("a directory was opened and is not there").into()),
        }
    }

    fn open_dir(&self, path: &[u8]) -> io::Result<OwnedFd> {
        let missing = || io::Error::from_raw_os_error(libc::ENOENT);
        let base = self.target.base.as_ref().ok_or_else(missing)?.as_fd();
        let flags = libc::O_RDONLY | libc::O_DIRECTORY;
        let path = sys::name(if path.is_empty() { b"." } else { path })?;
        match sys::open_beneath(base, &path, flags) {
            Err(error)
                if self.options.through_links
                    && matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENOTDIR)) =>
            {
                sys::open(Some(base), &path, flags)
            }
            opened => opened,
        }
    }

    /// A directory that the archive only implies, with its parents.
    fn make_dir(&mut self, path: &[u8]) -> Result<(), CopyError> {
        let owner = self.options.owner;
        let (dir, name) = self.enter(path)?;
        let made = match sys::mkdir(dir, &name, 0o777) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made.and_then(|()| owner.map_or(Ok(()), |owner| sys::chown(dir, Some(&name), owner))),
        };
        made.map_err(|error| self.failed("make the directory", path, error))
    }

    fn directory(&mut self, path: Vec<u8>, entry: &Entry) -> Result<(), CopyError> {
        let through_links = self.options.through_links;
        let (dir, name) = self.enter(&path)?;
        match sys::mkdir(dir, &name, 0o700) {
            Ok(()) => {
                self.pending.push(Pending {
                    path,
                    mode: entry.mode.into(),
                    mtime: entry.mtime,
                    xattrs: entry.xattrs.clone(),
                });
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // One that is there keeps what it is.
                match Stat::at(dir, &name, through_links) {
                    Ok(stat) if stat.is_dir() => Ok(()),
                    _ => Err(CopyError::refused(&self.shown(&path), "is there and is no directory")),
                }
            }
            Err(error) => Err(self.failed("make the directory", &path, error)),
        }
    }

    fn file<S: Source<Error = CopyError>>(
        &mut self,
        path: &[u8],
        entry: &Entry,
        size: u64,
        reader: &mut TarReader<S>,
    ) -> Result<(), CopyError> {
        let options = self.options;
        self.check_place(path)?;
        let (dir, name) = self.enter(path)?;
        let draft = match Draft::new(dir) {
            Ok(draft) => draft,
            Err(error) => return Err(self.failed("make a file for", path, error)),
        };
        let bytes = draft.fill(size, options.direct, reader).map_err(|error| match error {
            Fill::Archive(error) => error,
            Fill::Write(error) => self.failed("write", path, error),
        })?;
        let mode = self.mode(entry.mode.into());
        let (dir, name) = (self.enter(path)?.0, name);
        let placed = attributes(draft.file(), mode, entry.mtime, &entry.xattrs, options.owner)
            .and_then(|()| draft.place(dir, &name, !options.no_overwrite));
        match placed {
            Ok(()) => {
                self.done.bytes += bytes;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(CopyError::Exists(self.shown(path)))
            }
            Err(error) => Err(self.failed("write", path, error)),
        }
    }

    /// A link or a FIFO, which takes the place of what is there.
    fn special(
        &mut self,
        path: &[u8],
        entry: &Entry,
        make: impl Fn(BorrowedFd<'_>, &CStr) -> io::Result<()>,
    ) -> Result<(), CopyError> {
        self.check_place(path)?;
        let options = self.options;
        let mode = self.mode(entry.mode.into());
        let is_fifo = entry.kind == Kind::Fifo;
        let (dir, name) = self.enter(path)?;
        let made = put(dir, &name, !options.no_overwrite, &make).and_then(|()| {
            if let Some(owner) = options.owner {
                sys::chown(dir, Some(&name), owner)?;
            }
            if is_fifo {
                let fifo = sys::open(Some(dir), &name, libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOFOLLOW)?;
                sys::chmod(fifo.as_fd(), mode)?;
            }
            sys::set_mtime(dir, Some(&name), entry.mtime)
        });
        match made {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(CopyError::Exists(self.shown(path)))
            }
            Err(error) => Err(self.failed("make", path, error)),
        }
    }

    fn hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), CopyError> {
        self.check_place(path)?;
        if path == target {
            return Ok(());
        }
        let overwrite = !self.options.no_overwrite;
        let (from_dir, from) = self.enter(target)?;
        let from_dir =
            from_dir.try_clone_to_owned().map_err(|error| self.failed("link to", target, error))?;
        let (dir, name) = self.enter(path)?;
        let made = put(dir, &name, overwrite, |dir, name| sys::link(from_dir.as_fd(), &from, dir, name));
        made.map_err(|error| self.failed("link", path, error))
    }

    /// Refuses what would be in the way of a dry run's entry.
    fn check(&mut self, path: &[u8], is_dir: bool) -> Result<(), CopyError> {
        let through_links = self.options.through_links;
        let (dir, _) = split(path);
        match self.open_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(self.failed("open the directory", dir, error)),
            Ok(_) if !is_dir => return self.check_place(path),
            Ok(_) => {}
        }
        let (dir, name) = self.enter(path)?;
        match Stat::at(dir, &name, through_links) {
            Ok(stat) if !stat.is_dir() => Err(CopyError::Exists(self.shown(path))),
            _ => Ok(()),
        }
    }

    /// Refuses to replace a directory, or anything where nothing may be overwritten.
    fn check_place(&mut self, path: &[u8]) -> Result<(), CopyError> {
        let no_overwrite = self.options.no_overwrite;
        let (dir, name) = self.enter(path)?;
        match Stat::at(dir, &name, false) {
            Err(_) => Ok(()),
            Ok(_) if no_overwrite => Err(CopyError::Exists(self.shown(path))),
            Ok(stat) if stat.is_dir() => {
                Err(CopyError::refused(&self.shown(path), "is a directory, and no file can take its place"))
            }
            Ok(_) => Ok(()),
        }
    }

    fn mode(&self, mode: u32) -> u32 {
        if self.options.keep_set_id { mode } else { mode & 0o1777 }
    }

    /// Gives the directories that `next` does not lie in their attributes.
    fn settle(&mut self, next: Option<&[u8]>) -> Result<(), CopyError> {
        let mut outcome = Ok(());
        while let Some(last) = self.pending.last() {
            if next.is_some_and(|next| {
                next.strip_prefix(last.path.as_slice()).is_some_and(|r| r.starts_with(b"/"))
            }) {
                break;
            }
            let Some(Pending { path, mode, mtime, xattrs }) = self.pending.pop() else { break };
            let mode = self.mode(mode);
            let settled = self
                .open_dir(&path)
                .and_then(|dir| attributes(dir.as_fd(), mode, mtime, &xattrs, self.options.owner));
            let settled = settled.map_err(|error| self.failed("finish the directory", &path, error));
            outcome = outcome.and(settled);
        }
        outcome
    }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

fn attributes(
    file: BorrowedFd<'_>,
    mode: u32,
    mtime: Timestamp,
    xattrs: &[(Vec<u8>, Vec<u8>)],
    owner: Option<(u32, u32)>,
) -> io::Result<()> {
    if let Some(owner) = owner {
        sys::chown(file, None, owner)?;
    }
    for (name, value) in xattrs.iter().filter(|(name, _)| name.starts_with(b"user.")) {
        match sys::set_xattr(file, &sys::name(name)?, value) {
            // Kept where the file system has them.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EPERM)) => {}
            set => set?,
        }
    }
    sys::chmod(file, mode)?;
    sys::set_mtime(file, None, mtime)
}
