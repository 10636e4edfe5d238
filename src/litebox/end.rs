//! How a box's end is learned and recorded: a watcher per running box, and the same for boxes found dead.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use boxlite_proto::shim::{ExitKind, ExitRecord};
use serde_json::json;

use crate::db::{BoxRow, Settled};
use crate::errors::BoxliteResult;
use crate::layout::BoxLayout;
use crate::litebox::core::Core;
use crate::litebox::live::LiveBox;
use crate::log::LogLevel;
use crate::model::id::BoxID;
use crate::vmm;

/// How long the leftovers of a dead shim may take to vanish, each of them killed meanwhile.
const REAP_TIME: Duration = Duration::from_secs(5);

/// Records the box's end when its shim ends, whoever caused it. One task, no thread.
pub(crate) fn watch(core: &Arc<Core>, live: &Arc<LiveBox>) {
    let handle = core.executor.handle().clone();
    let (core, live) = (Arc::downgrade(core), live.clone());
    handle.spawn(async move {
        live.process().ended().await;
        let Some(core) = core.upgrade() else { return };
        // A stop or remove that holds the lock settles the row itself; afterwards there is nothing left to do.
        let Ok(_lock) = core.locks.acquire(live.id().as_str(), "record the end").await else { return };
        match core.row(live.id()).await {
            Ok(Some(row)) if row.pid == Some(live.process().pid()) && row.state.is_active() => {
                // What can't be written now is settled at the next use of the box.
                let _ = settle_dead(&core, &row).await;
            }
            _ => {}
        }
        if core.live(live.id()).is_none() {
            core.drop_live(live.id());
        }
    });
}

/// Settles a box whose shim is dead or must die: reaps its tree, clears its files, records why. Call it with the box's
/// lock held.
pub(crate) async fn settle_dead(core: &Arc<Core>, row: &BoxRow) -> BoxliteResult<()> {
    let (id, started) = (row.id.clone(), row.started_ns.is_some());
    let paths = core.layout.of_box(&id);
    let outcome = core
        .query(move |database| {
            vmm::reap_tree(&id, REAP_TIME);
            let outcome = outcome_of(&paths, started);
            clear_run_files(&paths);
            database.settle(&id, &outcome)?;
            Ok(outcome)
        })
        .await?;
    let reason = match &outcome {
        Settled::Failed { reason } => reason.as_str(),
        _ => "its shim ended",
    };
    core.log.write(LogLevel::Warn, "box found ended", row.id.as_str(), json!({ "reason": reason }));
    core.drop_live(&row.id);
    Ok(())
}

fn outcome_of(paths: &BoxLayout, started: bool) -> Settled {
    match read_exit(paths) {
        _ if !started => Settled::Configured,
        Some(ExitRecord { kind: ExitKind::Crashed, message, .. }) => Settled::Failed { reason: message },
        _ => Settled::Stopped,
    }
}

/// The `exit` file, if a run has left a readable one.
pub(crate) fn read_exit(paths: &BoxLayout) -> Option<ExitRecord> {
    serde_json::from_slice(&fs::read(paths.exit()).ok()?).ok()
}

/// Deletes what exists only while a box runs.
pub(crate) fn clear_run_files(paths: &BoxLayout) {
    for path in [paths.pid_file(), paths.agent_socket()] {
        // Missing is what is wanted.
        let _ = fs::remove_file(path);
    }
}

/// Waits until a shim that was told to give up is gone, and kills what is left of its tree after that. Blocking.
pub(crate) fn wait_for_tree(id: &BoxID) {
    let patience = std::time::Instant::now() + Duration::from_secs(2);
    while !vmm::processes_of(id).is_empty() && std::time::Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(5));
    }
    vmm::reap_tree(id, REAP_TIME);
}
