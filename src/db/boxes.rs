//! The table of boxes.

use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::Database;
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::model::id::BoxID;

/// Where a box stands in its life, as recorded. Written before the act that it names, settled after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BoxState {
    /// Created, never started.
    Configured,
    /// A start is under way.
    Starting,
    /// The VM runs.
    Running,
    /// A stop is under way.
    Stopping,
    /// Not running.
    Stopped,
    /// Ended by a fault.
    Failed,
    /// Being deleted.
    Removing,
}

impl BoxState {
    const ALL: [Self; 7] = [
        Self::Configured,
        Self::Starting,
        Self::Running,
        Self::Stopping,
        Self::Stopped,
        Self::Failed,
        Self::Removing,
    ];

    fn as_sql(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Removing => "removing",
        }
    }

    fn from_sql(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_sql() == text)
    }

    /// Whether a shim may be alive.
    pub(crate) fn is_active(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Stopping)
    }
}

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

/// What an act came to.
#[derive(Clone, Debug)]
pub(crate) enum Settled {
    /// Its VM runs.
    Running {
        pid: u32,
        pid_start: Option<u64>,
        engine: &'static str,
        image_json: String,
        owner_pid: u32,
        owner_start: Option<u64>,
    },
    /// It was never started, and is as before.
    Configured,
    /// It has ended in order.
    Stopped,
    /// It has ended by a fault.
    Failed { reason: String },
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
                    ":state": BoxState::Configured.as_sql(), ":options": new.options,
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

    /// All boxes, newest first.
    pub(crate) fn list(&self) -> BoxliteResult<Vec<BoxRow>> {
        self.with(|connection| select(connection, "1", &[]))
    }

    /// Records that an act has begun, if the box is in one of `from`; tells whether it was.
    pub(crate) fn begin(&self, id: &BoxID, from: &[BoxState], to: BoxState) -> BoxliteResult<bool> {
        let allowed: Vec<String> = from.iter().map(|state| format!("'{}'", state.as_sql())).collect();
        let sql = format!(
            "UPDATE boxes SET state = :to, updated_ns = :now WHERE id = :id AND state IN ({})",
            allowed.join(", ")
        );
        let changed = self.with(|connection| {
            connection
                .execute(&sql, named_params! { ":to": to.as_sql(), ":now": now_ns(), ":id": id.as_str() })
        })?;
        Ok(changed == 1)
    }

    /// Records what an act came to.
    pub(crate) fn settle(&self, id: &BoxID, outcome: &Settled) -> BoxliteResult<()> {
        let now = now_ns();
        self.with(|connection| match outcome {
            Settled::Running { pid, pid_start, engine, image_json, owner_pid, owner_start } => connection.execute(
                "UPDATE boxes SET state = 'running', updated_ns = :now, started_ns = :now, pid = :pid,
                   pid_start = :pid_start, engine = :engine, image_json = :image, owner_pid = :owner_pid,
                   owner_start = :owner_start, exit_code = NULL, failure = NULL WHERE id = :id",
                named_params! {
                    ":now": now, ":pid": pid, ":pid_start": pid_start.map(to_sql), ":engine": engine,
                    ":image": image_json, ":owner_pid": owner_pid, ":owner_start": owner_start.map(to_sql),
                    ":id": id.as_str(),
                },
            ),
            Settled::Configured => ended(connection, id, now, BoxState::Configured, None),
            Settled::Stopped => ended(connection, id, now, BoxState::Stopped, None),
            Settled::Failed { reason } => ended(connection, id, now, BoxState::Failed, Some(reason)),
        })?;
        Ok(())
    }

    /// Forgets a box that was never used.
    pub(crate) fn delete_unused(&self, id: &BoxID) -> BoxliteResult<()> {
        let sql = "DELETE FROM boxes WHERE id = ?1 AND state = ?2 AND started_ns IS NULL";
        self.with(|connection| connection.execute(sql, [id.as_str(), BoxState::Configured.as_sql()]))
            .map(|_| ())
    }

    /// Forgets a box; tells whether there was one.
    pub(crate) fn delete(&self, id: &BoxID) -> BoxliteResult<bool> {
        self.with(|connection| connection.execute("DELETE FROM boxes WHERE id = ?1", [id.as_str()]))
            .map(|deleted| deleted == 1)
    }
}

fn ended(
    connection: &Connection,
    id: &BoxID,
    now: i64,
    state: BoxState,
    failure: Option<&str>,
) -> rusqlite::Result<usize> {
    connection.execute(
        "UPDATE boxes SET state = :state, updated_ns = :now, pid = NULL, pid_start = NULL, failure = :failure
         WHERE id = :id",
        named_params! { ":state": state.as_sql(), ":now": now, ":failure": failure, ":id": id.as_str() },
    )
}

const COLUMNS: &str = "id, name, created_ns, updated_ns, started_ns, state, options, image_json, pid, pid_start, \
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

fn from_row(row: &Row<'_>) -> rusqlite::Result<BoxRow> {
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
fn to_sql(value: u64) -> i64 {
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
