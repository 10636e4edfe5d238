//! Spares: boxes made before anybody asks for them, each to become the next box that fits it, best one of its image.
//!
//! Owns the pool of one runtime: what is in it, whom a spare is kept for, and when another is made. How one is made is
//! `make`'s, how it becomes a box `claim`'s. A spare has an id and a directory below `spares`, and no row.

mod claim;
mod kind;
mod make;
mod pool;

use std::sync::Arc;
use std::time::Duration;

use boxlite_proto::shim::EngineKind;
use serde_json::json;

pub(super) use claim::{Claimed, claim};
pub(crate) use pool::Spares;

use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::executor;
use crate::layout::BoxLayout;
use crate::litebox::clones;
use crate::litebox::core::Core;
use crate::litebox::end;
use crate::litebox::live::{LiveBox, Recipe};
use crate::litebox::plan::test_hooks;
use crate::litebox::spec::{BoxImage, BoxSpec};
use crate::log::LogLevel;
use crate::model::id::BoxID;
use crate::vmm::engine::Choice;
use crate::vmm::{self, Owner, pieces};
use kind::Kind;

/// From the first box's start to the making of the first spare: a program that is about to end is not kept from it.
const FIRST_REST: Duration = Duration::from_secs(2);
/// From a later start to the next spare: whoever started a box has something to do now.
const REST: Duration = Duration::from_millis(150);
/// How long a spare is kept for a box that was created and not started.
const KEPT_FOR: Duration = Duration::from_secs(60);

const VARIABLE: &str = "BOXLITE_SPARES";
const DEFAULT_COUNT: u32 = 1;

/// How many spares a runtime keeps for which no option says it.
pub(crate) fn from_environment() -> BoxliteResult<u32> {
    let Some(value) = pieces::secure_env(c"BOXLITE_SPARES").filter(|value| !value.is_empty()) else {
        return Ok(DEFAULT_COUNT);
    };
    value.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| {
        BoxliteError::Config(
            Detail::new(format!("{VARIABLE} is {value:?}, which is no number"))
                .subject(VARIABLE)
                .hint("set it to how many boxes are to be kept ready, 0 for none, or unset it"),
        )
    })
}

/// A running machine that nobody has asked for.
pub(crate) struct Spare {
    id: BoxID,
    kind: Kind,
    image: BoxImage,
    paths: BoxLayout,
    live: Arc<LiveBox>,
    owner: Owner,
    engine: Choice,
    tsc_khz: u32,
}

impl Spare {
    fn is_alive(&self) -> bool {
        !self.live.process().has_ended()
    }

    /// Whether its image is the box's, whatever either is called.
    fn has(&self, recipe: &Recipe) -> bool {
        self.image.manifest_digest == recipe.image.manifest_digest
    }

    /// Ends it, and returns when nothing of it is left.
    pub(super) async fn discard(self) {
        self.owner.let_go();
        // One that has ended already is what is wanted.
        let _ = self.live.process().signal(libc::SIGKILL);
        let (id, paths) = (self.id.clone(), self.paths.clone());
        clear(id, paths).await;
    }
}

/// Kills what is left of a spare, and deletes its directory.
async fn clear(id: BoxID, paths: BoxLayout) {
    let cleared = executor::blocking(move || {
        vmm::reap_tree(&id, paths.dir(), end::REAP_TIME);
        // What can't be deleted is deleted at the home's next opening.
        let _ = std::fs::remove_dir_all(paths.dir());
        Ok(())
    });
    // It only fails when the runtime's threads end.
    let _ = cleared.await;
}

/// The id of a spare that fits `spec`; from now on it is kept for the box that gets this id, for a while.
pub(crate) fn reserve(core: &Arc<Core>, spec: &BoxSpec) -> Option<BoxID> {
    let id = core.spares.reserve(&Kind::of(spec))?;
    let (core, reserved) = (core.clone(), id.clone());
    core.executor.handle().clone().spawn(async move {
        tokio::select! {
            () = tokio::time::sleep(KEPT_FOR) => give_up(&core, &reserved).await,
            _ = core.shutting_down() => {}
        }
    });
    Some(id)
}

/// Ends the spare that is kept for the box `id`, if there is one.
pub(crate) async fn give_up(core: &Arc<Core>, id: &BoxID) {
    if let Some(spare) = core.spares.take(id) {
        spare.discard().await;
    }
}

/// Ends all of them, for good.
pub(crate) async fn end_all(core: &Arc<Core>) {
    futures::future::join_all(core.spares.close().into_iter().map(Spare::discard)).await;
}

/// A box like `spec` runs: the next will probably be like it.
pub(super) fn note_start(core: &Arc<Core>, spec: &BoxSpec, image: &BoxImage, engine: &Choice) {
    if engine.kind != EngineKind::QemuTcg || !core.templates.are_wanted() {
        return;
    }
    if !core.spares.want(Kind::of(spec), image.clone()) {
        return;
    }
    let rest = if core.spares.has_made() || test_hooks() { REST } else { FIRST_REST };
    let (core, engine) = (core.clone(), engine.clone());
    core.executor.handle().clone().spawn(async move {
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            _ = core.shutting_down() => return,
        }
        refill(&core, &engine).await;
    });
}

/// Makes spares until there are enough of those that are wanted.
async fn refill(core: &Arc<Core>, engine: &Choice) {
    let mut last = None;
    while let Some(next) = core.spares.next() {
        last = Some((next.kind.clone(), next.image.clone()));
        for unwanted in next.unwanted {
            unwanted.discard().await;
        }
        match make::make(core, next.kind, next.image).await {
            Ok(spare) => {
                let id = spare.id.clone();
                if let Some(late) = core.spares.put(spare) {
                    late.discard().await;
                }
                core.log.write(LogLevel::Debug, "spare ready", id.as_str(), json!({}));
            }
            Err(error) => {
                core.spares.stop_filling();
                let fields = json!({ "error": error.to_string(), "hint": error.hint() });
                core.log.write(LogLevel::Warn, "no spare", "", fields);
                return;
            }
        }
    }
    if let Some((kind, image)) = last {
        clones::want_set_up(core, &kind.spec(), &image, engine);
    }
}
