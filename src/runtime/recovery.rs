//! Brings rows and reality together: at the opening of a home, and again at each look at a box.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::db::{BoxRow, BoxState};
use crate::errors::{BoxliteError, BoxliteResult};
use crate::executor;
use crate::litebox::core::Core;
use crate::litebox::spec::BoxSpec;
use crate::litebox::stop::Patience;
use crate::litebox::{end, start, stop};
use crate::log::LogLevel;
use crate::model::id::{BoxID, mint_text};
use crate::util::{is_process_alive, process_start_time};
use crate::vmm;

/// Begins the name of a directory that is about to be deleted.
const QUARANTINED: &str = "orphan-";

/// Settles every box that was left unfinished, takes up those that run, clears away directories without a row.
pub(super) async fn recover(core: &Arc<Core>) -> BoxliteResult<()> {
    let rows = core.query(|database| database.list()).await?;
    for row in rows {
        let id = row.id.clone();
        match recover_box(core, row).await {
            // The others depend on the database, too.
            Err(error @ BoxliteError::Database(_)) => return Err(error),
            // One box that can't be settled is no reason to refuse all others; its next use meets the same error.
            Err(error) => {
                let fields = json!({ "error": error.to_string(), "hint": error.hint() });
                core.log.write(LogLevel::Warn, "box not recovered", id.as_str(), fields);
            }
            Ok(()) => {}
        }
    }
    let core = core.clone();
    executor::blocking(move || {
        sweep_locks(&core)?;
        sweep_directories(&core)
    })
    .await
}

/// Deletes the lock files of killed owners whose boxes are gone. Taking a lock and letting go deletes its file.
fn sweep_locks(core: &Core) -> BoxliteResult<()> {
    for name in core.locks.names()? {
        if BoxID::parse(&name).is_some_and(|id| core.database.get(&id).is_ok_and(|row| row.is_none())) {
            drop(core.locks.try_acquire(&name, "sweep")?);
        }
    }
    Ok(())
}

async fn recover_box(core: &Arc<Core>, row: BoxRow) -> BoxliteResult<()> {
    if !row.state.is_active() && row.state != BoxState::Removing && !is_doomed(&row) {
        return Ok(());
    }
    // A box whose lock somebody holds is in good hands.
    let Some(_lock) = core.locks.try_acquire(row.id.as_str(), "recover")? else { return Ok(()) };
    let Some(row) = core.row(&row.id).await? else { return Ok(()) };
    // Until the lock was had, it may have been somebody else's who is alive: only this row counts.
    let doomed = is_doomed(&row);
    let alive = is_alive(row.pid, row.pid_start);
    let detached = BoxSpec::of(&row).is_ok_and(|spec| spec.options.detach);
    if alive && row.state == BoxState::Running && (detached || !is_ownerless(&row)) {
        start::adopt(core, &row)?;
        return Ok(());
    }
    if row.state.is_active() && alive {
        // Its owner is gone and its shim is on its way out, or somebody died while stopping it.
        let patience = if doomed { Patience::REMOVE } else { Patience::STOP };
        stop::bring_down(core, &row, patience, BoxState::Stopping).await?;
    } else if row.state.is_active() {
        end::settle_dead(core, &row).await?;
    }
    if doomed || row.state == BoxState::Removing {
        stop::delete(core, &row.id).await?;
    }
    Ok(())
}

fn is_ownerless(row: &BoxRow) -> bool {
    !is_alive(Some(row.owner_pid), row.owner_start)
}

/// Whether the box goes because its owner is gone.
fn is_doomed(row: &BoxRow) -> bool {
    is_ownerless(row) && BoxSpec::of(row).is_ok_and(|spec| spec.options.auto_remove && !spec.options.detach)
}

/// The row as it is now: a box that was left as active although its shim is dead is settled first. `None` when it is
/// gone.
pub(super) async fn refresh(core: &Arc<Core>, row: BoxRow) -> BoxliteResult<Option<BoxRow>> {
    if !is_left_behind(&row) {
        return Ok(Some(row));
    }
    // Nobody starts or stops it if its lock is free.
    if let Some(lock) = core.locks.try_acquire(row.id.as_str(), "record the end")? {
        let (settling, id) = (core.clone(), row.id.clone());
        // The lock is held until it is settled, also when the caller leaves.
        core.run_to_the_end(async move {
            let settled = match settling.row(&id).await? {
                Some(now) if is_left_behind(&now) => end::settle_dead(&settling, &now).await,
                _ => Ok(()),
            };
            drop(lock);
            settled
        })
        .await?;
    }
    core.row(&row.id).await
}

fn is_left_behind(row: &BoxRow) -> bool {
    row.state.is_active() && !is_alive(row.pid, row.pid_start)
}

fn is_alive(pid: Option<u32>, start_time: Option<u64>) -> bool {
    pid.is_some_and(|pid| {
        is_process_alive(pid) && (start_time.is_none() || process_start_time(pid) == start_time)
    })
}

/// Moves directories that no row knows out of the way and deletes them. A box has its row before its directory is made
/// and until that is deleted, so none of them is a living box's.
fn sweep_directories(core: &Core) -> BoxliteResult<()> {
    let Ok(entries) = fs::read_dir(core.layout.boxes()) else { return Ok(()) };
    for entry in entries.flatten() {
        let Some(id) = entry.file_name().to_str().and_then(BoxID::parse) else { continue };
        if core.database.get(&id)?.is_some() {
            continue;
        }
        vmm::reap_tree(&id, Duration::from_secs(2));
        let quarantine = core.layout.tmp().join(format!("{QUARANTINED}{id}-{}", mint_text(6)));
        // Another runtime may be sweeping the same directory: exactly one rename succeeds. `tmp` may lie on another
        // file system; then there is no quarantine.
        let doomed = match fs::rename(entry.path(), &quarantine) {
            Ok(()) => quarantine,
            Err(error) if error.raw_os_error() == Some(libc::EXDEV) => entry.path(),
            Err(_) => continue,
        };
        // What can't be deleted now is deleted at the next opening.
        let _ = fs::remove_dir_all(doomed);
    }
    let Ok(entries) = fs::read_dir(core.layout.tmp()) else { return Ok(()) };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(QUARANTINED)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}
