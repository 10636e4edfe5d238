//! The home's database: one row a box, in SQLite (WAL), so that any number of processes may share a home.
//!
//! Owns schema, queries and the file itself; knows nothing of processes. Every call blocks and belongs on a blocking
//! thread. A damaged file is never written to nor deleted.

mod boxes;
mod file;
mod held;
mod migration;
mod salvage;
mod state;

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode};

pub(crate) use boxes::{BoxRow, NewBox, now_ns};
pub(crate) use held::{Held, HeldBox, Rest, Run};
pub(crate) use salvage::salvage;
pub(crate) use state::{Active, AtRest, BoxState, Findable, Removing, Starting};

use crate::errors::{BoxliteError, BoxliteResult, Detail};
use file::FileWatch;
use migration::MIGRATIONS;

/// How long a statement waits for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two tries where SQLite itself doesn't wait.
const BUSY_PAUSE: Duration = Duration::from_millis(5);
/// What to do about a damaged database.
const REPAIR: &str = "repair the home (boxlite_runtime_repair, RuntimeBuilder::repair): the file is kept aside; \
                      the boxes' disks are not affected";

/// The database of one home. Clones share one connection.
#[derive(Clone)]
pub(crate) struct Database {
    path: Arc<PathBuf>,
    /// `None` once closed.
    open: Arc<Mutex<Option<OpenDatabase>>>,
}

struct OpenDatabase {
    path: PathBuf,
    connection: Connection,
    file: FileWatch,
}

impl OpenDatabase {
    /// Refuses a file that is not the healthy one that was opened.
    fn check(&mut self) -> BoxliteResult<()> {
        match self.file.fault(&self.connection, &self.path) {
            Some(fault) => Err(fault.describe(&self.path)),
            None => Ok(()),
        }
    }
}

impl Drop for OpenDatabase {
    fn drop(&mut self) {
        // Closing the last connection folds the log into the file and deletes it; into a damaged file nothing is folded.
        if self.check().is_ok() {
            // Failing that, the log stays, and is read at the next opening.
            let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
        }
    }
}

impl Database {
    /// Opens the database, making or migrating it as needed. A newer one is refused untouched, a damaged one as it is.
    pub(crate) fn open(path: &Path) -> BoxliteResult<Self> {
        Self::open_with(path, MIGRATIONS)
    }

    fn open_with(path: &Path, migrations: &[migration::Migration]) -> BoxliteResult<Self> {
        let describe = |error: rusqlite::Error| failed(path, &error);
        migration::refuse_newer_unopened(path, migrations)?;
        let connection = Connection::open(path).map_err(describe)?;
        let mut open = OpenDatabase { path: path.to_owned(), connection, file: FileWatch::default() };
        keep_log(&open.connection).map_err(describe)?;
        open.connection.busy_timeout(BUSY_TIMEOUT).map_err(describe)?;
        // Switching a new database to WAL answers "locked" at once when others are at it too: SQLite doesn't wait there.
        let began = Instant::now();
        loop {
            match prepare(&mut open.connection, path, migrations) {
                Err(BoxliteError::Busy(_)) if began.elapsed() < BUSY_TIMEOUT => {
                    std::thread::sleep(BUSY_PAUSE)
                }
                prepared => break prepared?,
            }
        }
        open.check()?;
        Ok(Self { path: Arc::new(path.to_owned()), open: Arc::new(Mutex::new(Some(open))) })
    }

    /// Moves the write-ahead log's content into the database file and closes it. Later calls answer `Stopped`.
    pub(crate) fn close(&self) -> BoxliteResult<()> {
        match self.lock().take() {
            Some(mut open) => open.check(),
            None => Ok(()),
        }
    }

    /// Makes what has been recorded so far survive a crash of the host. Without it the last transactions may be lost by
    /// one, though never half of one.
    pub(crate) fn sync(&self) -> BoxliteResult<()> {
        let log = beside(&self.path, "-wal");
        match File::open(&log).and_then(|log| log.sync_data()) {
            // All of it is in the file, which is synced before its log goes.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            synced => synced.map_err(|error| BoxliteError::io("sync", &log, &error)),
        }
    }

