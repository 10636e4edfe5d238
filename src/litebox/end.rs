//! How a box's end is learned and recorded: a watcher per running box, and the same for boxes found dead.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use boxlite_proto::shim::{ExitKind, ExitRecord};
use serde_json::json;

use crate::db::{Active, AtRest, BoxRow, BoxState, Held, HeldBox, Rest};
use crate::errors::BoxliteResult;
use crate::executor;
use crate::layout::{self, BoxLayout};
use crate::litebox::core::Core;
use crate::litebox::live::LiveBox;
use crate::litebox::spec::BoxSpec;
use crate::litebox::stop;
use crate::log::LogLevel;
use crate::model::id::BoxID;
use crate::util::pid_file;
use crate::vmm;

/// How long the leftovers of a dead shim may take to vanish, each of them killed meanwhile.
pub(crate) const REAP_TIME: Duration = Duration::from_secs(5);

/// Records the box's end when its shim ends, whoever caused it. One task, no thread.
pub(crate) fn watch(core: &Arc<Core>, live: &Arc<LiveBox>) {
    let handle = core.executor.handle().clone();
    let (core, live) = (Arc::downgrade(core), live.clone());
    handle.spawn(async move {
        live.process().ended().await;
        let ended = live.clone();
        let _ = executor::blocking(move || Ok(ended.end())).await;
        // Its lock would only be taken and given back, and its file be left where the program ends meanwhile.
        if live.is_ending() {
            return;
        }
        let Some(core) = core.upgrade() else { return };
        record(&core, &live).await;
    });
}

/// Settles a box whose shim has ended, if nobody has yet; returns when it is settled, whoever does it. What can't be
/// written now is settled at the next use of the box.
pub(crate) async fn record(core: &Arc<Core>, live: &Arc<LiveBox>) {
    let pid = Some(live.process().pid());
    // A stop or remove that holds the lock settles the row itself; afterwards there is nothing left to do.
    let settled = match core.hold(live.id(), "record the end").await {
        Ok(Some(HeldBox::Running(held))) if held.row().pid == pid => settle_dead(core, held).await,
        Ok(Some(HeldBox::Stopping(held))) if held.row().pid == pid => settle_dead(core, held).await,
        // Somebody else has made an end of it, and it may be theirs by now.
        _ => return core.drop_ended(live),
    };
    if let Ok(resting) = settled
        && goes_with_its_end(core, resting.row())
    {
        // Else the next runtime finds a box at rest, which it is.
        if stop::delete(core, resting).await.is_ok() {
            core.note_removed(live.id());
        }
    }
}

/// Settles a box whose shim is dead or must die: reaps its tree, clears its files, records why.
pub(crate) async fn settle_dead<S>(core: &Arc<Core>, held: Held<S>) -> BoxliteResult<Held<AtRest>>
where
    S: Active + Send + 'static,
{
    let id = held.id().clone();
    let paths = core.layout.of_box(&id);
    let resting = core
        .query(move |database| {
            vmm::reap_tree(held.id(), paths.dir(), REAP_TIME);
            let rest = rest_of(&paths, held.row().started_ns.is_some());
            clear_run_files(&paths);
            held.come_to_rest(database, &rest)
        })
        .await?;
    let reason = resting.row().failure.as_deref().unwrap_or("its shim ended");
    core.log.write(LogLevel::Warn, "box found ended", id.as_str(), json!({ "reason": reason }));
    core.drop_live(&id);
    Ok(resting)
}

/// Whether a box that has come to rest is to be removed, since it ended by a limit that it was given: as a stop would
/// have removed it. What has crashed stays, to be looked at.
pub(crate) fn goes_with_its_end(core: &Core, row: &BoxRow) -> bool {
    BoxSpec::of(row).is_ok_and(|spec| spec.options.auto_remove)
        && read_exit(&core.layout.of_box(&row.id))
            .is_some_and(|record| matches!(record.kind, ExitKind::LifetimeOver | ExitKind::Idle))
}

/// How a box rests whose shim has ended, as that told it.
pub(crate) fn rest_of(paths: &BoxLayout, has_run: bool) -> Rest {
    match read_exit(paths) {
        _ if !has_run => Rest::Configured,
        Some(ExitRecord { kind: ExitKind::Crashed | ExitKind::OutOfMemory, message, .. }) => {
            Rest::Failed { reason: message }
        }
        _ => Rest::Stopped,
    }
}

/// The row as it is to be shown: a box that is recorded as running, or as being stopped, although its shim is gone has
/// ended, also when that is not written yet.
pub(crate) fn as_ended(mut row: BoxRow, paths: &BoxLayout) -> BoxRow {
    if !matches!(row.state, BoxState::Running | BoxState::Stopping)
        || vmm::is_shim(&row.id, row.pid, row.pid_start, paths)
        || vmm::locate(&row.id, row.pid, row.pid_start, paths).is_some()
    {
        return row;
    }
    row.pid = None;
    let rest = if row.state == BoxState::Stopping { stop::as_ordered } else { rest_of };
    (row.state, row.failure) = match rest(paths, row.started_ns.is_some()) {
        Rest::Configured => (BoxState::Configured, None),
        Rest::Stopped => (BoxState::Stopped, None),
        Rest::Failed { reason } => (BoxState::Failed, Some(reason)),
    };
    row
}

/// The `exit` file, if a run has left a readable one.
pub(crate) fn read_exit(paths: &BoxLayout) -> Option<ExitRecord> {
    serde_json::from_slice(&fs::read(paths.exit()).ok()?).ok()
}

/// Deletes what exists only while a box runs or is being started, also what was not written to its end.
pub(crate) fn clear_run_files(paths: &BoxLayout) {
    let drafts = [paths.pid_file(), paths.exit(), paths.record(), paths.box_disk()];
    for path in paths.run_files().into_iter().chain(drafts.map(|path| layout::draft_of(&path))) {
        // What can't be deleted now is in the way of the next start, which names it.
        let _ = pid_file::clear(&path);
    }
}

/// Waits until a shim that was told to give up is gone, and kills what is left of its tree after that. Blocking.
pub(crate) fn wait_for_tree(id: &BoxID, paths: &BoxLayout) {
    let patience = std::time::Instant::now() + Duration::from_secs(2);
    while !vmm::processes_of(id, paths.dir()).is_empty() && std::time::Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(5));
    }
    vmm::reap_tree(id, paths.dir(), REAP_TIME);
}
