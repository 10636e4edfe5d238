//! Locks between processes: `fcntl` record locks, owned by the process.
//!
//! Never flock or OFD locks: a forked child of a dead owner would keep those. Record locks are dropped when *any*
//! descriptor of the file is closed in the process, so each lock file is open at most once per process, behind an
//! in-process mutex. Who holds a lock writes pid and operation into the file, for `Busy` errors only.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use once_cell::sync::Lazy;
use tokio::time::Instant;

use crate::errors::{BoxliteError, BoxliteResult, Detail};

/// How long a call waits for a lock when its caller set no deadline.
pub(crate) const DEFAULT_WAIT: Duration = Duration::from_secs(30);

const FIRST_RETRY: Duration = Duration::from_millis(1);
const LAST_RETRY: Duration = Duration::from_millis(25);

type Gate = Arc<tokio::sync::Mutex<()>>;
type Gates = Mutex<HashMap<(u32, PathBuf), Weak<tokio::sync::Mutex<()>>>>;

/// One gate per lock file of this process; the pid keeps a forked child from waiting for its parent's threads.
static GATES: Lazy<Gates> = Lazy::new(|| Mutex::new(HashMap::new()));

/// A held lock; dropping it lets go.
#[derive(Debug)]
pub(crate) struct FileLock {
    path: PathBuf,
    // Field order is drop order: the descriptor closes, then the next task of this process may open the file.
    file: File,
    _gate: tokio::sync::OwnedMutexGuard<()>,
}

impl FileLock {
    /// Takes the lock at `path` for `operation`, waiting at most `wait`; its file is made when missing.
    pub(crate) async fn acquire(path: &Path, operation: &str, wait: Duration) -> BoxliteResult<Self> {
        let deadline = Instant::now() + wait;
        let gate = gate_of(path);
        let Ok(gate) = tokio::time::timeout_at(deadline, gate.lock_owned()).await else {
            return Err(busy(path, operation));
        };
        let mut pause = FIRST_RETRY;
        loop {
            if let Some(file) = try_lock(path).map_err(|error| BoxliteError::io("lock", path, &error))? {
                let lock = Self { path: path.to_owned(), file, _gate: gate };
                lock.sign(operation);
                return Ok(lock);
            }
            if Instant::now() + pause > deadline {
                return Err(busy(path, operation));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_RETRY);
        }
    }

    /// Deletes the lock file, then lets go. Whoever waits for it notices and takes a new file.
    pub(crate) fn remove(self) {
        // A file that is already gone is what was wanted.
        let _ = std::fs::remove_file(&self.path);
    }

    fn sign(&self, operation: &str) {
        let line = format!("{} {operation}\n", std::process::id());
        // The text only serves error messages: the lock holds without it.
        let _ = self.file.set_len(0).and_then(|()| self.file.write_all_at(line.as_bytes(), 0));
    }
}

fn gate_of(path: &Path) -> Gate {
    let key = (std::process::id(), path.to_owned());
    let mut gates = GATES.lock().unwrap_or_else(PoisonError::into_inner);
    gates.retain(|_, gate| gate.strong_count() > 0);
    if let Some(gate) = gates.get(&key).and_then(Weak::upgrade) {
        return gate;
    }
    let gate = Gate::default();
    gates.insert(key, Arc::downgrade(&gate));
    gate
}

/// The locked file, or `None` when another process holds it.
fn try_lock(path: &Path) -> io::Result<Option<File>> {
    loop {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        if !set_lock(&file)? {
            return Ok(None);
        }
        // The former holder may have deleted the file between our open and our lock.
        let still_there = std::fs::metadata(path).is_ok_and(|now| {
            file.metadata().is_ok_and(|ours| now.ino() == ours.ino() && now.dev() == ours.dev())
        });
        if still_there {
            return Ok(Some(file));
        }
    }
}

fn whole_file(kind: libc::c_int) -> libc::flock {
    // SAFETY: an all-zero `flock` is valid: from offset 0 to the end of the file.
    let mut region: libc::flock = unsafe { std::mem::zeroed() };
    region.l_type = kind as libc::c_short;
    region.l_whence = libc::SEEK_SET as libc::c_short;
    region
}

fn set_lock(file: &File) -> io::Result<bool> {
    let region = whole_file(libc::F_WRLCK);
    // SAFETY: the descriptor is open and `region` outlives the call.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &region) } == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => Ok(false),
        _ => Err(error),
    }
}

fn busy(path: &Path, operation: &str) -> BoxliteError {
    let owner = std::fs::read_to_string(path).unwrap_or_default();
    let (pid, doing) = owner.trim().split_once(' ').unwrap_or(("unknown", "an unnamed operation"));
    BoxliteError::Busy(
        Detail::new(format!("{operation}: process {pid} holds the lock for {doing}"))
            .subject(path.display().to_string())
            .hint("wait for the named process to finish, or give the call more time"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn a_second_task_waits_and_is_told_who_holds_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("box.lock");
        runtime().block_on(async {
            let first = FileLock::acquire(&path, "start", DEFAULT_WAIT).await.unwrap();
            let refused = FileLock::acquire(&path, "stop", Duration::from_millis(20)).await.unwrap_err();
            assert!(matches!(refused, BoxliteError::Busy(_)));
            let text = refused.to_string();
            assert!(text.contains(&std::process::id().to_string()) && text.contains("start"), "{text}");
            drop(first);
            FileLock::acquire(&path, "stop", Duration::from_millis(20)).await.unwrap();
        });
    }

    #[test]
    fn a_removed_lock_file_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("box.lock");
        runtime().block_on(async {
            FileLock::acquire(&path, "remove", DEFAULT_WAIT).await.unwrap().remove();
            assert!(!path.exists());
            let again = FileLock::acquire(&path, "create", DEFAULT_WAIT).await.unwrap();
            assert!(path.exists());
            drop(again);
        });
    }
}
