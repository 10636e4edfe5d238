//! What can still be read from a damaged database, and how a row is put back into a sound one.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, named_params};

use super::boxes::{BoxRow, COLUMNS, from_row, to_sql};
use super::{Database, beside, keep_log};
use crate::errors::{BoxliteError, BoxliteResult};

/// A page of zeros, for a database whose pages are all in its log.
const EMPTY_PAGE: [u8; 4096] = [0; 4096];

/// The rows that can be read, oldest first. Works on a copy in `scratch`: whatever SQLite does to a damaged database
/// and its log, the originals stay as they are.
pub(crate) fn salvage(path: &Path, scratch: &Path) -> BoxliteResult<Vec<BoxRow>> {
    let copy = scratch.join("salvaged.db");
    if path.is_dir() {
        return Ok(Vec::new());
    }
    let failed = |error: &std::io::Error| BoxliteError::io("copy to", &copy, error);
    for suffix in ["", "-wal"] {
        match fs::copy(beside(path, suffix), beside(&copy, suffix)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            copied => copied.map(|_| ()).map_err(|error| failed(&error))?,
        }
    }
    // SQLite takes an empty file for a new database and deletes its log.
    if fs::metadata(&copy).map_or(0, |metadata| metadata.len()) == 0 {
        fs::write(&copy, EMPTY_PAGE).map_err(|error| failed(&error))?;
    }
    let Ok(connection) = Connection::open_with_flags(&copy, OpenFlags::SQLITE_OPEN_READ_WRITE) else {
        return Ok(Vec::new());
    };
    // Without this the log would only be folded in.
    let _ = keep_log(&connection);
    let mut rows = Vec::new();
    let mut seen = HashSet::new();
    // A bad page ends a scan: from the other end it is met later.
    for order in ["ASC", "DESC"] {
        let scan = format!("SELECT {COLUMNS} FROM boxes ORDER BY seq {order}");
        let Ok(mut statement) = connection.prepare(&scan) else { continue };
        let Ok(mut found) = statement.query([]) else { continue };
        while let Ok(Some(row)) = found.next() {
            if let Ok(row) = from_row(row)
                && seen.insert(row.id.as_str().to_owned())
            {
                rows.push(row);
            }
        }
    }
    rows.sort_by_key(|row: &BoxRow| row.created_ns);
    Ok(rows)
}

impl Database {
    /// Puts `row` in as it is; tells whether neither its id nor its name was taken.
    pub(crate) fn restore(&self, row: &BoxRow) -> BoxliteResult<bool> {
        let sql = format!(
            "INSERT OR IGNORE INTO boxes ({COLUMNS}) VALUES (:id, :name, :created, :updated, :started, :state, :options,
               :image, :pid, :pid_start, :owner_pid, :owner_start, :engine, :exit_code, :failure)"
        );
        self.with(|connection| {
            connection.execute(
                &sql,
                named_params! {
                    ":id": row.id.as_str(), ":name": row.name, ":created": row.created_ns,
                    ":updated": row.updated_ns, ":started": row.started_ns, ":state": row.state.as_str(),
                    ":options": row.options, ":image": row.image_json, ":pid": row.pid,
                    ":pid_start": row.pid_start.map(to_sql), ":owner_pid": row.owner_pid,
                    ":owner_start": row.owner_start.map(to_sql), ":engine": row.engine,
                    ":exit_code": row.exit_code, ":failure": row.failure,
                },
            )
        })
        .map(|inserted| inserted == 1)
    }
}
