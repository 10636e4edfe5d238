//! The schema, version by version. A migration is never changed once released: a new one is added.

use std::path::Path;

use rusqlite::Connection;

use crate::errors::{BoxliteError, BoxliteResult, Detail};

/// One step: what it brings a database to, and how.
struct Migration {
    version: i64,
    sql: &'static str,
}

const MIGRATIONS: &[Migration] = &[Migration {
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

/// Version of the schema that this build writes.
const CURRENT: i64 = MIGRATIONS[MIGRATIONS.len() - 1].version;

const HISTORY: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    version    INTEGER PRIMARY KEY,
    applied_ns INTEGER NOT NULL,
    writer     TEXT NOT NULL
  ) STRICT;";

/// Refuses a database that a newer boxlite wrote, before anything touches it.
pub(super) fn check_version(connection: &Connection, path: &Path) -> BoxliteResult<()> {
    let describe = |error: rusqlite::Error| super::failed(path, &error);
    let exists: bool = connection
        .query_row("SELECT count(*) > 0 FROM sqlite_schema WHERE name = 'schema_migrations'", [], |row| {
            row.get(0)
        })
        .map_err(describe)?;
    if !exists {
        return Ok(());
    }
    let newest: Option<(i64, String)> = connection
        .query_row("SELECT version, writer FROM schema_migrations ORDER BY version DESC LIMIT 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .map(Some)
        .or_else(|error| if error == rusqlite::Error::QueryReturnedNoRows { Ok(None) } else { Err(error) })
        .map_err(describe)?;
    match newest {
        Some((version, writer)) if version > CURRENT => Err(BoxliteError::Config(
            Detail::new(format!(
                "{} was written by boxlite {writer} (schema {version}); this is boxlite {} (schema {CURRENT})",
                path.display(),
                env!("CARGO_PKG_VERSION"),
            ))
            .subject(path.display().to_string())
            .hint("use that version of boxlite or a newer one, or another home; nothing was changed"),
        )),
        _ => Ok(()),
    }
}

/// Applies what is missing, in one transaction.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> BoxliteResult<()> {
    let describe = |error: rusqlite::Error| super::failed(path, &error);
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(describe)?;
    transaction.execute_batch(HISTORY).map_err(describe)?;
    let have: i64 = transaction
        .query_row("SELECT coalesce(max(version), 0) FROM schema_migrations", [], |row| row.get(0))
        .map_err(describe)?;
    for migration in MIGRATIONS.iter().filter(|migration| migration.version > have) {
        transaction.execute_batch(migration.sql).map_err(describe)?;
        transaction
            .execute(
                "INSERT INTO schema_migrations (version, applied_ns, writer) VALUES (?1, ?2, ?3)",
                (migration.version, super::boxes::now_ns(), env!("CARGO_PKG_VERSION")),
            )
            .map_err(describe)?;
    }
    transaction.commit().map_err(describe)
}
