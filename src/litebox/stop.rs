//! Where a box is stopped and removed. Begun, both go on to their end, whether or not the caller waits.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use boxlite_proto::agent::PowerOffRequest;
use boxlite_proto::agent_ttrpc::AgentClient;
use serde_json::json;

use crate::db::{Active, AtRest, BoxRow, Held, HeldBox, Removing, Rest};
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::executor;
use crate::layout::BoxLayout;
use crate::litebox::core::Core;
use crate::litebox::live::LiveBox;
use crate::litebox::spec::BoxSpec;
use crate::litebox::{end, spares, start};
use crate::log::LogLevel;
use crate::model::id::BoxID;
use crate::portal;
use crate::vmm;

/// How a box is brought to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    /// Between SIGTERM and SIGKILL inside the box.
    pub(crate) grace: Duration,
    /// For the agent to power off, counted from the request.
    pub(crate) power_off: Duration,
    /// For the shim to end after SIGTERM, before SIGKILL, besides what is left of the agent's time.
    pub(crate) shim: Duration,
    /// Nothing on the disk is wanted any more: it is neither synced nor unmounted.
    pub(crate) discard: bool,
}

impl Patience {
    /// A stop: processes get two seconds.
    pub(crate) const STOP: Self = Self {
        grace: Duration::from_secs(2),
        power_off: Duration::from_secs(8),
        shim: Duration::from_secs(2),
        discard: false,
    };
    /// A forced removal: no grace, the data is going anyway.
    pub(crate) const REMOVE: Self = Self {
        grace: Duration::ZERO,
        power_off: Duration::from_secs(2),
        shim: Duration::from_millis(500),
        discard: true,
    };
    /// Everything at once.
    pub(crate) const KILL: Self =
        Self { grace: Duration::ZERO, power_off: Duration::ZERO, shim: Duration::ZERO, discard: true };

    /// A stop that ends within `limit`.
    pub(crate) fn within(limit: Duration) -> Self {
        if limit.is_zero() {
            return Self::KILL;
        }
        Self {
            grace: Self::STOP.grace.min(limit / 4),
            power_off: (limit * 3 / 4).max(Duration::from_millis(50)),
            shim: limit / 8,
            discard: false,
        }
    }
}

/// Stops the box; removes it when it is `auto_remove`.
pub(crate) async fn stop(core: &Arc<Core>, id: &BoxID, patience: Patience) -> BoxliteResult<()> {
    let Some(held) = core.hold(id, "stop").await? else { return removed_before(core, id) };
    let resting = match held {
        HeldBox::AtRest(resting) => return stopped(core, resting).await,
        HeldBox::Starting(held) => bring_down(core, held, patience, as_ordered).await?,
        HeldBox::Running(held) => bring_down(core, held, patience, as_ordered).await?,
        HeldBox::Stopping(held) => bring_down(core, held, patience, as_ordered).await?,
        HeldBox::Removing(held) => return finish_removal(core, held, patience).await,
    };
    core.counters.boxes_stopped.add();
    core.log.write(LogLevel::Info, "box stopped", id.as_str(), json!({}));
    stopped(core, resting).await
}

/// What a stop has left goes if it is `auto_remove`.
async fn stopped(core: &Arc<Core>, resting: Held<AtRest>) -> BoxliteResult<()> {
    let id = resting.id().clone();
    if BoxSpec::of(resting.row()).is_ok_and(|spec| spec.options.auto_remove) {
        delete(core, resting).await?;
        core.note_removed(&id);
    }
    Ok(())
}

/// Removes the box: its row and its whole directory. An active one only with `force`.
pub(crate) async fn remove(core: &Arc<Core>, id: &BoxID, force: bool) -> BoxliteResult<()> {
    let Some(held) = core.hold(id, "remove").await? else { return removed_before(core, id) };
    let state = held.row().state;
    if state.is_active() && !force && start::adopt(core, held.row())?.is_some() {
        return Err(BoxliteError::InvalidState(
            Detail::new(format!(
                "cannot remove box {id}: it is active ({}); stop it first or use force=true",
                state.as_str()
            ))
            .subject(id.as_str())
            .hint("stop the box first, or remove it with force"),
        ));
    }
    remove_held(core, held, Patience::REMOVE).await
}

/// Removes a box in whichever state it is.
pub(crate) async fn remove_held(core: &Arc<Core>, held: HeldBox, patience: Patience) -> BoxliteResult<()> {
    let removing = core
        .query(move |database| {
            Ok(match held {
                HeldBox::AtRest(held) => held.begin_remove(database),
                HeldBox::Starting(held) => held.begin_remove(database),
                HeldBox::Running(held) => held.begin_remove(database),
                HeldBox::Stopping(held) => held.begin_remove(database),
                HeldBox::Removing(held) => held,
            })
        })
        .await?;
    finish_removal(core, removing, patience).await
}

