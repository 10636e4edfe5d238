//! Locks between processes and tasks that share a directory: an image store's, a home's boxes'.
//!
//! Owns `*.lock` in the directory of locks: process-owned `fcntl` locks, one descriptor per lock and process, behind an in-process
//! async mutex. Never blocks an async thread, and never waits longer than the owner stands still.
//!
//! A lock file holds its owner's pid, operation and progress, and is unlinked by the owner before release; who
//! gets a lock on a file that is no longer the one at its path opens it again. So none is left behind, except by
//! a killed owner, whose file the next owner (or the sweep at open) takes away.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use once_cell::race::OnceBox;

use crate::errors::{BoxliteError, BoxliteResult, Detail};

const POLL_FIRST: Duration = Duration::from_millis(5);
const POLL_MOST: Duration = Duration::from_millis(200);
/// How often an owner writes its progress to the lock file at most.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// The locks of one directory.
#[derive(Clone, Debug)]
pub(crate) struct Locks {
    dir: PathBuf,
    /// Device and inode of `dir`: two paths to one directory share their in-process mutexes.
    identity: (u64, u64),
    patience: Duration,
}

/// A lock that is held; dropping it releases it.
#[derive(Debug)]
pub(crate) struct LockGuard {
    entry: Arc<Entry>,
    file: File,
    path: PathBuf,
    last_beat: Mutex<Instant>,
    // Last, so that the in-process mutex opens only when the descriptor is closed.
    _mutex: tokio::sync::OwnedMutexGuard<()>,
}

type Key = (u64, u64, String);

#[derive(Debug, Default)]
struct Entry {
    mutex: Arc<tokio::sync::Mutex<()>>,
    operation: Mutex<String>,
    progress: AtomicU64,
}

/// The mutexes of one process. A forked child finds its parent's table, sees another pid, and uses the next one:
/// the parent's may be locked by a thread that doesn't exist in the child.
#[derive(Default)]
struct Table {
    pid: u32,
    entries: Mutex<HashMap<Key, Arc<Entry>>>,
    next: OnceBox<Table>,
}

static TABLES: OnceBox<Table> = OnceBox::new();

fn table() -> &'static Table {
    let pid = std::process::id();
    let fresh = || Box::new(Table { pid, ..Table::default() });
    let mut table = TABLES.get_or_init(fresh);
    while table.pid != pid {
        table = table.next.get_or_init(fresh);
    }
    table
}

/// A panic elsewhere leaves these plain values usable.
fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The entry of a lock; those nobody uses any more go.
fn entry(key: Key) -> Arc<Entry> {
    let mut entries = hold(&table().entries);
    entries.retain(|_, entry| Arc::strong_count(entry) > 1);
    Arc::clone(entries.entry(key).or_default())
}

impl Locks {
    pub(crate) fn open(dir: PathBuf, patience: Duration) -> BoxliteResult<Self> {
        std::fs::create_dir_all(&dir).map_err(|error| BoxliteError::io("create", &dir, &error))?;
        let metadata = dir.metadata().map_err(|error| BoxliteError::io("read", &dir, &error))?;
        Ok(Self { dir, identity: (metadata.dev(), metadata.ino()), patience })
    }

    fn key(&self, name: &str) -> Key {
        (self.identity.0, self.identity.1, name.to_owned())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.lock"))
    }

    /// The lock, if nobody has it.
    pub(crate) fn try_acquire(&self, name: &str, operation: &str) -> BoxliteResult<Option<LockGuard>> {
        Ok(match self.attempt(name, operation)? {
            Attempt::Held(guard) => Some(guard),
            Attempt::Busy(_) => None,
        })
    }

    /// The lock, for callers outside of async code; waits for short work only.
    pub(crate) fn acquire_blocking(&self, name: &str, operation: &str) -> BoxliteResult<LockGuard> {
        let started = Instant::now();
        loop {
            match self.attempt(name, operation)? {
                Attempt::Held(guard) => return Ok(guard),
                Attempt::Busy(owner) if started.elapsed() >= self.patience => {
                    return Err(busy(name, &owner, self.patience));
                }
                Attempt::Busy(_) => std::thread::sleep(POLL_FIRST),
            }
        }
    }

    fn attempt(&self, name: &str, operation: &str) -> BoxliteResult<Attempt> {
        let entry = entry(self.key(name));
        let Ok(mutex) = Arc::clone(&entry.mutex).try_lock_owned() else {
            return Ok(Attempt::Busy(entry.owner()));
        };
        let path = self.path(name);
        Ok(match take(&path)? {
            Taken::Held(file) => Attempt::Held(LockGuard::new(entry, file, path, operation, mutex)),
            Taken::Busy(text) => Attempt::Busy(describe(&text)),
        })
    }

