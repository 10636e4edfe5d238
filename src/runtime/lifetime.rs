//! The end of a runtime: its own boxes are stopped, by `shutdown` or with the last handle.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use crate::litebox::core::Core;
use crate::litebox::stop::{self, Patience};

/// What the background end of a dropped runtime may take.
const DROP_LIMIT: Duration = Duration::from_secs(10);
/// How long a drop may wait for threads that have nothing left to do.
const THREADS_LIMIT: Duration = Duration::from_millis(40);

/// Held by runtime handles only; dropped with the last one.
#[derive(Debug)]
pub(super) struct Lifetime {
    core: Arc<Core>,
}

impl Lifetime {
    pub(super) fn of(core: Arc<Core>) -> Self {
        Self { core }
    }
}

impl Drop for Lifetime {
    fn drop(&mut self) {
        // A forked child has inherited the memory of the runtime, not its threads and not its boxes.
        if self.core.check_process().is_err() {
            return;
        }
        let idle = !self.core.begin_shutdown() || own_boxes(&self.core).is_empty();
        for live in own_boxes(&self.core) {
            // Their shims stop by themselves from here on, even if this process ends now.
            live.let_go();
        }
        let core = self.core.clone();
        self.core.executor.finish(async move {
            stop_own_boxes(&core, DROP_LIMIT).await;
            // A log that can't be folded in now is read by the next runtime.
            let _ = core.query(|database| database.close()).await;
        });
        if idle {
            self.core.executor.wait_ended(THREADS_LIMIT);
        }
    }
}

fn own_boxes(core: &Core) -> Vec<Arc<crate::litebox::live::LiveBox>> {
    core.all_live().into_iter().filter(|live| live.is_owned()).collect()
}

/// Stops every box that this runtime started and that isn't detached, all at once.
pub(super) async fn stop_own_boxes(core: &Arc<Core>, limit: Duration) {
    core.begin_shutdown();
    let patience = Patience::within(limit);
    let stops = own_boxes(core).into_iter().map(|live| async move {
        // What can't be stopped now is let go: its shim makes an end of it, and the next runtime settles the row.
        if stop::stop(core, live.id(), patience).await.is_err() {
            live.let_go();
        }
    });
    // The stop's own deadlines add up to less; this bounds waiting for locks.
    let _ = tokio::time::timeout(limit.max(Duration::from_secs(1)), join_all(stops)).await;
}
