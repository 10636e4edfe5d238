//! How a box's last run ended, for whoever waits for it or comes later.
//!
//! Reads what the shim has left in the box's directory; records nothing. The row is `end`'s.

use std::fs::{self, File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use boxlite_proto::shim::{ExitKind, ExitRecord, files};

use crate::db::{BoxRow, BoxState};
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::executor;
use crate::layout::BoxLayout;
use crate::litebox::core::Core;
use crate::litebox::live::LiveBox;
use crate::litebox::{LiteBox, descriptors, start};
use crate::model::id::BoxID;

/// Why a box ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndReason {
    /// It was stopped, by a call or a signal to its shim.
    Stopped,
    /// The process that started it went away.
    OwnerGone,
    /// Reserved: a box has no main command of its own today, so none can end it.
    MainExited,
    /// Its virtual machine ended by a fault.
    Crashed,
    /// It was killed: it did not stop in time, or its shim was killed.
    Killed,
    /// It had run for as long as [`BoxOptions::max_lifetime`](crate::BoxOptions::max_lifetime) says.
    LifetimeOver,
    /// It had been idle for as long as [`BoxOptions::idle_timeout`](crate::BoxOptions::idle_timeout) says.
    Idle,
    /// It was removed, and how it ended before is not known.
    Removed,
    /// The host's kernel killed its virtual machine for want of memory: the host's, or that of its control group.
    OutOfMemory,
}

/// How a box's run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BoxEnd {
    /// Why.
    pub reason: EndReason,
    /// One sentence for a person; of a crash it has the console's end.
    pub message: String,
}

/// Which log of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoxLog {
    /// What the guest's kernel and agent wrote to the console, whichever start it was.
    Console,
    /// What the shim noted of the box's starts and ends.
    Shim,
}

impl BoxEnd {
    fn new(reason: EndReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// The end of the run of a shim that is no more.
    pub(super) fn of_run(paths: &BoxLayout) -> Self {
        match read(&paths.exit()) {
            Some(record) => Self::from(record),
            None if paths.dir().exists() => {
                Self::new(EndReason::Killed, "its shim was killed before it could say why")
            }
            None => Self::removed(),
        }
    }

    fn removed() -> Self {
        Self::new(EndReason::Removed, "the box was removed")
    }

    /// The end of the last run of a box at rest; `None` when it never ran.
    fn of_resting(row: &BoxRow, paths: &BoxLayout) -> Option<Self> {
        row.started_ns?;
        let last = read(&paths.exit());
        // A start that failed, or is under way, has put the end before it aside.
        let put_aside = match &last {
            Some(record) => record.kind == ExitKind::StartFailed,
            None => row.state == BoxState::Starting,
        };
        let before = put_aside.then(|| read(&paths.exit_previous())).flatten();
        Some(before.map_or_else(|| Self::of_run(paths), Self::from))
    }
}

impl From<ExitRecord> for BoxEnd {
    fn from(record: ExitRecord) -> Self {
        let reason = match record.kind {
            ExitKind::Stopped => EndReason::Stopped,
            ExitKind::OwnerGone => EndReason::OwnerGone,
            ExitKind::MainExited => EndReason::MainExited,
            ExitKind::Crashed | ExitKind::StartFailed => EndReason::Crashed,
            ExitKind::OutOfMemory => EndReason::OutOfMemory,
            ExitKind::Killed => EndReason::Killed,
            ExitKind::LifetimeOver => EndReason::LifetimeOver,
            ExitKind::Idle => EndReason::Idle,
        };
        Self { reason, message: record.message }
    }
}

fn read(path: &Path) -> Option<ExitRecord> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

impl LiteBox {
    /// Waits until the box does not run, and tells how its last run ended; at once when it does not run now. Repeatable,
    /// also after [`LiteBox::stop`]. A caller that leaves changes nothing.
    ///
    /// # Errors
    /// `InvalidState` when the box never ran; `NotFound` when it is gone and this handle has not seen its end; `Stopped`
    /// when the runtime ends first.
    pub async fn wait(&self) -> BoxliteResult<BoxEnd> {
        let waiting = self.clone();
        let running = self.core.live(&self.id);
        self.core.run(async move { waiting.end(running).await }).await
    }

