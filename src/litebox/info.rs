//! What a caller is told about a box: its row, and what this runtime knows of its run.

use chrono::{DateTime, Utc};

use crate::db::{BoxRow, BoxState};
use crate::litebox::core::Core;
use crate::litebox::spec::BoxSpec;
use crate::model::types::{BoxInfo, BoxStatus, HealthStatus};

/// The public view of `row`.
pub(crate) fn describe(core: &Core, row: &BoxRow) -> BoxInfo {
    let spec = BoxSpec::of(row).ok();
    let live = core.live(&row.id);
    let options = spec.as_ref().map(|spec| spec.options.clone()).unwrap_or_default();
    BoxInfo {
        id: row.id.clone(),
        name: row.name.clone(),
        status: if spec.is_some() { status_of(row) } else { BoxStatus::Unknown },
        created_at: time(row.created_ns),
        last_updated: time(row.updated_ns),
        started_at: row.started_ns.map(time),
        pid: row.pid,
        image: spec.as_ref().map(BoxSpec::image_name).unwrap_or_default(),
        cpus: spec.as_ref().map_or(0, BoxSpec::cpus),
        memory_mib: spec.as_ref().map_or(0, |spec| spec.memory().0),
        disk_size_gb: spec.as_ref().map_or(0, BoxSpec::disk_size_gb),
        labels: options.labels,
        health_status: HealthStatus::default(),
        auto_remove: options.auto_remove,
        detach: options.detach,
        failure: row.failure.clone(),
        exit_code: row.exit_code,
        engine: row.engine.clone(),
        start_stages: live.map(|live| live.stages().to_vec()).unwrap_or_default(),
    }
}

/// The row of a box that is gone: nothing of it runs any more.
pub(crate) fn mark_removed(row: &mut BoxRow) {
    row.pid = None;
    if row.state != BoxState::Configured {
        row.state = BoxState::Stopped;
    }
}

fn status_of(row: &BoxRow) -> BoxStatus {
    match row.state {
        // A box being started is not to be reached yet: it still counts as what it was.
        BoxState::Starting if row.started_ns.is_some() => BoxStatus::Stopped,
        BoxState::Configured | BoxState::Starting => BoxStatus::Configured,
        BoxState::Running => BoxStatus::Running,
        BoxState::Stopping | BoxState::Removing => BoxStatus::Stopping,
        BoxState::Stopped => BoxStatus::Stopped,
        BoxState::Failed => BoxStatus::Failed,
    }
}

fn time(ns: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_nanos(ns)
}
