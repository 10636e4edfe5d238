//! Templates from a box's point of view: which one a start uses, what became of it, and when one is made.
//!
//! The templates' directory is `vmm::template`'s; freezing and cloning are the shim's.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use boxlite_proto::shim::{Course, EngineKind, ShimSpec};
use serde_json::json;

use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::executor;
use crate::litebox::core::{Core, CountedStart};
use crate::litebox::plan::boot_deadline;
use crate::litebox::spec::BoxSpec;
use crate::log::LogLevel;
use crate::model::types::StartCounts;
use crate::vmm::engine::Choice;
use crate::vmm::pieces::Piece;
use crate::vmm::template::{Draft, Shape, TemplateKey};

/// From a box's boot to the making of its template: a program that is about to end is not kept from it.
const REST: Duration = Duration::from_secs(2);

/// Until a template's agent must be ready: its machine runs at low priority, so twice what any other has.
fn freeze_deadline() -> Duration {
    boot_deadline() * 2
}

/// What became of templates in one runtime.
#[derive(Debug, Default)]
pub(crate) struct Clones {
    booted: AtomicU64,
    cloned: AtomicU64,
    made: AtomicU64,
    refused: AtomicU64,
    /// Sizes for which one was made in the background, or could not be: cpus and MiB.
    tried: Mutex<HashSet<(u8, u32)>>,
}

impl Clones {
    pub(crate) fn counts(&self) -> StartCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        StartCounts {
            booted: read(&self.booted),
            cloned: read(&self.cloned),
            templates_made: read(&self.made),
            templates_refused: read(&self.refused),
            ..StartCounts::default()
        }
    }

    fn is_new(&self, shape: &Shape) -> bool {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        tried.insert((shape.cpus, shape.memory_mib))
    }
}

/// The template of one start, if there is one.
pub(super) struct Template {
    /// What a template would have to be like; `None` where boxes have none.
    shape: Option<Shape>,
    found: Option<(TemplateKey, String)>,
}

/// Looks for the template of a box. That there is none, or that it is damaged, is no reason not to start.
pub(super) async fn template_for(core: &Arc<Core>, spec: &BoxSpec, engine: &Choice) -> Template {
    let Some(shape) = shape_of(core, spec, engine) else { return Template { shape: None, found: None } };
    let (looking, wanted) = (core.clone(), shape.clone());
    let looked = executor::blocking(move || {
        let Some(key) = looking.templates.known_key(&wanted) else { return Ok(None) };
        match looking.templates.usable(&key) {
            Ok(found) => Ok(found.map(|place| (key, place))),
            Err(why) => {
                refuse(&looking, &key, &why);
                Ok(None)
            }
        }
    });
    Template { shape: Some(shape), found: looked.await.unwrap_or(None) }
}

impl Template {
    /// What the shim is to do first.
    pub(super) fn course(&self) -> Option<Course> {
        self.found.as_ref().map(|(_, template)| Course::Clone { template: template.clone() })
    }

    /// The box could not be cloned, and could be booted.
    pub(super) async fn refuse(&mut self, core: &Arc<Core>, why: &str) {
        let Some((key, _)) = self.found.take() else { return };
        let (core, why) = (core.clone(), why.to_owned());
        let refused = executor::blocking(move || {
            refuse(&core, &key, &why);
            Ok(())
        });
        // It only fails when the runtime ends.
        let _ = refused.await;
    }

    /// The box runs. One that had to boot has its template made for the next.
    pub(super) fn count(self, core: &Arc<Core>) {
        if self.found.is_some() {
            core.clones.cloned.fetch_add(1, Ordering::Relaxed);
            return;
        }
        core.clones.booted.fetch_add(1, Ordering::Relaxed);
        if let Some(shape) = self.shape.filter(|shape| core.clones.is_new(shape)) {
            make_later(core, shape);
        }
    }
}

/// `None` where boxes are not cloned.
fn shape_of(core: &Core, spec: &BoxSpec, engine: &Choice) -> Option<Shape> {
    if !core.templates.are_wanted() || engine.kind != EngineKind::QemuTcg {
        return None;
    }
    Some(Shape {
        engine: engine.program.clone(),
        kernel: core.finder.find(Piece::Kernel).ok()?,
        guest_disk: core.finder.find(Piece::GuestDisk).ok()?,
        cpus: spec.cpus(),
        memory_mib: spec.memory().0,
        tsc_khz: core.tsc.khz(),
    })
}

fn refuse(core: &Core, key: &TemplateKey, why: &str) {
    core.clones.refused.fetch_add(1, Ordering::Relaxed);
    core.templates.discard(key);
    let fields = json!({ "template": key.as_str(), "reason": why });
    core.log.write(LogLevel::Warn, "template can't be used, the box boots", "", fields);
}

/// Makes a template once the box that booted has had its first moments.
fn make_later(core: &Arc<Core>, shape: Shape) {
    let core = core.clone();
    core.executor.handle().clone().spawn(async move {
        tokio::select! {
            () = tokio::time::sleep(REST) => {}
            _ = core.shutting_down() => return,
        }
        if let Err(error) = ensure(&core, shape).await {
            let fields = json!({ "error": error.to_string(), "hint": error.hint() });
            core.log.write(LogLevel::Warn, "no template", "", fields);
        }
    });
}

