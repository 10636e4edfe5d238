//! The table of boxes: new rows and queries. What changes a box's state is `state`'s business.

use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::Database;
use super::state::BoxState;
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::model::id::BoxID;

/// A box as recorded.
#[derive(Clone, Debug)]
pub(crate) struct BoxRow {
    pub(crate) id: BoxID,
    pub(crate) name: Option<String>,
    pub(crate) created_ns: i64,
    pub(crate) updated_ns: i64,
    pub(crate) started_ns: Option<i64>,
    pub(crate) state: BoxState,
    /// The caller's options, JSON.
    pub(crate) options: String,
    /// What of the image commands need (environment, user, …), JSON; known from the first start on.
    pub(crate) image_json: Option<String>,
    pub(crate) pid: Option<u32>,
    pub(crate) pid_start: Option<u64>,
    pub(crate) owner_pid: u32,
    pub(crate) owner_start: Option<u64>,
    pub(crate) engine: Option<String>,
    pub(crate) exit_code: Option<i32>,
    pub(crate) failure: Option<String>,
}

/// A box about to be recorded.
#[derive(Clone, Debug)]
pub(crate) struct NewBox {
    pub(crate) id: BoxID,
    pub(crate) name: Option<String>,
    pub(crate) options: String,
    pub(crate) owner_pid: u32,
    pub(crate) owner_start: Option<u64>,
}

impl Database {
    /// Records a new box.
    pub(crate) fn insert(&self, new: &NewBox) -> BoxliteResult<BoxRow> {
        let now = now_ns();
        let inserted = self.with(|connection| {
            let inserted = connection.execute(
                "INSERT INTO boxes (id, name, created_ns, updated_ns, state, options, owner_pid, owner_start)
                 VALUES (:id, :name, :now, :now, :state, :options, :owner_pid, :owner_start)",
                named_params! {
                    ":id": new.id.as_str(), ":name": new.name, ":now": now,
                    ":state": BoxState::Configured.as_str(), ":options": new.options,
                    ":owner_pid": new.owner_pid, ":owner_start": new.owner_start.map(to_sql),
                },
            );
            match inserted {
                Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => {
                    Ok(false)
                }
                other => other.map(|_| true),
            }
        })?;
        if !inserted {
            let name = new.name.as_deref().unwrap_or(new.id.as_str());
            return Err(BoxliteError::AlreadyExists(
                Detail::new(format!("a box named {name:?} already exists")).subject(name),
            ));
        }
        self.get(&new.id)?
            .ok_or_else(|| BoxliteError::Database(format!("box {} was deleted at once", new.id).into()))
    }

    /// The box with exactly this id.
    pub(crate) fn get(&self, id: &BoxID) -> BoxliteResult<Option<BoxRow>> {
        self.with(|connection| select_one(connection, "id = ?1", id.as_str()))
    }

    /// The box with this id, name or unique id prefix, tried in this order.
    pub(crate) fn find(&self, key: &str) -> BoxliteResult<Option<BoxRow>> {
        let exact = self.with(|connection| {
            Ok(select_one(connection, "id = ?1", key)?.or(select_one(connection, "name = ?1", key)?))
        })?;
        if exact.is_some() || key.is_empty() {
            return Ok(exact);
        }
        let mut found =
            self.with(|connection| select(connection, "substr(id, 1, length(?1)) = ?1", &[&key]))?;
        if found.len() > 1 {
            let ids: Vec<&str> = found.iter().map(|row| row.id.as_str()).collect();
            return Err(BoxliteError::InvalidArgument(
                Detail::new(format!("{key:?} is the beginning of several ids: {}", ids.join(", ")))
                    .subject(key)
                    .hint("give more characters of the id"),
            ));
        }
        Ok(found.pop())
    }

    /// The box of this name.
    pub(crate) fn named(&self, name: &str) -> BoxliteResult<Option<BoxRow>> {
        self.with(|connection| select_one(connection, "name = ?1", name))
    }

    /// All boxes, newest first.
    pub(crate) fn list(&self) -> BoxliteResult<Vec<BoxRow>> {
        self.with(|connection| select(connection, "1", &[]))
    }
}

pub(super) const COLUMNS: &str = "id, name, created_ns, updated_ns, started_ns, state, options, image_json, pid, pid_start, \
                       owner_pid, owner_start, engine, exit_code, failure";

fn select(
    connection: &Connection,
    filter: &str,
    parameters: &[&dyn rusqlite::ToSql],
) -> rusqlite::Result<Vec<BoxRow>> {
    let mut statement =
        connection.prepare(&format!("SELECT {COLUMNS} FROM boxes WHERE {filter} ORDER BY seq DESC"))?;
    statement.query_map(parameters, from_row)?.collect()
}

fn select_one(connection: &Connection, filter: &str, key: &str) -> rusqlite::Result<Option<BoxRow>> {
    connection
        .prepare(&format!("SELECT {COLUMNS} FROM boxes WHERE {filter}"))?
        .query_row([key], from_row)
        .optional()
}

pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<BoxRow> {
    let bad = |column: usize, what: &'static str| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, what.into())
    };
    let id: String = row.get(0)?;
    let state: String = row.get(5)?;
    Ok(BoxRow {
        id: BoxID::parse(&id).ok_or_else(|| bad(0, "not a box id"))?,
        name: row.get(1)?,
        created_ns: row.get(2)?,
        updated_ns: row.get(3)?,
        started_ns: row.get(4)?,
        state: BoxState::from_sql(&state).ok_or_else(|| bad(5, "not a state"))?,
        options: row.get(6)?,
        image_json: row.get(7)?,
        pid: row.get(8)?,
        pid_start: row.get::<_, Option<i64>>(9)?.map(from_sql),
        owner_pid: row.get(10)?,
        owner_start: row.get::<_, Option<i64>>(11)?.map(from_sql),
        engine: row.get(12)?,
        exit_code: row.get(13)?,
        failure: row.get(14)?,
    })
}

/// SQLite integers are signed; start times are clock ticks since boot and stay far below the limit.
pub(super) fn to_sql(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn from_sql(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// Nanoseconds since the epoch.
pub(crate) fn now_ns() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX)
}