    fn with<T>(&self, query: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> BoxliteResult<T> {
        let mut open = self.lock();
        let open = open.as_mut().ok_or_else(|| {
            BoxliteError::Stopped(Detail::new("the runtime was shut down and its last handle is gone"))
        })?;
        open.check()?;
        query(&mut open.connection).map_err(|error| failed_on(&open.connection, &self.path, &error))
    }

    fn lock(&self) -> MutexGuard<'_, Option<OpenDatabase>> {
        // A query that panicked left its transaction to be rolled back: the connection itself is sound.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The path of a file that SQLite, or we, keep beside the database.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Leaves the log alone when `connection` is closed.
fn keep_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map(|_| ())
}

/// Brings an open database to what this build needs, and finds out whether it is whole. May be done over.
fn prepare(
    connection: &mut Connection,
    path: &Path,
    migrations: &[migration::Migration],
) -> BoxliteResult<()> {
    migration::refuse_newer(connection, path, migrations)?;
    let found: String = connection
        .pragma_update(None, "journal_mode", "WAL")
        .and_then(|()| connection.pragma_update(None, "synchronous", "NORMAL"))
        .and_then(|()| connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)))
        .map_err(|error| failed_on(connection, path, &error))?;
    if found != "ok" {
        return Err(damaged(path, &found));
    }
    migration::migrate(connection, path, migrations)
}

fn damaged(path: &Path, how: &str) -> BoxliteError {
    let shown = path.display().to_string();
    BoxliteError::Database(
        Detail::new(format!("{shown} is damaged: {}", how.trim())).subject(shown).hint(REPAIR),
    )
}

/// What a statement on `connection` failed with: SQLite remembers what the system said.
fn failed_on(connection: &Connection, path: &Path, error: &rusqlite::Error) -> BoxliteError {
    // SAFETY: the handle is that of an open connection, which `connection` keeps open and to this thread.
    let errno = unsafe { rusqlite::ffi::sqlite3_system_errno(connection.handle()) };
    describe(path, error, Some(errno))
}

/// What went wrong where there is no connection that could be asked for its cause.
fn failed(path: &Path, error: &rusqlite::Error) -> BoxliteError {
    describe(path, error, None)
}

/// `errno` is what the system told SQLite; it counts for errors of the system only.
fn describe(path: &Path, error: &rusqlite::Error, errno: Option<i32>) -> BoxliteError {
    if let Some(lack) = lack(error, errno) {
        return BoxliteError::io("use", path, &std::io::Error::from_raw_os_error(lack));
    }
    let shown = path.display().to_string();
    let code = extended_code(error);
    let detail = Detail::new(format!("{shown}: {error} (SQLite's code {code})")).subject(shown);
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            BoxliteError::ResourceExhausted(detail.hint("free space on the file system that holds the home"))
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            BoxliteError::Busy(detail.hint("another process holds the database: try again"))
        }
        Some(ErrorCode::ReadOnly) => BoxliteError::Storage(
            detail.hint("make the home's db directory writable, or choose another home"),
        ),
        Some(ErrorCode::CannotOpen) => BoxliteError::Database(detail.hint(
            "the home's db directory must be this user's, and boxlite.db in it a file: move away what is in its place, \
             then repair the home (boxlite_runtime_repair)",
        )),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => damaged(path, &error.to_string()),
        // A row that can't be understood, a page that can't be read, a missing table.
        _ => BoxliteError::Database(detail.hint(REPAIR)),
    }
}

/// What the system was out of when it failed SQLite; all of it may come back.
fn lack(error: &rusqlite::Error, errno: Option<i32>) -> Option<i32> {
    if !matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::SystemIoFailure)) {
        return None;
    }
    let ran_out = |errno: &i32| {
        matches!(*errno, libc::EMFILE | libc::ENFILE | libc::ENOSPC | libc::EDQUOT | libc::ENOMEM)
    };
    // There SQLite makes the index of its log longer, which takes room and nothing else.
    let lacks_room = extended_code(error) == rusqlite::ffi::SQLITE_IOERR_SHMSIZE;
    errno
        .filter(ran_out)
        .or_else(|| lack_of_descriptors().filter(ran_out))
        .or(lacks_room.then_some(libc::ENOSPC))
}

fn extended_code(error: &rusqlite::Error) -> i32 {
    error.sqlite_error().map_or(0, |error| error.extended_code)
}

/// The system's word when SQLite could have lacked descriptors, of which it needs up to this many. Not tried on the
/// database, since closing any descriptor of a file lets go of all the process's locks on it.
fn lack_of_descriptors() -> Option<i32> {
    let tried: std::io::Result<Vec<File>> = (0..4).map(|_| File::open("/dev/null")).collect();
    tried.err().and_then(|error| error.raw_os_error())
}

#[cfg(test)]
mod tests;
