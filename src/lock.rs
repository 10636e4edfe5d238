//! Locks between processes and tasks that share a directory: an image store's, a home's boxes'.
//!
//! Owns `*.lock` in the directory of locks: process-owned `fcntl` locks, one descriptor per lock and process, behind an in-process
//! async mutex, so in the order of asking within a process. Never blocks an async thread. A wait is bounded: as a whole, or, where
//! the owner does what the waiter wants done, by how long that stands still.
//!
//! A lock file holds its owner's pid, operation and progress, and is unlinked by whoever leaves it last. So none is
//! left behind, except by a killed process, whose file the next owner (or the sweep at open) takes away.

mod place;
pub(crate) mod range;

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::place::{Place, Polled, Queue};
use crate::caller::Caller;
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::per_process::PerProcess;

/// Between two looks at a lock of another process. The same for all, or who waits longest would look most rarely.
const POLL: Duration = Duration::from_millis(10);
/// How often an owner writes its progress to the lock file at most.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// What a caller can do about an owner.
const HINT: &str = "wait for the named process, or end it";

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
    place: Place,
    last_beat: Mutex<Instant>,
    // Last, so that the in-process mutex opens only when the descriptor is closed.
    _mutex: tokio::sync::OwnedMutexGuard<()>,
}

/// What a waiter's patience is counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// The beginning of the wait, whoever has the lock meanwhile.
    OfTheWait,
    /// The owner's last sign of progress, or the change of owners.
    OfStandingStill,
}

type Key = (u64, u64, String);

#[derive(Debug, Default)]
struct Entry {
    mutex: Arc<tokio::sync::Mutex<()>>,
    operation: Mutex<String>,
    progress: AtomicU64,
}

/// The mutexes of one process.
static ENTRIES: PerProcess<Mutex<HashMap<Key, Arc<Entry>>>> = PerProcess::new();

