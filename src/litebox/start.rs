//! How a box comes to run: a running one is found and adopted, any other is started. The start itself is `attempt`'s.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::db::{BoxRow, BoxState, HeldBox};
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::images::ProgressSink;
use crate::litebox::attempt::{self, Claim};
use crate::litebox::core::Core;
use crate::litebox::live::LiveBox;
use crate::litebox::spec::{BoxImage, BoxSpec, Rootfs};
use crate::litebox::stop::Patience;
use crate::litebox::{LiteBox, end, stop};
use crate::model::id::BoxID;
use crate::model::types::StartStage;

/// A box that runs. One that was started for this comes to rest again when it is dropped without having been kept: its
/// caller left at the very moment of its start.
pub(super) struct Begun {
    core: Arc<Core>,
    live: Arc<LiveBox>,
    /// It was started now, and is not kept yet.
    is_loose: bool,
}

impl Begun {
    fn of(core: &Arc<Core>, live: Arc<LiveBox>, is_new: bool) -> Self {
        Self { core: core.clone(), live, is_loose: is_new }
    }

    /// The box, whose start nobody calls off any more.
    pub(super) fn keep(mut self) -> Arc<LiveBox> {
        self.is_loose = false;
        self.live.note_use();
        self.live.clone()
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if self.is_loose {
            self.core.executor.handle().spawn(call_off(self.core.clone(), self.live.clone()));
        }
    }
}

/// Undoes a start that is done, unless somebody else has found the box running meanwhile.
async fn call_off(core: Arc<Core>, live: Arc<LiveBox>) {
    // What can't be undone now is a running box like any other.
    if let Ok(Some(HeldBox::Running(held))) = core.hold(live.id(), "call off a start").await
        && held.row().pid == Some(live.process().pid())
        && !live.is_used()
    {
        let patience = Patience { grace: Duration::ZERO, ..Patience::STOP };
        let _ = stop::bring_down(&core, held, patience, stop::as_ordered).await;
    }
}

/// The running box `id`: the one this runtime knows, one that another started, or one started now.
pub(super) async fn ensure_running(sandbox: &LiteBox, progress: &ProgressSink) -> BoxliteResult<Begun> {
    sandbox.check_usable()?;
    let (core, id) = (&sandbox.core, &sandbox.id);
    if let Some(live) = core.live(id) {
        return Ok(Begun::of(core, live, false));
    }
    let row = fetch(core, id).await?;
    // The image is fetched before the lock is taken: it may take minutes.
    let mut stages = Stages::default();
    let image = match row.state {
        BoxState::Running => None,
        _ => Some(prepare_image(core, &row, progress, &mut stages).await?),
    };
    let held = core.hold(id, "start").await?.ok_or_else(|| gone(id))?;
    // With the lock held nothing may be dropped half-way: a task of its own goes on to an end, this one or that.
    let (claim, claimed) = oneshot::channel();
    let (sandbox, progress) = (sandbox.clone(), progress.clone());
    core.executor.handle().spawn(async move {
        let mut claim = claim;
        let counted = sandbox.core.count_start();
        let outcome = start_held(&sandbox, held, image, stages, &progress, &mut claim).await;
        drop(counted);
        // Who has left meanwhile called the start off: what comes back is dropped.
        let _ = claim.send(outcome);
    });
    claimed.await.map_err(|_| BoxliteError::Stopped("the runtime was shut down".into()))?
}

