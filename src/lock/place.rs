//! A place in the queue for one lock file, between processes: two bytes of the file, locked by `fcntl`.
//!
//! The first byte is the lock, the second the turn to have it next. Who wants the lock takes the turn, keeps it until
//! it has the lock, then gives the turn on. So a process that takes a lock again and again gets behind whoever waits:
//! it has to have the turn, too. Never waits; whoever leaves last unlinks the file.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::range::{Range, lock, unlock};
use crate::errors::{BoxliteError, BoxliteResult};

/// Ranges of a lock file.
const LOCK: Range = (0, 1);
const TURN: Range = (1, 1);
const BOTH: Range = (0, 2);

/// What is read of an owner's text at most.
const LONGEST_TEXT: usize = 1024;

/// A caller on its way to one lock. One per lock and process at a time: closing a second descriptor of the file would
/// release the locks of the whole process.
#[derive(Debug)]
pub(super) struct Queue {
    path: PathBuf,
    place: Option<Place>,
}

/// How far a caller has come.
#[derive(Debug)]
pub(super) enum Polled {
    Held(Place),
    /// Another process has it; what that wrote to the lock file.
    Busy(Vec<u8>),
}

impl Queue {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, place: None }
    }

    /// Goes as far as it goes now. What was reached is kept for the next call.
    pub(super) fn poll(&mut self) -> BoxliteResult<Polled> {
        loop {
            let place = match self.place.take() {
                Some(place) => place,
                None => match Place::take_turn(&self.path)? {
                    Turn::Ours(place) => place,
                    Turn::Others(owner) => return Ok(Polled::Busy(owner)),
                },
            };
            match place.take_lock()? {
                Lock::Ours => return Ok(Polled::Held(place)),
                Lock::Others(owner) => {
                    self.place = Some(place);
                    return Ok(Polled::Busy(owner));
                }
                Lock::OfNothing => {}
            }
        }
    }
}

/// Holds the turn, then the lock. Dropping it gives up both.
#[derive(Debug)]
pub(super) struct Place {
    file: File,
    path: PathBuf,
}

enum Turn {
    Ours(Place),
    Others(Vec<u8>),
}

enum Lock {
    Ours,
    Others(Vec<u8>),
    /// The file is no longer the one at its path: somebody left last and unlinked it.
    OfNothing,
}

impl Place {
    fn take_turn(path: &Path) -> BoxliteResult<Turn> {
        let fail = |error: io::Error| BoxliteError::io("lock", path, &error);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)
            .map_err(fail)?;
        if lock(&file, TURN).map_err(fail)? {
            Ok(Turn::Ours(Self { file, path: path.to_owned() }))
        } else {
            Ok(Turn::Others(owner_text(&file)))
        }
    }

    fn take_lock(&self) -> BoxliteResult<Lock> {
        let fail = |error: io::Error| BoxliteError::io("lock", &self.path, &error);
        if !lock(&self.file, LOCK).map_err(fail)? {
            return Ok(Lock::Others(owner_text(&self.file)));
        }
        if !self.is_at_its_path().map_err(fail)? {
            return Ok(Lock::OfNothing);
        }
        unlock(&self.file, TURN).map_err(fail)?;
        Ok(Lock::Ours)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn is_at_its_path(&self) -> io::Result<bool> {
        let ours = self.file.metadata()?;
        match std::fs::symlink_metadata(&self.path) {
            Ok(now) => Ok((now.dev(), now.ino()) == (ours.dev(), ours.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes the owner's text, after what is there was dropped, or over what is there, which is as long then.
    pub(super) fn write(&self, text: &str, replace: bool) -> io::Result<()> {
        if replace {
            self.file.set_len(0)?;
        }
        self.file.write_all_at(text.as_bytes(), 0)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Two that leave at once must not both take the other for one who stays: each first gives up what it has and
        // then looks whether anybody is left, so the later of them finds nobody.
        let _ = unlock(&self.file, BOTH);
        if matches!(lock(&self.file, BOTH), Ok(true)) && matches!(self.is_at_its_path(), Ok(true)) {
            // While both bytes are locked: who opens the path from now on makes a new file, who has this one open
            // finds a lock of nothing.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn owner_text(file: &File) -> Vec<u8> {
    let mut text = vec![0; LONGEST_TEXT];
    let length = file.read_at(&mut text, 0).unwrap_or(0);
    text.truncate(length);
    text
}
