//! The home's database: one row a box, in SQLite (WAL), so that any number of processes may share a home.
//!
//! Owns schema and queries; knows nothing of processes. Every call blocks and belongs on a blocking thread.

mod boxes;
mod migration;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;

pub(crate) use boxes::{BoxRow, BoxState, NewBox, Settled};

use crate::errors::{BoxliteError, BoxliteResult, Detail};

/// How long a statement waits for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two tries where SQLite itself doesn't wait.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// The database of one home. Clones share one connection.
#[derive(Clone)]
pub(crate) struct Database {
    path: Arc<PathBuf>,
    /// `None` once closed.
    connection: Arc<Mutex<Option<Connection>>>,
}

impl Database {
    /// Opens the database, making or migrating it as needed. A newer one is refused untouched.
    pub(crate) fn open(path: &Path) -> BoxliteResult<Self> {
        let describe = |error: rusqlite::Error| failed(path, &error);
        let mut connection = Connection::open(path).map_err(describe)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(describe)?;
        // Switching a new database to WAL answers "locked" at once when others are at it too: SQLite doesn't wait there.
        let began = Instant::now();
        loop {
            match prepare(&mut connection, path) {
                Err(BoxliteError::Busy(_)) if began.elapsed() < BUSY_TIMEOUT => {
                    std::thread::sleep(BUSY_PAUSE)
                }
                prepared => break prepared?,
            }
        }
        Ok(Self { path: Arc::new(path.to_owned()), connection: Arc::new(Mutex::new(Some(connection))) })
    }

    /// Moves the write-ahead log's content into the database file and closes it. Later calls answer `Stopped`.
    pub(crate) fn close(&self) -> BoxliteResult<()> {
        // Closing the last connection of a database checkpoints and deletes its log.
        match self.lock().take().map(Connection::close) {
            Some(Err((_, error))) => Err(failed(&self.path, &error)),
            _ => Ok(()),
        }
    }

    fn with<T>(&self, query: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> BoxliteResult<T> {
        let mut connection = self.lock();
        let connection = connection.as_mut().ok_or_else(|| {
            BoxliteError::Stopped(Detail::new("the runtime was shut down and its last handle is gone"))
        })?;
        query(connection).map_err(|error| failed(&self.path, &error))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Connection>> {
        // A query that panicked left its transaction to be rolled back: the connection itself is sound.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Brings an open database to what this build needs. May be done over.
fn prepare(connection: &mut Connection, path: &Path) -> BoxliteResult<()> {
    let describe = |error: rusqlite::Error| failed(path, &error);
    migration::check_version(connection, path)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(describe)?;
    connection.pragma_update(None, "synchronous", "NORMAL").map_err(describe)?;
    migration::migrate(connection, path)
}

fn failed(path: &Path, error: &rusqlite::Error) -> BoxliteError {
    let shown = path.display().to_string();
    let detail = Detail::new(format!("{shown}: {error}")).subject(shown);
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => {
            BoxliteError::ResourceExhausted(detail.hint("free space on the file system that holds the home"))
        }
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
            BoxliteError::Busy(detail.hint("another process holds the database: try again"))
        }
        Some(rusqlite::ErrorCode::ReadOnly) => BoxliteError::Storage(
            detail.hint("make the home's db directory writable, or choose another home"),
        ),
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
            BoxliteError::Database(
                detail.hint("move the file aside: the boxes' disks are not affected by its loss"),
            )
        }
        _ => BoxliteError::Database(detail),
    }
}

#[cfg(test)]
mod tests;