    /// A descriptor that can be read from, with nothing to read, for ever once [`LiteBox::wait`] would return at once.
    pub(crate) fn exit_descriptor(&self) -> BoxliteResult<OwnedFd> {
        self.core.check_process()?;
        // Looked up now: a box that is stopped next may be removed before the task begins.
        let (waiting, running) = (self.clone(), self.core.live(&self.id));
        descriptors::readable_after(&self.handle(), async move { drop(waiting.end(running).await) })
    }

    /// Opens one of the box's logs, at its beginning; it is there also after a failed start. What is written later is read
    /// through the same file.
    ///
    /// # Errors
    /// `NotFound` when the box has never been started, or is gone.
    pub fn open_log(&self, which: BoxLog) -> BoxliteResult<File> {
        self.core.check_process()?;
        let name = match which {
            BoxLog::Console => files::CONSOLE_LOG,
            BoxLog::Shim => files::SHIM_LOG,
        };
        let path = self.core.layout.of_box(&self.id).logs().join(name);
        let opened = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(&path);
        opened.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => BoxliteError::NotFound(
                Detail::new(format!("box {} has no log {name}", self.id))
                    .subject(path.display().to_string())
                    .hint("a box has logs from its first start to its removal"),
            ),
            _ => BoxliteError::io("open", &path, &error),
        })
    }

    /// `running`: the box, where it is known to run.
    async fn end(&self, running: Option<Arc<LiveBox>>) -> BoxliteResult<BoxEnd> {
        let found = match running {
            Some(live) => Found::Running(live),
            None => find(&self.core, &self.id).await?,
        };
        let seen = match found {
            Found::Running(live) => {
                live.process().ended().await;
                executor::blocking(move || Ok(live.end())).await?
            }
            Found::Ended(end) => end,
            Found::Removing => return Ok(self.last_end().unwrap_or_else(BoxEnd::removed)),
            Found::NeverRan => {
                return Err(BoxliteError::InvalidState(
                    Detail::new(format!("box {} has never run: there is no end to wait for", self.id))
                        .subject(self.id.as_str())
                        .hint("start the box first"),
                ));
            }
            Found::Gone => return self.last_end().ok_or_else(|| start::gone(&self.id)),
        };
        *self.last_end.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen.clone());
        Ok(seen)
    }

    /// The end that this handle has seen last.
    fn last_end(&self) -> Option<BoxEnd> {
        self.last_end.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What there is to wait for.
enum Found {
    Running(Arc<LiveBox>),
    Ended(BoxEnd),
    /// Its directory goes, and with it the word on its end.
    Removing,
    NeverRan,
    Gone,
}

async fn find(core: &Arc<Core>, id: &BoxID) -> BoxliteResult<Found> {
    let Some(row) = core.row(id).await? else { return Ok(Found::Gone) };
    let paths = core.layout.of_box(id);
    // Only looked at: who takes the box up needs its lock, which a waiter must not hold.
    if row.state != BoxState::Starting
        && let Some(live) = LiveBox::adopted(&row, &paths)?
    {
        return Ok(Found::Running(Arc::new(live)));
    }
    executor::blocking(move || {
        if row.state == BoxState::Removing && read(&paths.exit()).is_none() {
            return Ok(Found::Removing);
        }
        Ok(BoxEnd::of_resting(&row, &paths).map_or(Found::NeverRan, Found::Ended))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_record_is_an_end() {
        let kinds = [
            (ExitKind::Stopped, EndReason::Stopped),
            (ExitKind::OwnerGone, EndReason::OwnerGone),
            (ExitKind::MainExited, EndReason::MainExited),
            (ExitKind::Crashed, EndReason::Crashed),
            (ExitKind::OutOfMemory, EndReason::OutOfMemory),
            (ExitKind::Killed, EndReason::Killed),
            (ExitKind::LifetimeOver, EndReason::LifetimeOver),
            (ExitKind::Idle, EndReason::Idle),
        ];
        for (kind, reason) in kinds {
            let record = ExitRecord { kind, exit_code: Some(0), signal: None, message: "why".into() };
            assert_eq!(BoxEnd::from(record), BoxEnd::new(reason, "why"));
        }
    }
}
