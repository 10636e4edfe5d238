//! The end of a runtime: its own boxes are stopped, by `shutdown` or with the last handle.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use crate::litebox::core::Core;
use crate::litebox::live::LiveBox;
use crate::litebox::stop::{self, Patience};
use crate::litebox::tenure::Tenure;
use crate::litebox::{end, spares};

/// What the background end of a dropped runtime may take.
const DROP_LIMIT: Duration = Duration::from_secs(10);
/// What a shutdown waits beyond the time that boxes are given, for those to be gone that it has killed.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// How long a drop may wait for threads that have nothing left to do but to call off what is being started or made, and to
/// close the database: milliseconds, but on a machine that has much else to do. A program that ends right afterwards
/// leaves nothing half done.
const THREADS_LIMIT: Duration = Duration::from_secs(2);

/// Held by runtime handles only; dropped with the last one.
#[derive(Debug)]
pub(super) struct Lifetime {
    core: Arc<Core>,
    /// Ends first: whoever opens the home from then on finds boxes without an owner.
    tenure: Option<Tenure>,
}

impl Lifetime {
    pub(super) fn of(core: Arc<Core>, tenure: Tenure) -> Self {
        Self { core, tenure: Some(tenure) }
    }
}

impl Drop for Lifetime {
    fn drop(&mut self) {
        // A forked child has inherited the memory of the runtime, not its threads and not its boxes. Its copy is left
        // as it is: a lock in it may be held by a thread that isn't there, its database be the parent's.
        if self.core.check_process().is_err() {
            std::mem::forget(self.core.clone());
            return;
        }
        self.tenure = None;
        let was_shut_down = !self.core.begin_shutdown();
        let own = self.core.own_boxes();
        let is_idle = was_shut_down || own.is_empty();
        for live in own {
            // Their shims stop by themselves from here on, even if this process ends now.
            live.let_go();
        }
        self.core.spares.let_go();
        let core = self.core.clone();
        self.core.executor.finish(async move {
            end_own_boxes(&core, Patience::within(DROP_LIMIT), DROP_LIMIT).await;
            // A log that can't be folded in now is read by the next runtime.
            let _ = core.query(|database| database.close()).await;
        });
        if is_idle {
            self.core.executor.wait_ended(THREADS_LIMIT);
        }
    }
}

/// Calls off the starts under way and stops every box that this runtime started and that isn't detached, all at once.
/// Each has `limit` to stop by itself, then it is killed; who does not go even so is not waited for.
pub(super) async fn stop_own_boxes(core: &Arc<Core>, limit: Duration) {
    end_own_boxes(core, Patience::within(limit), limit.saturating_add(KILL_LIMIT)).await;
}

/// What takes longer than `limit`, waiting for locks included, goes on without being waited for.
async fn end_own_boxes(core: &Arc<Core>, patience: Patience, limit: Duration) {
    core.begin_shutdown();
    let running = core.own_boxes();
    // A start that was too far gone to be called off.
    let late = async {
        core.no_starts().await;
        spares::end_all(core).await;
        let is_new = |live: &Arc<LiveBox>| !running.iter().any(|other| other.id() == live.id());
        end_all(core, core.own_boxes().into_iter().filter(is_new).collect(), patience).await;
    };
    let all = async { tokio::join!(end_all(core, running.clone(), patience), late) };
    let _ = tokio::time::timeout(limit, all).await;
}

async fn end_all(core: &Arc<Core>, boxes: Vec<Arc<LiveBox>>, patience: Patience) {
    let ends = boxes.into_iter().map(|live| {
        let core = core.clone();
        core.executor.handle().clone().spawn(async move {
            if live.process().has_ended() {
                // It ended by itself, and may leave its engine behind for a moment.
                return end::record(&core, &live).await;
            }
            // What can't be stopped now is let go: its shim makes an end of it, and the next runtime settles the row.
            if stop::stop(&core, live.id(), patience).await.is_err() {
                live.let_go();
            }
        })
    });
    join_all(ends).await;
}
