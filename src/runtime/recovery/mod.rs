//! Brings rows and reality together: at the opening of a home, and again at each look at a box.

pub(super) mod database;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::db::{Active, AtRest, BoxRow, BoxState, Findable, Held, HeldBox};
use crate::disk::ext4;
use crate::errors::{BoxliteError, BoxliteResult};
use crate::executor;
use crate::litebox::core::{Core, TryHold};
use crate::litebox::spec::BoxSpec;
use crate::litebox::stop::Patience;
use crate::litebox::{end, start, stop};
use crate::log::LogLevel;
use crate::model::id::{BoxID, mint_text};
use crate::util::{PidRecord, is_process_alive, process_start_time};
use crate::vmm;

/// Begins the name of a directory that is about to be deleted.
pub(super) const QUARANTINED: &str = "orphan-";

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
        core.locks.sweep()?;
        ext4::sweep_drafts(&core.layout.bases());
        vmm::sweep_drafts(&core.layout);
        core.templates.sweep();
        sweep_spares(&core)?;
        sweep_directories(&core)
    })
    .await
}

async fn recover_box(core: &Arc<Core>, row: BoxRow) -> BoxliteResult<()> {
    let unfinished = row.state.is_active() || row.state == BoxState::Removing || is_doomed(core, &row);
    if !unfinished && !runs_unrecorded(core, &row) {
        return Ok(());
    }
    let TryHold::Held(held) = core.try_hold(&row.id, "recover").await? else { return Ok(()) };
    settle(core, held).await
}

/// Whether a box that is recorded as at rest runs all the same. Only one that once ran has the lock's file.
fn runs_unrecorded(core: &Core, row: &BoxRow) -> bool {
    let paths = core.layout.of_box(&row.id);
    paths.shim_lock().exists() && vmm::locate(&row.id, None, None, &paths).is_some()
}

/// Brings row and reality of one box together. Until the lock was had, the box may have been somebody else's who is alive:
/// only the row that came with it counts.
async fn settle(core: &Arc<Core>, held: HeldBox) -> BoxliteResult<()> {
    let doomed = is_doomed(core, held.row());
    let patience = if doomed { Patience::REMOVE } else { Patience::STOP };
    let shim = find_shim(core, held.row());
    let goes_on = may_go_on(core, held.row());
    let resting = match (held, shim) {
        (HeldBox::AtRest(resting), None) => resting,
        (HeldBox::AtRest(resting), Some(shim)) if goes_on => return take_up(core, resting, shim).await,
        (HeldBox::AtRest(resting), Some(shim)) => {
            let running = core.query(move |database| resting.found_running(database, &shim)).await?;
            bring_to_rest(core, running, patience).await?
        }
        (HeldBox::Running(running), Some(shim)) if goes_on => return take_up(core, running, shim).await,
        (HeldBox::Running(running), _) => bring_to_rest(core, running, patience).await?,
        (HeldBox::Starting(starting), _) => bring_to_rest(core, starting, patience).await?,
        (HeldBox::Stopping(stopping), _) => bring_to_rest(core, stopping, patience).await?,
        (held @ HeldBox::Removing(_), _) => return stop::remove_held(core, held, Patience::REMOVE).await,
    };
    if doomed || end::goes_with_its_end(core, resting.row()) {
        stop::delete(core, resting).await?;
    }
    Ok(())
}

fn find_shim(core: &Core, row: &BoxRow) -> Option<PidRecord> {
    vmm::locate(&row.id, row.pid, row.pid_start, &core.layout.of_box(&row.id))
}

/// Takes up a box that runs as `shim`: row and pid file say so afterwards, whatever they said before.
async fn take_up<S>(core: &Arc<Core>, held: Held<S>, shim: PidRecord) -> BoxliteResult<()>
where
    S: Findable + Send + 'static,
{
    let row = held.row();
    let written = shim.put_at(&core.layout.of_box(&row.id).pid_file());
    let is_recorded =
        row.state == BoxState::Running && (row.pid, row.pid_start) == (Some(shim.pid), shim.start_time);
    if is_recorded {
        start::adopt(core, row)?;
    } else {
        let running = core.query(move |database| held.found_running(database, &shim)).await?;
        start::adopt(core, running.row())?;
    }
    written
}

/// Whether the box, if it runs, is meant to, and can be reached.
fn may_go_on(core: &Core, row: &BoxRow) -> bool {
    let detached = BoxSpec::of(row).is_ok_and(|spec| spec.options.detach);
    (detached || !is_ownerless(core, row)) && core.layout.of_box(&row.id).agent_socket().exists()
}