/// What [`ensure_running`] does with the box's lock held.
async fn start_held(
    sandbox: &LiteBox,
    held: HeldBox,
    image: Option<BoxImage>,
    mut stages: Stages,
    progress: &ProgressSink,
    claim: &mut Claim,
) -> BoxliteResult<Begun> {
    let core = &sandbox.core;
    // The runtime or this handle may have been stopped while the image was fetched or the lock waited for.
    sandbox.check_usable()?;
    // An act that its process didn't finish is settled first: holding the lock proves that nobody is at it any more.
    let resting = match held {
        HeldBox::AtRest(resting) => resting,
        HeldBox::Running(running) => match adopt(core, running.row())? {
            Some(live) => return Ok(Begun::of(core, live, false)),
            None => end::settle_dead(core, running).await?,
        },
        HeldBox::Starting(starting) => end::settle_dead(core, starting).await?,
        // Its machine may be about to write what it holds to the disk: the stop is finished, not cut short.
        HeldBox::Stopping(stopping) => {
            stop::bring_down(core, stopping, Patience::STOP, stop::as_ordered).await?
        }
        HeldBox::Removing(_) => {
            stop::remove_held(core, held, Patience::REMOVE).await?;
            return Err(gone(&sandbox.id));
        }
    };
    let image = match image {
        Some(image) => image,
        None => tokio::select! {
            image = prepare_image(core, resting.row(), progress, &mut stages) => image?,
            error = attempt::unwanted(core, claim) => return Err(error),
        },
    };
    let live = attempt::make(core, resting, claim, image, stages).await?;
    Ok(Begun::of(core, live, true))
}

async fn fetch(core: &Arc<Core>, id: &BoxID) -> BoxliteResult<BoxRow> {
    core.row(id).await?.ok_or_else(|| gone(id))
}

pub(crate) fn gone(id: &BoxID) -> BoxliteError {
    BoxliteError::NotFound(Detail::new(format!("box {id} not found: it was removed")).subject(id.as_str()))
}

/// The box if it runs: as this runtime knows it, or taken up now. Call it with the box's lock held.
pub(crate) fn adopt(core: &Arc<Core>, row: &BoxRow) -> BoxliteResult<Option<Arc<LiveBox>>> {
    if let Some(known) = core.live(&row.id) {
        return Ok(Some(known));
    }
    let layout = core.layout.of_box(&row.id);
    let Some(live) = LiveBox::adopted(row, &layout)? else { return Ok(None) };
    let live = Arc::new(live);
    core.add_live(live.clone());
    end::watch(core, &live);
    Ok(Some(live))
}

/// The steps of a start, timed one after another.
#[derive(Debug, Default)]
pub(super) struct Stages(pub(super) Vec<StartStage>);

impl Stages {
    pub(super) fn add(&mut self, name: &str, took: Duration) {
        self.0.push(StartStage { name: name.to_owned(), took });
    }
}

async fn prepare_image(
    core: &Arc<Core>,
    row: &BoxRow,
    progress: &ProgressSink,
    stages: &mut Stages,
) -> BoxliteResult<BoxImage> {
    let recorded = BoxImage::of(row)?;
    if let Some(image) = recorded.as_ref().filter(|image| core.layout.home().join(&image.disk).is_file()) {
        return Ok(image.clone());
    }
    let began = Instant::now();
    let image = match BoxSpec::of(row)?.rootfs() {
        Rootfs::Image(reference) => {
            let image = core.images.ensure(&reference, progress).await?;
            stages.add("pull", began.elapsed());
            let began = Instant::now();
            let disk = core.images.disk(&image, progress).await?;
            stages.add("image-disk", began.elapsed());
            BoxImage::new(
                image.manifest_digest.to_string(),
                core.layout.relative(&disk.path),
                Some(&image.config),
            )
        }
        Rootfs::Directory(directory) => {
            let disk = core.images.ensure_rootfs_dir(&directory, progress).await?;
            stages.add("image-disk", began.elapsed());
            BoxImage::new(disk.manifest_digest.to_string(), core.layout.relative(&disk.path), None)
        }
    };
    // The box's own disk is an overlay over exactly one image: over another it would be garbage.
    match recorded {
        Some(recorded) if recorded.manifest_digest != image.manifest_digest => Err(BoxliteError::Image(
            Detail::new(format!(
                "box {} was made from image {}, which is gone; its name stands for {} now",
                row.id, recorded.manifest_digest, image.manifest_digest
            ))
            .subject(recorded.manifest_digest)
            .hint("pull the image by the first digest, or create a new box"),
        )),
        _ => Ok(image),
    }
}