/// Deletes a box that is at rest.
pub(crate) async fn delete(core: &Arc<Core>, resting: Held<AtRest>) -> BoxliteResult<()> {
    remove_held(core, HeldBox::AtRest(resting), Patience::KILL).await
}

/// A box without a row: fine when a stop of this runtime removed it.
fn removed_before(core: &Core, id: &BoxID) -> BoxliteResult<()> {
    if core.was_removed_by_stop(id.as_str()) { Ok(()) } else { Err(start::gone(id)) }
}

/// How a box rests that was stopped because somebody wanted that, whatever its shim says of it.
pub(crate) fn as_ordered(_: &BoxLayout, has_run: bool) -> Rest {
    // A first start that nobody finished: the box never ran, and may have no disk yet.
    if has_run { Rest::Stopped } else { Rest::Configured }
}

/// Ends the box's VM and brings the box to rest: to which, `rest` says when all has ended.
pub(crate) async fn bring_down<S>(
    core: &Arc<Core>,
    held: Held<S>,
    patience: Patience,
    rest: fn(&BoxLayout, bool) -> Rest,
) -> BoxliteResult<Held<AtRest>>
where
    S: Active + Send + 'static,
{
    let began = Instant::now();
    let stopping = core.query(move |database| Ok(held.begin_stop(database))).await?;
    end_tree(core, stopping.row(), patience).await?;
    core.trace.operation(stopping.id().as_str(), "stop", began.elapsed());
    let paths = core.layout.of_box(stopping.id());
    core.query(move |database| {
        let rest = rest(&paths, stopping.row().started_ns.is_some());
        end::clear_run_files(&paths);
        stopping.come_to_rest(database, &rest)
    })
    .await
}

/// From the record of the removal to its end: VM, directory, row.
async fn finish_removal(core: &Arc<Core>, removing: Held<Removing>, patience: Patience) -> BoxliteResult<()> {
    let (id, began) = (removing.id().clone(), Instant::now());
    spares::give_up(core, &id).await;
    end_tree(core, removing.row(), patience).await?;
    let paths = core.layout.of_box(&id);
    core.query(move |database| {
        match fs::remove_dir_all(paths.dir()) {
            // Deleted by hand: fine.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(BoxliteError::io("delete", paths.dir(), &error)),
            Ok(()) => {}
        }
        removing.forget(database)
    })
    .await?;
    core.title.give_up(&id);
    core.trace.operation(id.as_str(), "remove", began.elapsed());
    core.log.write(LogLevel::Info, "box removed", id.as_str(), json!({}));
    Ok(())
}

/// Ends the box's VM, if there is one, and returns when no process of the box is left.
async fn end_tree(core: &Arc<Core>, row: &BoxRow, patience: Patience) -> BoxliteResult<()> {
    if let Some(live) = start::adopt(core, row)? {
        live.begin_end();
        end_vm(&live, patience).await;
        if live.process().has_ended() {
            // While its directory is there: who waits for the box is told also when it is removed.
            executor::blocking(move || Ok(live.end())).await?;
        }
    }
    core.drop_live(&row.id);
    let id = row.id.clone();
    let paths = core.layout.of_box(&id);
    let reaped = executor::blocking(move || Ok(vmm::reap_tree(&id, paths.dir(), end::REAP_TIME))).await?;
    if reaped {
        return Ok(());
    }
    Err(BoxliteError::Engine(
        Detail::new(format!("processes of box {} do not end, even when killed", row.id))
            .subject(row.id.as_str())
            .hint("a process may hang in the host's kernel: see its state in /proc/PID/status"),
    ))
}

/// Asks the agent to power off, then the shim, then makes an end of it.
async fn end_vm(live: &LiveBox, patience: Patience) {
    let began = Instant::now();
    if !patience.power_off.is_zero() {
        let asked = async {
            let request = PowerOffRequest {
                grace_ms: patience.grace.as_millis() as u64,
                discard: patience.discard,
                ..PowerOffRequest::default()
            };
            let limit = portal::within(patience.power_off);
            let call = |agent: AgentClient| async move { agent.power_off(limit, &request).await };
            live.portal().call("power off", call).await?;
            live.process().ended().await;
            Ok::<(), BoxliteError>(())
        };
        // An agent that can't be reached or doesn't obey is what the next steps are for.
        let _ = tokio::time::timeout(patience.power_off, asked).await;
    }
    // At SIGTERM the shim has the box powered off itself, or it is at it already, and for that no longer lets anybody in:
    // what the agent's time has left is for that, or what is written last would be lost.
    let left = patience.power_off.saturating_sub(began.elapsed());
    for (signal, wait) in [(libc::SIGTERM, patience.shim + left), (libc::SIGKILL, Duration::from_secs(5))] {
        if live.process().has_ended() {
            return;
        }
        if signal == libc::SIGTERM && wait.is_zero() {
            continue;
        }
        // A process that ended meanwhile is what is wanted.
        let _ = live.process().signal(signal);
        let _ = tokio::time::timeout(wait, live.process().ended()).await;
    }
}