/// A panic elsewhere leaves these plain values usable.
fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The entry of a lock; those nobody uses any more go.
fn entry(key: Key) -> Arc<Entry> {
    let mut entries = hold(ENTRIES.get());
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
        let caller = Caller::current();
        let started = Instant::now();
        loop {
            let owner = match self.attempt(name, operation)? {
                Attempt::Held(guard) => return Ok(guard),
                Attempt::Busy(owner) => owner,
            };
            if caller.deadline().is_none() && started.elapsed() >= self.patience {
                return Err(self.busy(name, &owner, started, Patience::OfTheWait));
            }
            caller.pause(POLL).map_err(|cut| {
                let text = format!("the lock `{name}` was waited for: it is held by {owner}");
                cut.error(Detail::new(text).subject(name).hint(HINT))
            })?;
        }
    }

    /// Until when a wait that begins now may last. One for a caller who waits longer than that is its caller's to end.
    fn limit(&self) -> Instant {
        let limit = Instant::now() + self.patience;
        Caller::current().deadline().map_or(limit, |deadline| limit.max(deadline + self.patience))
    }

    fn attempt(&self, name: &str, operation: &str) -> BoxliteResult<Attempt> {
        let entry = entry(self.key(name));
        let Ok(mutex) = Arc::clone(&entry.mutex).try_lock_owned() else {
            return Ok(Attempt::Busy(entry.owner()));
        };
        Ok(match Queue::new(self.path(name)).poll()? {
            Polled::Held(place) => Attempt::Held(LockGuard::new(entry, place, operation, mutex)),
            Polled::Busy(text) => Attempt::Busy(describe(&text)),
        })
    }

    /// The names of the lock files there are.
    pub(crate) fn names(&self) -> BoxliteResult<Vec<String>> {
        let entries =
            std::fs::read_dir(&self.dir).map_err(|error| BoxliteError::io("read", &self.dir, &error))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.filter_map(|name| name.strip_suffix(".lock").map(str::to_owned)).collect())
    }

    /// Deletes the lock files of killed owners. Taking a lock and letting go deletes its file.
    pub(crate) fn sweep(&self) -> BoxliteResult<()> {
        for name in self.names()? {
            drop(self.try_acquire(&name, "sweep")?);
        }
        Ok(())
    }

    /// The lock. Waits no longer than the patience, however often its owner changes; then `Busy` names the owner.
    pub(crate) async fn acquire(&self, name: &str, operation: &str) -> BoxliteResult<LockGuard> {
        self.wait(name, operation, Patience::OfTheWait).await
    }

    /// The lock under which others do the very work that this caller wants done: waits as long as that goes on. `Busy`
    /// names the owner when it made no progress for the whole patience.
    pub(crate) async fn acquire_behind_work(&self, name: &str, operation: &str) -> BoxliteResult<LockGuard> {
        self.wait(name, operation, Patience::OfStandingStill).await
    }

    async fn wait(&self, name: &str, operation: &str, patience: Patience) -> BoxliteResult<LockGuard> {
        let entry = entry(self.key(name));
        let began = Instant::now();
        let mut deadline = self.limit();
        let mutex = self.acquire_mutex(&entry, name, began, patience).await?;
        if patience == Patience::OfStandingStill {
            deadline = self.limit();
        }
        let mut queue = Queue::new(self.path(name));
        let mut seen = Vec::new();
        loop {
            let owner = match queue.poll()? {
                Polled::Held(place) => return Ok(LockGuard::new(entry, place, operation, mutex)),
                Polled::Busy(owner) => owner,
            };
            let now = Instant::now();
            // Empty between an owner's taking the lock and its writing who it is.
            if owner != seen && !owner.is_empty() {
                // Who waits in this process behind this task waits for that owner too.
                *hold(&entry.operation) = format!("waiting for {}", describe(&owner));
                entry.progress.fetch_add(1, Ordering::Relaxed);
                seen = owner;
                if patience == Patience::OfStandingStill {
                    deadline = self.limit();
                }
            }
            if now >= deadline {
                return Err(self.busy(name, &describe(&seen), began, patience));
            }
            tokio::time::sleep(POLL.min(deadline - now)).await;
        }
    }

    async fn acquire_mutex(
        &self,
        entry: &Arc<Entry>,
        name: &str,
        began: Instant,
        patience: Patience,
    ) -> BoxliteResult<tokio::sync::OwnedMutexGuard<()>> {
        let mut deadline = self.limit();
        // One place in the mutex's queue for the whole wait: who asks anew stands behind all others.
        let mut mutex = std::pin::pin!(Arc::clone(&entry.mutex).lock_owned());
        loop {
            let before = entry.progress.load(Ordering::Relaxed);
            match tokio::time::timeout_at(deadline.into(), &mut mutex).await {
                Ok(guard) => return Ok(guard),
                Err(_)
                    if patience == Patience::OfStandingStill
                        && entry.progress.load(Ordering::Relaxed) != before =>
                {
                    deadline = self.limit();
                }
                Err(_) => return Err(self.busy(name, &entry.owner(), began, patience)),
            }
        }
    }

    fn busy(&self, name: &str, owner: &str, began: Instant, patience: Patience) -> BoxliteError {
        let text = match patience {
            Patience::OfTheWait => {
                let seconds = began.elapsed().as_secs();
                format!("the lock `{name}` was waited for {seconds} s: it is held by {owner}")
            }
            Patience::OfStandingStill => {
                let seconds = self.patience.as_secs();
                format!("the lock `{name}` is held by {owner}, which made no progress for {seconds} s")
            }
        };
        BoxliteError::Busy(Detail::new(text).subject(name).hint(HINT))
    }
}

enum Attempt {
    Held(LockGuard),
    /// Who has it.
    Busy(String),
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
        place: Place,
        operation: &str,
        mutex: tokio::sync::OwnedMutexGuard<()>,
    ) -> Self {
        operation.clone_into(&mut hold(&entry.operation));
        entry.progress.fetch_add(1, Ordering::Relaxed);
        let guard = Self { entry, place, last_beat: Mutex::new(Instant::now()), _mutex: mutex };
        // Without its text the lock is as good, only its owner unnamed: a full disk must not keep boxes from being
        // stopped and removed.
        let _ = guard.place.write(&guard.text(0), true);
        guard
    }

    /// What is locked.
    pub(crate) fn name(&self) -> &str {
        self.place.path().file_stem().and_then(|name| name.to_str()).unwrap_or_default()
    }

    fn text(&self, progress: u64) -> String {
        let operation = hold(&self.entry.operation);
        format!("{}\n{operation}\n{progress:020}\n", std::process::id())
    }

    /// Tells waiters that the work goes on.
    pub(crate) fn progress(&self) {
        let progress = self.entry.progress.fetch_add(1, Ordering::Relaxed);
        let mut last = hold(&self.last_beat);
        if last.elapsed() >= HEARTBEAT {
            *last = Instant::now();
            // A lost heartbeat costs a waiter's patience at worst; a full disk is met by the work itself.
            let _ = self.place.write(&self.text(progress), false);
        }
    }
}

#[cfg(test)]
mod tests;
