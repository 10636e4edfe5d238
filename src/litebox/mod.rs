//! One box: the handle callers hold, and behind it starting, stopping and running commands.
//!
//! Owns a box's transitions; knows images, disks, shim and agent only through their own modules.

mod attempt;
pub(crate) mod clones;
pub(crate) mod command;
pub mod copy;
pub(crate) mod core;
mod descriptors;
mod directory;
pub(crate) mod end;
mod ending;
mod exec;
mod execution;
mod executions;
pub(crate) mod info;
pub(crate) mod live;
pub(crate) mod metrics;
mod outcome;
mod output;
mod plan;
mod recent;
pub(crate) mod record;
pub(crate) mod spares;
pub(crate) mod spec;
pub(crate) mod start;
pub(crate) mod stop;
mod streams;
pub(crate) mod tenure;
pub(crate) mod trace;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub use crate::model::types::{BoxStatus, HealthState, HealthStatus};
pub use command::{BoxCommand, ExecLimits, OutputMode, StdinMode};
pub use copy::{CopyOptions, CopyReport};
pub use descriptors::StreamState;
pub use ending::{BoxEnd, BoxLog, EndReason};
pub use execution::{ExecExit, ExecResult, Execution, ExecutionId};
pub use executions::ExecutionInfo;
pub use output::{RunControl, RunFailure, RunOptions, RunOutput};
pub use streams::{ExecBytes, ExecStderr, ExecStdin, ExecStdout};

use crate::db::BoxRow;
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::images::ProgressSink;
use crate::litebox::core::Core;
use crate::litebox::stop::Patience;
use crate::model::id::BoxID;
use crate::model::types::BoxInfo;

/// A handle to one box. Clones are the same handle: after `stop` all of them answer `Stopped`.
///
/// It keeps no box alive: a box ends by `stop`, `remove`, or with its runtime unless it is detached.
#[derive(Clone)]
pub struct LiteBox {
    core: Arc<Core>,
    id: BoxID,
    name: Option<String>,
    /// Stops through this handle that have been done or are under way.
    stopped: Arc<AtomicUsize>,
    last_seen: Arc<Mutex<BoxRow>>,
    /// The end that was last waited for through this handle.
    last_end: Arc<Mutex<Option<BoxEnd>>>,
}

impl std::fmt::Debug for LiteBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiteBox").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

impl LiteBox {
    pub(crate) fn new(core: Arc<Core>, row: BoxRow) -> Self {
        Self {
            core,
            id: row.id.clone(),
            name: row.name.clone(),
            stopped: Arc::default(),
            last_seen: Arc::new(Mutex::new(row)),
            last_end: Arc::default(),
        }
    }

    /// The box's id.
    pub fn id(&self) -> &BoxID {
        &self.id
    }

    /// The box's name.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The box as it is now; as it was last seen, when it has been removed.
    ///
    /// Reads one row on the calling thread. Async code that must not wait for a disk asks
    /// [`BoxliteRuntime::get_info`](crate::BoxliteRuntime::get_info).
    pub fn info(&self) -> BoxInfo {
        let mut last_seen = self.last_seen.lock().unwrap_or_else(PoisonError::into_inner);
        if self.core.check_process().is_ok() {
            match self.core.database.get(&self.id) {
                Ok(Some(row)) => *last_seen = end::as_ended(row, &self.core.layout.of_box(&self.id)),
                Ok(None) => info::mark_removed(&mut last_seen),
                // What was last seen is the best answer there is.
                Err(_) => {}
            }
        }
        info::describe(&self.core, &last_seen)
    }

    /// Starts the box's VM; nothing happens when it runs.
    ///
    /// # Errors
    /// `Stopped` after [`LiteBox::stop`] or the runtime's shutdown, and whatever keeps the box from starting: it is
    /// then as before.
    pub async fn start(&self) -> BoxliteResult<()> {
        self.start_with(&ProgressSink::none()).await
    }

    /// Like [`LiteBox::start`], and tells `progress` how the image comes along.
    pub async fn start_with(&self, progress: &ProgressSink) -> BoxliteResult<()> {
        self.check_usable()?;
        let (sandbox, progress) = (self.clone(), progress.clone());
        let begun = self.core.run(async move { start::ensure_running(&sandbox, &progress).await }).await?;
        begun.keep();
        Ok(())
    }

    /// Stops the box: its processes get SIGTERM, two seconds later SIGKILL; its disk is synced and stays.
    /// Removes it when it is `auto_remove`. Goes on to its end when the caller leaves. Afterwards this handle answers
    /// `Stopped`: get the box again to restart it.
    pub async fn stop(&self) -> BoxliteResult<()> {
        let (core, id) = (self.core.clone(), self.id.clone());
        let stopped = self.stopped.clone();
        self.core
            .run_to_the_end(async move {
                // Told first: a start through this handle that waits for the lock must not undo the stop.
                stopped.fetch_add(1, Ordering::AcqRel);
                let outcome = stop::stop(&core, &id, Patience::STOP).await;
                if outcome.is_err() {
                    // This one's word only: another stop may have been done.
                    stopped.fetch_sub(1, Ordering::AcqRel);
                }
                outcome
            })
            .await
    }

    /// Runs a command, starting the box where needed. Its streams may be taken from the execution.
    ///
    /// # Errors
    /// `Execution` when the command can't be started; its [`exit_code`](BoxliteError::exit_code) is then 126 or 127.
    pub async fn exec(&self, command: BoxCommand) -> BoxliteResult<Execution> {
        self.exec_with(command, &ProgressSink::none()).await
    }

    /// Like [`LiteBox::exec`], and tells `progress` how a start comes along.
    pub async fn exec_with(&self, command: BoxCommand, progress: &ProgressSink) -> BoxliteResult<Execution> {
        self.check_usable()?;
        let (sandbox, progress) = (self.clone(), progress.clone());
        let begun = self.core.run(async move { exec::begin(&sandbox, command, &progress).await }).await?;
        Ok(begun.release())
    }

    /// Runs a command to its end and collects its output.
    ///
    /// # Errors
    /// As [`LiteBox::exec`]; on a deadline or cancel all of the command's processes are killed and the output so far
    /// comes with the error.
    pub async fn run(
        &self,
        command: BoxCommand,
        options: RunOptions,
        progress: &ProgressSink,
        control: RunControl,
    ) -> Result<RunOutput, RunFailure> {
        self.check_usable()?;
        let (sandbox, progress) = (self.clone(), progress.clone());
        self.core
            .run(async move { Ok(output::run(&sandbox, command, options, &progress, control).await) })
            .await?
    }

    pub(crate) fn handle(&self) -> tokio::runtime::Handle {
        self.core.executor.handle().clone()
    }

    pub(crate) fn owner_pid(&self) -> u32 {
        self.core.owner.pid
    }

    fn check_usable(&self) -> BoxliteResult<()> {
        self.core.check_open()?;
        if self.stopped.load(Ordering::Acquire) > 0 {
            return Err(BoxliteError::Stopped(
                Detail::new(format!("box {} was stopped through this handle", self.id))
                    .subject(self.id.as_str())
                    .hint("get the box again to restart it"),
            ));
        }
        Ok(())
    }
}
