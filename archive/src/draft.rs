//! A file on its way to its name: written nameless, or under another name, and put in its place when it is complete.
//!
//! Owns that nothing half written is ever seen under the final name, and that nothing else is left behind.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::CopyError;
use crate::direct::Writer;
use crate::sys::{self, Stat};
use crate::tar::{Piece, Source, TarReader};

/// What filling a file failed at.
pub(crate) enum Fill {
    Archive(CopyError),
    Write(io::Error),
}

/// Makes something at `name`, or under another name first and then in the place of what is there.
pub(crate) fn put(
    dir: BorrowedFd<'_>,
    name: &CStr,
    overwrite: bool,
    make: impl Fn(BorrowedFd<'_>, &CStr) -> io::Result<()>,
) -> io::Result<()> {
    match make(dir, name) {
        Err(error) if overwrite && error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made,
    }
    // The other name must not outlive this process.
    let _whole = sys::Uninterrupted::begin();
    let other = other_name(dir, &make)?;
    let renamed = sys::rename(dir, &other, name);
    // Also when it went well: names of one and the same file are not renamed but left as they are.
    let _ = sys::unlink(dir, &other);
    renamed
}

/// Makes something under a name that nobody uses.
fn other_name(
    dir: BorrowedFd<'_>,
    make: impl Fn(BorrowedFd<'_>, &CStr) -> io::Result<()>,
) -> io::Result<CString> {
    use std::hash::{BuildHasher, RandomState};
    let seed = RandomState::new();
    for attempt in 0_u32..100 {
        let name = sys::name(format!(".boxlite-{:016x}", seed.hash_one(attempt)).as_bytes())?;
        match make(dir, &name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| name),
        }
    }
    Err(io::Error::from_raw_os_error(libc::EEXIST))
}

/// A file that has no name yet, or one of its own that goes with it.
pub(crate) struct Draft {
    file: File,
    named: Option<(OwnedFd, CString)>,
}

impl Draft {
    pub(crate) fn new(dir: BorrowedFd<'_>) -> io::Result<Self> {
        match sys::open(Some(dir), c".", libc::O_TMPFILE | libc::O_RDWR) {
            Ok(fd) => Ok(Self { file: File::from(fd), named: None }),
            Err(error)
                if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL)) =>
            {
                let made = std::cell::Cell::new(None);
                let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
                let name = other_name(dir, |dir, name| {
                    made.set(Some(sys::open(Some(dir), name, flags)?));
                    Ok(())
                })?;
                let file = made.take().ok_or(error)?;
                let named = Some((dir.try_clone_to_owned()?, name));
                Ok(Self { file: File::from(file), named })
            }
            Err(error) => Err(error),
        }
    }

    /// Writes the entry's content; returns how much of it there was.
    pub(crate) fn fill<S: Source<Error = CopyError>>(
        &self,
        size: u64,
        direct: bool,
        reader: &mut TarReader<S>,
    ) -> Result<u64, Fill> {
        let mut writer = Writer::new(&self.file, direct.then_some(size));
        let mut stored = 0;
        while let Some(piece) = reader.next_piece().map_err(Fill::Archive)? {
            match piece {
                Piece::Data(bytes) => {
                    writer.write(bytes).map_err(Fill::Write)?;
                    stored += bytes.len() as u64;
                }
                Piece::Hole(count) => writer.skip(count).map_err(Fill::Write)?,
            }
        }
        writer.finish().map_err(Fill::Write)?;
        if stored < size {
            self.file.set_len(size).map_err(Fill::Write)?;
        }
        Ok(stored)
    }

    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Gives the file its name.
    pub(crate) fn place(&self, dir: BorrowedFd<'_>, name: &CStr, overwrite: bool) -> io::Result<()> {
        let placed = put(dir, name, overwrite, |dir, name| match &self.named {
            Some((_, own)) => sys::link(dir, own, dir, name),
            None => sys::link_open(self.file.as_fd(), dir, name),
        });
        match placed {
            // Something is mounted there, such as the box's /etc/hosts: it can only be written into.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => self.write_into(dir, name),
            placed => placed,
        }
    }

    fn write_into(&self, dir: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        let flags = libc::O_WRONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let mut there = File::from(sys::open(Some(dir), name, flags)?);
        let stat = Stat::of(there.as_fd())?;
        if stat.kind() != libc::S_IFREG {
            return Err(io::Error::from_raw_os_error(libc::EBUSY));
        }
        // What is written over is lost: so not when it is known that there is no room.
        let room = sys::room(there.as_fd())?.saturating_add(stat.allocated());
        if Stat::of(self.file.as_fd())?.size() > room {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        there.set_len(0)?;
        let mut from = &self.file;
        from.seek(SeekFrom::Start(0))?;
        io::copy(&mut from, &mut there).map(drop)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some((dir, name)) = &self.named {
            // Its final name, where it got one, is another link.
            let _ = sys::unlink(dir.as_fd(), name);
        }
    }
}