/// Settles an active box that is not to go on: its owner is gone and its shim on its way out, or somebody died while
/// starting or stopping it.
async fn bring_to_rest<S>(core: &Arc<Core>, held: Held<S>, patience: Patience) -> BoxliteResult<Held<AtRest>>
where
    S: Active + Send + 'static,
{
    if find_shim(core, held.row()).is_some() {
        // It may have been about to tell of a crash.
        stop::bring_down(core, held, patience, end::rest_of).await
    } else {
        end::settle_dead(core, held).await
    }
}

/// Whether the process that owns it is gone, or the runtime, where that is this process.
fn is_ownerless(core: &Core, row: &BoxRow) -> bool {
    if row.owner_pid == core.owner.pid {
        let is_another = row.owner_start.is_some() && row.owner_start != core.owner.start_time;
        return is_another || !core.title.is_taken(&row.id);
    }
    let lives = is_process_alive(row.owner_pid)
        && (row.owner_start.is_none() || process_start_time(row.owner_pid) == row.owner_start);
    !lives
}

/// Whether the box goes because its owner is gone.
fn is_doomed(core: &Core, row: &BoxRow) -> bool {
    is_ownerless(core, row)
        && BoxSpec::of(row).is_ok_and(|spec| spec.options.auto_remove && !spec.options.detach)
}

/// The row as it is now: a box that was left as active although the process it names is no shim of it is settled first,
/// or shown as what whoever has its lock is about to settle it to. `None` when it is gone.
pub(super) async fn refresh(core: &Arc<Core>, row: BoxRow) -> BoxliteResult<Option<BoxRow>> {
    if !is_left_behind(core, &row) {
        return Ok(Some(row));
    }
    // Nobody starts or stops it if its lock is free.
    if let TryHold::Held(held) = core.try_hold(&row.id, "record the end").await?
        && is_left_behind(core, held.row())
    {
        // The lock is held until it is settled, also when the caller leaves.
        let settling = core.clone();
        core.run_to_the_end(async move { settle(&settling, held).await }).await?;
    }
    let paths = core.layout.of_box(&row.id);
    core.query(move |database| Ok(database.get(&row.id)?.map(|row| end::as_ended(row, &paths)))).await
}

fn is_left_behind(core: &Core, row: &BoxRow) -> bool {
    row.state.is_active() && !vmm::is_shim(&row.id, row.pid, row.pid_start, &core.layout.of_box(&row.id))
}

/// Deletes spares whose runtime is gone: as long as a shim has one, or somebody makes it, it is in good hands.
fn sweep_spares(core: &Core) -> BoxliteResult<()> {
    for id in database::ids_in(&core.layout.spares()) {
        let paths = core.layout.of_spare(&id);
        let Some(_lock) = core.locks.try_acquire(id.as_str(), "sweep")? else { continue };
        if vmm::locate(&id, None, None, &paths).is_none() {
            delete_directory(core, &id, paths.dir());
        }
    }
    Ok(())
}

/// Deletes the directory of a box that nobody has.
fn delete_directory(core: &Core, id: &BoxID, directory: &Path) {
    vmm::reap_tree(id, directory, Duration::from_secs(2));
    let quarantine = core.layout.tmp().join(format!("{QUARANTINED}{id}-{}", mint_text(6)));
    // Another runtime may be sweeping the same directory: exactly one rename succeeds. `tmp` may lie on another file
    // system; then there is no quarantine.
    let doomed = match fs::rename(directory, &quarantine) {
        Ok(()) => quarantine,
        Err(error) if error.raw_os_error() == Some(libc::EXDEV) => directory.to_owned(),
        Err(_) => return,
    };
    // What can't be deleted now is deleted at the next opening.
    let _ = fs::remove_dir_all(doomed);
}

/// Moves directories that no row knows out of the way and deletes them. A box has its row before its directory is made
/// and until that is deleted, so none of them is a living box's.
fn sweep_directories(core: &Core) -> BoxliteResult<()> {
    for id in database::box_directories(&core.layout) {
        if core.database.get(&id)?.is_some() {
            continue;
        }
        delete_directory(core, &id, core.layout.of_box(&id).dir());
    }
    let Ok(entries) = fs::read_dir(core.layout.tmp()) else { return Ok(()) };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(QUARANTINED)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}
