//! A box that somebody has the lock of, and what its state lets be done with it: the transitions `state` draws.
//!
//! Owns every change of a box's recorded state; does none of the acts.

use std::marker::PhantomData;

use rusqlite::{Connection, named_params};

use super::Database;
use super::boxes::{BoxRow, now_ns, to_sql};
use super::state::{Active, AtRest, BoxState, Findable, Reached, Removing, Running, Starting, Stopping};
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::lock::LockGuard;
use crate::model::id::BoxID;
use crate::util::PidRecord;

/// A box in state `S`, whose lock is held as long as this lives.
#[derive(Debug)]
pub(crate) struct Held<S> {
    row: Box<BoxRow>,
    lock: LockGuard,
    state: PhantomData<S>,
}

/// A box whose lock is held, in whichever state it was found.
#[derive(Debug)]
pub(crate) enum HeldBox {
    AtRest(Held<AtRest>),
    Starting(Held<Starting>),
    Running(Held<Running>),
    Stopping(Held<Stopping>),
    Removing(Held<Removing>),
}

/// How a box comes to rest.
#[derive(Clone, Debug)]
pub(crate) enum Rest {
    /// It has never run.
    Configured,
    /// It has ended in order.
    Stopped,
    /// It has ended by a fault.
    Failed { reason: String },
}

impl Rest {
    /// The rest that a box with this row is at.
    pub(crate) fn of(row: &BoxRow) -> Self {
        match row.state {
            BoxState::Configured => Self::Configured,
            BoxState::Failed => Self::Failed { reason: row.failure.clone().unwrap_or_default() },
            _ => Self::Stopped,
        }
    }

    fn state(&self) -> BoxState {
        match self {
            Self::Configured => BoxState::Configured,
            Self::Stopped => BoxState::Stopped,
            Self::Failed { .. } => BoxState::Failed,
        }
    }

    fn reason(&self) -> Option<&str> {
        match self {
            Self::Failed { reason } => Some(reason),
            Self::Configured | Self::Stopped => None,
        }
    }
}

/// What is recorded of a VM that has come up.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) pid: u32,
    pub(crate) pid_start: Option<u64>,
    pub(crate) engine: &'static str,
    pub(crate) image_json: String,
    pub(crate) owner_pid: u32,
    pub(crate) owner_start: Option<u64>,
}

impl Database {
    /// The box with this id, by whoever has just got its `lock`; the lock is let go of when there is no such box.
    pub(crate) fn hold(&self, id: &BoxID, lock: LockGuard) -> BoxliteResult<Option<HeldBox>> {
        if lock.name() != id.as_str() {
            return Err(BoxliteError::Internal(
                format!("the lock of {} was taken for box {id}", lock.name()).into(),
            ));
        }
        Ok(self.get(id)?.map(|row| HeldBox::new(row, lock)))
    }
}

impl HeldBox {
    fn new(row: BoxRow, lock: LockGuard) -> Self {
        let row = Box::new(row);
        match row.state {
            BoxState::Configured | BoxState::Stopped | BoxState::Failed => Self::AtRest(Held::new(row, lock)),
            BoxState::Starting => Self::Starting(Held::new(row, lock)),
            BoxState::Running => Self::Running(Held::new(row, lock)),
            BoxState::Stopping => Self::Stopping(Held::new(row, lock)),
            BoxState::Removing => Self::Removing(Held::new(row, lock)),
        }
    }

    pub(crate) fn row(&self) -> &BoxRow {
        match self {
            Self::AtRest(held) => held.row(),
            Self::Starting(held) => held.row(),
            Self::Running(held) => held.row(),
            Self::Stopping(held) => held.row(),
            Self::Removing(held) => held.row(),
        }
    }
}

impl<S> Held<S> {
    fn new(row: Box<BoxRow>, lock: LockGuard) -> Self {
        Self { row, lock, state: PhantomData }
    }

    /// The row as it was read, in this state.
    pub(crate) fn row(&self) -> &BoxRow {
        &self.row
    }

    pub(crate) fn id(&self) -> &BoxID {
        &self.row.id
    }

    fn into_state<T: Reached>(mut self) -> Held<T> {
        self.row.state = T::STATE;
        Held::new(self.row, self.lock)
    }

    /// Reads the row anew after it was written.
    fn reread<T>(self, database: &Database) -> BoxliteResult<Held<T>> {
        let row = database.get(&self.row.id)?.ok_or_else(|| vanished(&self.row.id))?;
        Ok(Held::new(Box::new(row), self.lock))
    }

    /// Records that an act has begun. A disk that is too full for that must not keep a box from being stopped or
    /// removed: what comes of the act is recorded at its end, or is an error then.
    fn note<T: Reached>(self, database: &Database) -> Held<T> {
        let _ = database.with(|connection| set_state(connection, &self.row, T::STATE));
        self.into_state()
    }
}

impl Held<AtRest> {
    /// A start begins. An error leaves everything as it was.
    pub(crate) fn begin_start(self, database: &Database) -> BoxliteResult<Held<Starting>> {
        match database.with(|connection| set_state(connection, &self.row, BoxState::Starting))? {
            1 => Ok(self.into_state()),
            _ => Err(database.refused(&self.row.id, "start")),
        }
    }

