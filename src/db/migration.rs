//! The schema, version by version. A migration is never changed once released: a new one is added.
//!
//! Owns what happens to databases of other versions: a newer one is refused untouched, an older one is copied beside
//! itself and brought up to date in one transaction.

use std::fmt::Write;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior};

use crate::errors::{BoxliteError, BoxliteResult, Detail};

/// One step: what it brings a database to, and how.
pub(super) struct Migration {
    pub(super) version: i64,
    pub(super) sql: &'static str,
}

pub(super) const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    sql: "CREATE TABLE boxes (
            seq         INTEGER PRIMARY KEY AUTOINCREMENT,
            id          TEXT NOT NULL UNIQUE,
            name        TEXT UNIQUE,
            created_ns  INTEGER NOT NULL,
            updated_ns  INTEGER NOT NULL,
            started_ns  INTEGER,
            state       TEXT NOT NULL,
            options     TEXT NOT NULL,
            image_json  TEXT,
            pid         INTEGER,
            pid_start   INTEGER,
            owner_pid   INTEGER NOT NULL,
            owner_start INTEGER,
            engine      TEXT,
            exit_code   INTEGER,
            failure     TEXT
          ) STRICT;",
}];

const HISTORY: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    version    INTEGER PRIMARY KEY,
    applied_ns INTEGER NOT NULL,
    writer     TEXT NOT NULL
  ) STRICT;";

/// Version of the schema that these migrations end in.
fn newest(migrations: &[Migration]) -> i64 {
    migrations.last().map_or(0, |migration| migration.version)
}

/// The version a database has, and which boxlite brought it there.
fn version_of(connection: &Connection) -> rusqlite::Result<Option<(i64, String)>> {
    let sql = "SELECT count(*) > 0 FROM sqlite_schema WHERE name = 'schema_migrations'";
    if !connection.query_row(sql, [], |row| row.get(0))? {
        return Ok(None);
    }
    connection
        .query_row("SELECT version, writer FROM schema_migrations ORDER BY version DESC LIMIT 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()
}

/// Refuses a database that a newer boxlite wrote, without opening it in any way that would write: no log, no switch of
/// the journal. What can't be read so is left to [`refuse_newer`], and its faults to the opening.
pub(super) fn refuse_newer_unopened(path: &Path, migrations: &[Migration]) -> BoxliteResult<()> {
    let length = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    if length(path) == 0 {
        return Ok(());
    }
    let read_only = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = if length(&super::beside(path, "-wal")) == 0 {
        Connection::open_with_flags(immutable(path), read_only | OpenFlags::SQLITE_OPEN_URI)
    } else {
        // The log says more than the file. Its index exists, as whoever wrote the log had one.
        Connection::open_with_flags(path, read_only)
    };
    let Ok(connection) = opened else { return Ok(()) };
    if super::keep_log(&connection).is_err() {
        return Ok(());
    }
    match version_of(&connection) {
        Ok(found) => check(found, path, migrations),
        Err(_) => Ok(()),
    }
}

/// The database as a file that nobody changes: SQLite neither locks it nor looks for a log.
fn immutable(path: &Path) -> String {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            // Writing to a string can't fail.
            let _ = write!(uri, "%{byte:02x}");
        }
    }
    uri + "?immutable=1"
}

/// Refuses a database that a newer boxlite wrote.
pub(super) fn refuse_newer(
    connection: &Connection,
    path: &Path,
    migrations: &[Migration],
) -> BoxliteResult<()> {
    let found = version_of(connection).map_err(|error| super::failed_on(connection, path, &error))?;
    check(found, path, migrations)
}

fn check(found: Option<(i64, String)>, path: &Path, migrations: &[Migration]) -> BoxliteResult<()> {
    let newest = newest(migrations);
    match found {
        Some((version, writer)) if version > newest => Err(BoxliteError::Config(
            Detail::new(format!(
                "{} was written by boxlite {writer} (schema {version}); this is boxlite {} (schema {newest})",
                path.display(),
                env!("CARGO_PKG_VERSION"),
            ))
            .subject(path.display().to_string())
            .hint("use that version of boxlite or a newer one, or another home; nothing was changed"),
        )),
        _ => Ok(()),
    }
}

/// Applies what is missing, in one transaction. An older database is copied first, by whoever has the transaction.
pub(super) fn migrate(
    connection: &mut Connection,
    path: &Path,
    migrations: &[Migration],
) -> BoxliteResult<()> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(|error| super::failed(path, &error))?;
    let describe = |error: rusqlite::Error| super::failed_on(&transaction, path, &error);
    // Whoever had the transaction before may have been newer.
    refuse_newer(&transaction, path, migrations)?;
    transaction.execute_batch(HISTORY).map_err(describe)?;
    let have = version_of(&transaction).map_err(describe)?.map_or(0, |(version, _)| version);
    if have > 0 && have < newest(migrations) {
        keep_copy(path, have)?;
    }
    for migration in migrations.iter().filter(|migration| migration.version > have) {
        transaction.execute_batch(migration.sql).map_err(describe)?;
        transaction
            .execute(
                "INSERT INTO schema_migrations (version, applied_ns, writer) VALUES (?1, ?2, ?3)",
                (migration.version, super::boxes::now_ns(), env!("CARGO_PKG_VERSION")),
            )
            .map_err(describe)?;
    }
    transaction.commit().map_err(|error| super::failed(path, &error))
}

/// Keeps the database as it is before its migration, whole and on disk, as `boxlite.db.v<version>`.
fn keep_copy(path: &Path, version: i64) -> BoxliteResult<()> {
    let copy = super::beside(path, &format!(".v{version}"));
    let draft = super::beside(&copy, ".new");
    let copied = write_copy(path, &draft).and_then(|()| {
        File::open(&draft)
            .and_then(|draft| draft.sync_all())
            .and_then(|()| fs::rename(&draft, &copy))
            .map_err(|error| BoxliteError::io("keep the older database as", &copy, &error))
    });
    if copied.is_err() {
        // The first failure is the one to report.
        let _ = fs::remove_file(&draft);
    }
    copied
}

fn write_copy(path: &Path, draft: &Path) -> BoxliteResult<()> {
    // One may have been left by a process that was killed here.
    let _ = fs::remove_file(draft);
    // Another connection: it sees what was before the transaction that is open.
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .and_then(|source| {
            source.busy_timeout(super::BUSY_TIMEOUT)?;
            super::keep_log(&source)?;
            source.execute("VACUUM INTO CAST(?1 AS TEXT)", [draft.as_os_str().as_bytes()])
        })
        .map(|_| ())
        .map_err(|error| super::failed(draft, &error))
}