    /// The names of the lock files there are.
    pub(crate) fn names(&self) -> BoxliteResult<Vec<String>> {
        let entries =
            std::fs::read_dir(&self.dir).map_err(|error| BoxliteError::io("read", &self.dir, &error))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.filter_map(|name| name.strip_suffix(".lock").map(str::to_owned)).collect())
    }

    /// The lock; `Busy` names the owner when it made no progress for the whole patience.
    pub(crate) async fn acquire(&self, name: &str, operation: &str) -> BoxliteResult<LockGuard> {
        let entry = entry(self.key(name));
        let mutex = self.acquire_mutex(&entry, name).await?;
        let path = self.path(name);
        let mut seen = Vec::new();
        let mut since = Instant::now();
        let mut pause = POLL_FIRST;
        loop {
            let owner = match take(&path)? {
                Taken::Held(file) => return Ok(LockGuard::new(entry, file, path, operation, mutex)),
                Taken::Busy(owner) => owner,
            };
            if owner != seen {
                // Who waits in this process behind this task waits for that owner too.
                *hold(&entry.operation) = format!("waiting for {}", describe(&owner));
                entry.progress.fetch_add(1, Ordering::Relaxed);
                seen = owner;
                since = Instant::now();
            } else if since.elapsed() >= self.patience {
                return Err(busy(name, &describe(&seen), self.patience));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(POLL_MOST);
        }
    }

    async fn acquire_mutex(
        &self,
        entry: &Arc<Entry>,
        name: &str,
    ) -> BoxliteResult<tokio::sync::OwnedMutexGuard<()>> {
        loop {
            let before = entry.progress.load(Ordering::Relaxed);
            let wait = tokio::time::timeout(self.patience, Arc::clone(&entry.mutex).lock_owned());
            match wait.await {
                Ok(guard) => return Ok(guard),
                Err(_) if entry.progress.load(Ordering::Relaxed) != before => {}
                Err(_) => return Err(busy(name, &entry.owner(), self.patience)),
            }
        }
    }
}

fn busy(name: &str, owner: &str, patience: Duration) -> BoxliteError {
    BoxliteError::Busy(
        Detail::new(format!(
            "the lock `{name}` is held by {owner}, which made no progress for {} s",
            patience.as_secs_f32()
        ))
        .subject(name)
        .hint("wait for the named process, or end it"),
    )
}

enum Attempt {
    Held(LockGuard),
    /// Who has it.
    Busy(String),
}

enum Taken {
    Held(File),
    /// Held by another process; what its lock file says.
    Busy(Vec<u8>),
}

/// Opens and locks the file at `path`. The caller holds the in-process mutex: closing any other descriptor of
/// this file would release the lock of the whole process.
fn take(path: &Path) -> BoxliteResult<Taken> {
    let fail = |error: io::Error| BoxliteError::io("lock", path, &error);
    loop {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)
            .map_err(fail)?;
        let whole = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        match fcntl(&file, FcntlArg::F_SETLK(&whole)) {
            Ok(_) => {}
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) => {
                return Ok(Taken::Busy(owner_text(&file)));
            }
            Err(nix::errno::Errno::EINTR) => continue,
            Err(errno) => return Err(fail(errno.into())),
        }
        let locked = file.metadata().map_err(fail)?;
        match std::fs::symlink_metadata(path) {
            Ok(now) if (now.dev(), now.ino()) == (locked.dev(), locked.ino()) => {
                return Ok(Taken::Held(file));
            }
            // The owner before unlinked it: this is a lock on nothing.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(fail(error)),
        }
    }
}

fn owner_text(file: &File) -> Vec<u8> {
    let mut text = vec![0; 1024];
    let length = file.read_at(&mut text, 0).unwrap_or(0);
    text.truncate(length);
    text
}

impl Entry {
    fn owner(&self) -> String {
        format!("this process, {} ({})", std::process::id(), hold(&self.operation))
    }
}

/// The pid and the operation that an owner wrote.
fn describe(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut lines = text.lines();
    let mut line = || lines.next().filter(|line| !line.is_empty()).unwrap_or("unknown").to_owned();
    let (pid, operation) = (line(), line());
    format!("process {pid} ({operation})")
}

impl LockGuard {
    fn new(
        entry: Arc<Entry>,
        file: File,
        path: PathBuf,
        operation: &str,
        mutex: tokio::sync::OwnedMutexGuard<()>,
    ) -> Self {
        operation.clone_into(&mut hold(&entry.operation));
        let guard = Self { entry, file, path, last_beat: Mutex::new(Instant::now()), _mutex: mutex };
        // Without its text the lock is as good, only its owner unnamed: a full disk must not keep boxes from being
        // stopped and removed.
        let _ = guard.write(0, true);
        guard
    }

    fn write(&self, progress: u64, fresh: bool) -> io::Result<()> {
        if fresh {
            self.file.set_len(0)?;
        }
        let operation = hold(&self.entry.operation).clone();
        self.file.write_all_at(format!("{}\n{operation}\n{progress:020}\n", std::process::id()).as_bytes(), 0)
    }

    /// Tells waiters that the work goes on.
    pub(crate) fn progress(&self) {
        let progress = self.entry.progress.fetch_add(1, Ordering::Relaxed);
        let mut last = hold(&self.last_beat);
        if last.elapsed() >= HEARTBEAT {
            *last = Instant::now();
            // A lost heartbeat costs a waiter's patience at worst; a full disk is met by the work itself.
            let _ = self.write(progress, false);
        }
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        // Unlinked while locked: who opens the path now makes a new file, who has this one open checks.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests;
