//! How a box comes to run: a running one is found and adopted, any other is started. The start itself is `attempt`'s.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::db::{BoxRow, BoxState};
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::images::ProgressSink;
use crate::litebox::attempt::{self, Attempt, Claim};
use crate::litebox::core::Core;
use crate::litebox::live::LiveBox;
use crate::litebox::spec::{BoxImage, BoxSpec, Rootfs};
use crate::litebox::stop::Patience;
use crate::litebox::{LiteBox, end, stop};
use crate::lock::LockGuard;
use crate::model::id::BoxID;
use crate::model::types::StartStage;

/// The running box `id`: the one this runtime knows, one that another started, or one started now.
pub(super) async fn ensure_running(
    sandbox: &LiteBox,
    progress: &ProgressSink,
) -> BoxliteResult<Arc<LiveBox>> {
    sandbox.check_usable()?;
    let (core, id) = (&sandbox.core, &sandbox.id);
    if let Some(live) = core.live(id) {
        return Ok(live);
    }
    let row = fetch(core, id).await?;
    // The image is fetched before the lock is taken: it may take minutes.
    let mut stages = Stages::default();
    let image = match row.state {
        BoxState::Running => None,
        _ => Some(prepare_image(core, &row, progress, &mut stages).await?),
    };
    let lock = core.locks.acquire(id.as_str(), "start").await?;
    // With the lock held nothing may be dropped half-way: a task of its own goes on to an end, this one or that.
    let (claim, claimed) = oneshot::channel();
    let (sandbox, progress) = (sandbox.clone(), progress.clone());
    core.executor.handle().spawn(async move {
        let mut claim = claim;
        let counted = sandbox.core.count_start();
        let outcome = start_locked(&sandbox, image, stages, &progress, &mut claim).await;
        drop::<LockGuard>(lock);
        drop(counted);
        // Who has left meanwhile called the start off, or left when it was done.
        let _ = claim.send(outcome);
    });
    claimed.await.map_err(|_| BoxliteError::Stopped("the runtime was shut down".into()))?
}

/// What [`ensure_running`] does with the box's lock held.
async fn start_locked(
    sandbox: &LiteBox,
    image: Option<BoxImage>,
    mut stages: Stages,
    progress: &ProgressSink,
    claim: &mut Claim,
) -> BoxliteResult<Arc<LiveBox>> {
    let (core, id) = (&sandbox.core, &sandbox.id);
    if let Some(live) = core.live(id) {
        return Ok(live);
    }
    // The runtime or this handle may have been stopped while the image was fetched or the lock waited for.
    sandbox.check_usable()?;
    let row = settle_unfinished(core, fetch(core, id).await?).await?;
    if row.state == BoxState::Running {
        if let Some(live) = adopt(core, &row)? {
            return Ok(live);
        }
        end::settle_dead(core, &row).await?;
    }
    let image = match image {
        Some(image) => image,
        None => tokio::select! {
            image = prepare_image(core, &row, progress, &mut stages) => image?,
            error = attempt::unwanted(core, claim) => return Err(error),
        },
    };
    let row = fetch(core, id).await?;
    Attempt { core, row, claim, made_disk: false }.make(image, stages).await
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
    let Some(pid) = row.pid else { return Ok(None) };
    let layout = core.layout.of_box(&row.id);
    let Some(live) = LiveBox::adopted(row, pid, &layout)? else { return Ok(None) };
    let live = Arc::new(live);
    core.add_live(live.clone());
    end::watch(core, &live);
    Ok(Some(live))
}

/// An act that its process didn't finish is settled first. Holding the lock proves that nobody is at it any more.
async fn settle_unfinished(core: &Arc<Core>, row: BoxRow) -> BoxliteResult<BoxRow> {
    match row.state {
        BoxState::Starting => {
            end::settle_dead(core, &row).await?;
            fetch(core, &row.id).await
        }
        // Its machine may be about to write what it holds to the disk: the stop is finished, not cut short.
        BoxState::Stopping => {
            stop::bring_down(core, &row, Patience::STOP, BoxState::Stopping).await?;
            fetch(core, &row.id).await
        }
        BoxState::Removing => {
            stop::delete(core, &row.id).await?;
            Err(gone(&row.id))
        }
        BoxState::Configured | BoxState::Running | BoxState::Stopped | BoxState::Failed => Ok(row),
    }
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
