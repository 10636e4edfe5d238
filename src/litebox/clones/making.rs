//! How a template comes to be: in the background after a start for which a better one is wanted, or by request.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use boxlite_proto::shim::{Course, EngineKind, FailureKind, Limits, Progress, ShimSpec, files};
use serde_json::json;

use super::{set_up_of, shape_of};
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::executor;
use crate::layout::BoxLayout;
use crate::litebox::core::{Core, CountedStart};
use crate::litebox::directory::{self, NewDisk};
use crate::litebox::plan::boot_deadline;
use crate::litebox::spec::{BoxImage, BoxSpec};
use crate::log::LogLevel;
use crate::vmm::engine::Choice;
use crate::vmm::pieces::Piece;
use crate::vmm::template::{Draft, Shape, TemplateKey};

/// From a box's boot to the making of its template: a program that is about to end is not kept from it.
const REST: Duration = Duration::from_secs(2);

/// Until a template's agent must be ready: its machine runs at low priority, so twice what any other has.
fn freeze_deadline() -> Duration {
    boot_deadline() * 2
}

/// Makes a template once the box that has just started has had its first moments; tries it once.
pub(in crate::litebox) fn make_later(core: &Arc<Core>, shape: Shape) {
    if !core.clones.is_new(&shape) {
        return;
    }
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

/// Boxes like `spec`, of this image, are wanted again and again: makes the template in which one is set up.
pub(in crate::litebox) fn want_set_up(core: &Arc<Core>, spec: &BoxSpec, image: &BoxImage, engine: &Choice) {
    if let Some(shape) = shape_of(core, spec, engine) {
        make_later(core, Shape { set_up: Some(set_up_of(core, spec, image)), ..shape });
    }
}

/// Makes the template of boxes like `spec` of any image, where there is none.
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
    let (looking, wanted) = (core.clone(), shape.clone());
    let (tsc_khz, is_possible) =
        executor::blocking(move || Ok((looking.tsc.look(), looking.templates.can_have(&wanted)))).await?;
    shape.tsc_khz = tsc_khz;
    if !is_possible {
        return Ok(());
    }
    if key(core, &shape).await?.is_some_and(|key| core.templates.has(&key)) {
        return Ok(());
    }
    let (beginning, wanted) = (core.clone(), shape.clone());
    let draft = executor::blocking(move || {
        let draft = beginning.templates.begin(&wanted, turn)?;
        if let Some(set_up) = &wanted.set_up {
            let new = NewDisk::Empty { size_gb: set_up.disk_gb, bases: &beginning.layout.bases() };
            directory::make_disk(&draft.dir().join(files::BOX_DISK), &new)?;
        }
        Ok(draft)
    })
    .await?;
    let draft = Arc::new(draft);
    let making = Making(Some((draft.clone(), counted)));
    let image = shape.set_up.as_ref().map(|set_up| set_up.image.clone());
    let made = freeze_and_seal(core, shape, draft).await;
    making.end().await;
    let key = made?;
    core.clones.made.fetch_add(1, Ordering::Relaxed);
    let fields = json!({ "template": key.as_str(), "image": image });
    core.log.write(LogLevel::Info, "template made", "", fields);
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
    let failed = |is_shortage: bool, why: &str, hint: String| {
        let detail = Detail::new(format!("no template could be made: {why}")).hint(hint);
        if is_shortage { BoxliteError::ResourceExhausted(detail) } else { BoxliteError::Engine(detail) }
    };
    match answer {
        Ok(Ok(Ok(started))) => {
            // It holds a lock in the directory that is about to be renamed.
            started.process.ended().await;
            Ok(started.tsc_khz)
        }
        Ok(Ok(Err(failure))) => {
            Err(failed(failure.kind == FailureKind::Resources, &failure.message, failure.hint))
        }
        Ok(Err(error)) => Err(failed(false, &error.to_string(), error.hint().to_owned())),
        Err(_) => {
            let why = format!("its shim did not report within {} s", freeze_deadline().as_secs() * 2);
            Err(failed(
                false,
                &why,
                "the host may be too busy: try again, or allow more with $BOXLITE_BOOT_SECONDS".into(),
            ))
        }
    }
}

fn shim_spec(shape: &Shape, draft: &Draft) -> ShimSpec {
    let (progress, image_disk, image) = match &shape.set_up {
        None => (Progress::Booted, Default::default(), String::new()),
        Some(set_up) => (Progress::SetUp, BoxLayout::from_here(&set_up.image_disk), set_up.image.clone()),
    };
    ShimSpec {
        protocol: boxlite_proto::PROTOCOL_VERSION,
        build_id: boxlite_proto::BUILD_ID.to_owned(),
        course: Course::Freeze { progress },
        box_id: draft.id().to_string(),
        box_dir: draft.dir().to_owned(),
        engine: EngineKind::QemuTcg,
        engine_program: shape.engine.clone(),
        kernel: shape.kernel.clone(),
        guest_disk: shape.guest_disk.clone(),
        image_disk,
        image,
        box_disk: files::BOX_DISK.to_owned(),
        disk_cache: Default::default(),
        cpus: shape.cpus,
        memory_mib: shape.memory_mib,
        // Whatever a clone is called, its name stands where this does.
        hostname: draft.id().to_string(),
        detach: false,
        tsc_khz: shape.tsc_khz,
        boot_deadline_ms: freeze_deadline().as_millis() as u64,
        stop_grace_ms: 0,
        limits: Limits::default(),
        test_hooks: false,
        spare: false,
        rehearse: false,
    }
}
