//! Brings rows and reality together: at the opening of a home, and again at each look at a box.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use crate::db::{BoxRow, BoxState};
use crate::errors::BoxliteResult;
use crate::executor;
use crate::litebox::core::Core;
use crate::litebox::spec::BoxSpec;
use crate::litebox::{end, start, stop};
use crate::model::id::{BoxID, mint_text};
use crate::util::{is_process_alive, process_start_time};
use crate::vmm;

/// Settles every box that was left unfinished, takes up those that run, clears away directories without a row.
pub(super) async fn recover(core: &Arc<Core>) -> BoxliteResult<()> {
    let rows = core.query(|database| database.list()).await?;
    for row in rows {
        recover_box(core, row).await?;
    }
    let core = core.clone();
    executor::blocking(move || sweep_directories(&core)).await
}

async fn recover_box(core: &Arc<Core>, row: BoxRow) -> BoxliteResult<()> {
    let ownerless = !is_alive(Some(row.owner_pid), row.owner_start);
    let doomed =
        ownerless && BoxSpec::of(&row).is_ok_and(|spec| spec.options.auto_remove && !spec.options.detach);
    if !row.state.is_active() && row.state != BoxState::Removing && !doomed {
        return Ok(());
    }
    // A box whose lock somebody holds is in good hands.
    let Some(_lock) = core.locks.try_acquire(row.id.as_str(), "recover")? else { return Ok(()) };
    let id = row.id.clone();
    let Some(row) = core.query(move |database| database.get(&id)).await? else {
        return Ok(());
    };
    let alive = row.state == BoxState::Running && is_alive(row.pid, row.pid_start);
    let detached = BoxSpec::of(&row).is_ok_and(|spec| spec.options.detach);
    if alive && (detached || !ownerless) {
        start::adopt(core, &row)?;
        return Ok(());
    }
    if row.state.is_active() {
        if alive {
            // Its owner is gone and its shim is on its way out.
            let id = row.id.clone();
            executor::blocking(move || {
                end::wait_for_tree(&id);
                Ok(())
            })
            .await?;
        }
        end::settle_dead(core, &row).await?;
    }
    if doomed || row.state == BoxState::Removing {
        stop::delete(core, &row.id).await?;
    }
    Ok(())
}

/// The row as it is now: a box recorded as running whose shim is dead is settled first. `None` when it is gone.
pub(super) async fn refresh(core: &Arc<Core>, row: BoxRow) -> BoxliteResult<Option<BoxRow>> {
    if row.state != BoxState::Running || is_alive(row.pid, row.pid_start) {
        return Ok(Some(row));
    }
    if let Some(_lock) = core.locks.try_acquire(row.id.as_str(), "record the end")? {
        let id = row.id.clone();
        match core.query(move |database| database.get(&id)).await? {
            Some(now) if now.state == BoxState::Running && !is_alive(now.pid, now.pid_start) => {
                end::settle_dead(core, &now).await?;
            }
            _ => {}
        }
    }
    let id = row.id;
    core.query(move |database| database.get(&id)).await
}

fn is_alive(pid: Option<u32>, start_time: Option<u64>) -> bool {
    pid.is_some_and(|pid| {
        is_process_alive(pid) && (start_time.is_none() || process_start_time(pid) == start_time)
    })
}

/// Moves directories that no row knows out of the way and deletes them. A directory whose box is just being created or
/// removed is locked, or has a row by the time it is looked at again.
fn sweep_directories(core: &Core) -> BoxliteResult<()> {
    let Ok(entries) = fs::read_dir(core.layout.boxes()) else { return Ok(()) };
    for entry in entries.flatten() {
        let Some(id) = entry.file_name().to_str().and_then(BoxID::parse) else { continue };
        if core.database.get(&id)?.is_some() {
            continue;
        }
        vmm::reap_tree(&id, Duration::from_secs(2));
        let quarantine = core.layout.tmp().join(format!("orphan-{id}-{}", mint_text(6)));
        // Another runtime may be sweeping the same directory: exactly one rename succeeds. `tmp` may lie on another
        // file system; then there is no quarantine.
        let doomed = match fs::rename(entry.path(), &quarantine) {
            Ok(()) => quarantine,
            Err(error) if error.raw_os_error() == Some(libc::EXDEV) => entry.path(),
            Err(_) => continue,
        };
        // What can't be deleted now is swept again at the next opening.
        let _ = fs::remove_dir_all(doomed);
    }
    Ok(())
}