    /// A removal begins.
    pub(crate) fn begin_remove(self, database: &Database) -> Held<Removing> {
        self.note(database)
    }
}

impl Held<Starting> {
    /// The VM is up. On an error the box still counts as being started.
    pub(crate) fn settle_running(
        self,
        database: &Database,
        run: &Run,
    ) -> Result<Held<Running>, (Held<Starting>, BoxliteError)> {
        let written = database.with(|connection| {
            connection.execute(
                "UPDATE boxes SET state = 'running', updated_ns = :now, started_ns = :now, pid = :pid,
                   pid_start = :pid_start, engine = :engine, image_json = :image, owner_pid = :owner_pid,
                   owner_start = :owner_start, exit_code = NULL, failure = NULL
                 WHERE id = :id AND state = 'starting'",
                named_params! {
                    ":now": now_ns(), ":pid": run.pid, ":pid_start": run.pid_start.map(to_sql),
                    ":engine": run.engine, ":image": run.image_json, ":owner_pid": run.owner_pid,
                    ":owner_start": run.owner_start.map(to_sql), ":id": self.row.id.as_str(),
                },
            )
        });
        match written {
            Ok(1) => Ok(self.into_state()),
            Ok(_) => {
                let error = database.refused(&self.row.id, "finish the start of");
                Err((self, error))
            }
            Err(error) => Err((self, error)),
        }
    }
}

impl<S: Findable> Held<S> {
    /// Its VM runs as `shim`, whatever was recorded.
    pub(crate) fn found_running(self, database: &Database, shim: &PidRecord) -> BoxliteResult<Held<Running>> {
        database.with(|connection| {
            connection.execute(
                "UPDATE boxes SET state = 'running', updated_ns = :now, started_ns = coalesce(started_ns, :now),
                   pid = :pid, pid_start = :pid_start, failure = NULL WHERE id = :id",
                named_params! {
                    ":now": now_ns(), ":pid": shim.pid, ":pid_start": shim.start_time.map(to_sql),
                    ":id": self.row.id.as_str(),
                },
            )
        })?;
        self.reread(database)
    }
}

impl<S: Active> Held<S> {
    /// A stop begins, or one that nobody finished is taken up.
    pub(crate) fn begin_stop(self, database: &Database) -> Held<Stopping> {
        self.note(database)
    }

    /// A removal begins: the VM is ended as its first part.
    pub(crate) fn begin_remove(self, database: &Database) -> Held<Removing> {
        self.note(database)
    }

    /// The VM is gone: stopped, rolled back, or found dead.
    pub(crate) fn come_to_rest(self, database: &Database, rest: &Rest) -> BoxliteResult<Held<AtRest>> {
        database.with(|connection| {
            connection.execute(
                "UPDATE boxes SET state = :state, updated_ns = :now, pid = NULL, pid_start = NULL,
                   failure = :failure WHERE id = :id",
                named_params! {
                    ":state": rest.state().as_str(), ":now": now_ns(), ":failure": rest.reason(),
                    ":id": self.row.id.as_str(),
                },
            )
        })?;
        self.reread(database)
    }
}

impl Held<Removing> {
    /// The box is gone, with its directory: so goes its row. The lock is let go of.
    pub(crate) fn forget(self, database: &Database) -> BoxliteResult<()> {
        database
            .with(|connection| connection.execute("DELETE FROM boxes WHERE id = ?1", [self.row.id.as_str()]))
            .map(|_| ())
    }
}

impl Database {
    /// Forgets a box that was never used. The one change of state without the box's lock: the condition in the
    /// statement is what the lock would show, and nobody but its creator may know the box yet.
    pub(crate) fn forget_unused(&self, id: &BoxID) -> BoxliteResult<()> {
        let sql = "DELETE FROM boxes WHERE id = ?1 AND state = 'configured' AND started_ns IS NULL";
        self.with(|connection| connection.execute(sql, [id.as_str()])).map(|_| ())
    }

    /// Why an act on the box can't begin: it is not in the state that its holder found it in.
    fn refused(&self, id: &BoxID, operation: &str) -> BoxliteError {
        match self.get(id) {
            Ok(Some(row)) => invalid_state(id, operation, row.state.as_str()),
            Ok(None) => vanished(id),
            Err(error) => error,
        }
    }
}

/// "This can't be done to a box in that state", naming both.
fn invalid_state(id: &BoxID, operation: &str, state: &str) -> BoxliteError {
    BoxliteError::InvalidState(
        Detail::new(format!("cannot {operation} box {id}: it is {state}"))
            .subject(id.as_str())
            .hint("look at its status first: another process may be at it"),
    )
}

fn vanished(id: &BoxID) -> BoxliteError {
    BoxliteError::NotFound(Detail::new(format!("box {id} not found: it was removed")).subject(id.as_str()))
}

/// From the state of `row` to `act`, if the database still has it in that state; tells how many rows changed.
fn set_state(connection: &Connection, row: &BoxRow, act: BoxState) -> rusqlite::Result<usize> {
    connection.execute(
        "UPDATE boxes SET state = :act, updated_ns = :now WHERE id = :id AND state = :from",
        named_params! {
            ":act": act.as_str(), ":now": now_ns(), ":id": row.id.as_str(), ":from": row.state.as_str(),
        },
    )
}

#[cfg(test)]
mod tests;