/// Makes the template of boxes like `spec`, where there is none.
pub(crate) async fn prepare(core: &Arc<Core>, spec: &BoxSpec) -> BoxliteResult<()> {
    let program = core.finder.find(Piece::Shim)?;
    let engine = core.choose_engine(spec.options.engine, &program).await?;
    let Some(shape) = shape_of(core, spec, &engine) else { return Ok(()) };
    ensure(core, shape).await
}

/// Makes the template, unless there is one or somebody makes it meanwhile.
async fn ensure(core: &Arc<Core>, mut shape: Shape) -> BoxliteResult<()> {
    // The end of the runtime calls it off and waits for it.
    let counted = core.count_start();
    core.check_open()?;
    let turn = core.templates.turn(&shape).await?;
    // Whoever had the turn before has told it.
    let looking = core.clone();
    shape.tsc_khz = executor::blocking(move || Ok(looking.tsc.look())).await?;
    if key(core, &shape).await?.is_some_and(|key| core.templates.has(&key)) {
        return Ok(());
    }
    let (beginning, wanted) = (core.clone(), shape.clone());
    let draft = executor::blocking(move || beginning.templates.begin(&wanted, turn)).await?;
    let draft = Arc::new(draft);
    let making = Making(Some((draft.clone(), counted)));
    let made = freeze_and_seal(core, shape, draft).await;
    making.end().await;
    let key = made?;
    core.clones.made.fetch_add(1, Ordering::Relaxed);
    core.log.write(LogLevel::Info, "template made", "", json!({ "template": key.as_str() }));
    Ok(())
}

async fn freeze_and_seal(
    core: &Arc<Core>,
    mut shape: Shape,
    draft: Arc<Draft>,
) -> BoxliteResult<TemplateKey> {
    shape.tsc_khz = freeze(core, &shape, &draft).await?;
    let core = core.clone();
    executor::blocking(move || {
        core.tsc.note(shape.tsc_khz);
        let key = core.templates.key(&shape)?;
        let key = key.ok_or_else(|| BoxliteError::Internal("a template's clock has no rate".into()))?;
        core.templates.seal(&draft, &key)?;
        Ok(key)
    })
    .await
}

/// A template in the making. One that is left half-way is cleared away, for which the end of the runtime waits.
struct Making(Option<(Arc<Draft>, CountedStart)>);

impl Making {
    /// Clears away what was not sealed: to kill a machine and delete its files takes a moment.
    async fn end(mut self) {
        let last = self.0.take();
        let cleared = executor::blocking(move || {
            drop(last);
            Ok(())
        });
        // It only fails when the runtime's threads end.
        let _ = cleared.await;
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        // Its caller has left and waits for nothing.
        if let Some(last) = self.0.take()
            && let Ok(handle) = tokio::runtime::Handle::try_current()
        {
            handle.spawn_blocking(move || drop(last));
        }
    }
}

async fn key(core: &Arc<Core>, shape: &Shape) -> BoxliteResult<Option<TemplateKey>> {
    let (core, shape) = (core.clone(), shape.clone());
    executor::blocking(move || core.templates.key(&shape)).await
}

/// Has a shim make the machine; tells the rate of the time stamp counter that it was given.
async fn freeze(core: &Arc<Core>, shape: &Shape, draft: &Draft) -> BoxliteResult<u32> {
    let program = core.finder.find(Piece::Shim)?;
    let shim = core.spawn_shim(&program, shim_spec(shape, draft)).await?;
    let answer = tokio::select! {
        answer = tokio::time::timeout(freeze_deadline() * 2, shim.ready()) => answer,
        error = core.shutting_down() => return Err(error),
    };
    let failed = |why: String| BoxliteError::Engine(Detail::new(format!("no template could be made: {why}")));
    match answer {
        Ok(Ok(Ok(started))) => {
            // It holds a lock in the directory that is about to be renamed.
            started.process.ended().await;
            Ok(started.tsc_khz)
        }
        Ok(Ok(Err(failure))) => Err(failed(failure.message).with_hint(failure.hint)),
        Ok(Err(error)) => Err(error),
        Err(_) => {
            Err(failed(format!("its shim did not report within {} s", freeze_deadline().as_secs() * 2)))
        }
    }
}

fn shim_spec(shape: &Shape, draft: &Draft) -> ShimSpec {
    ShimSpec {
        protocol: boxlite_proto::PROTOCOL_VERSION,
        build_id: boxlite_proto::BUILD_ID.to_owned(),
        course: Course::Freeze,
        box_id: draft.id().to_string(),
        box_dir: draft.dir().to_owned(),
        engine: EngineKind::QemuTcg,
        engine_program: shape.engine.clone(),
        kernel: shape.kernel.clone(),
        guest_disk: shape.guest_disk.clone(),
        image_disk: Default::default(),
        box_disk: boxlite_proto::shim::files::BOX_DISK.to_owned(),
        disk_cache: Default::default(),
        cpus: shape.cpus,
        memory_mib: shape.memory_mib,
        hostname: String::new(),
        detach: false,
        tsc_khz: shape.tsc_khz,
        boot_deadline_ms: freeze_deadline().as_millis() as u64,
        stop_grace_ms: 0,
        pids_max: 0,
        max_lifetime_ms: 0,
        idle_timeout_ms: 0,
        test_hooks: false,
        spare: false,
    }
}
