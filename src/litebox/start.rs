//! Where a box is started: image, disks, shim, agent; or a running one is found and adopted.
//!
//! Everything a start makes is undone when it fails or its caller leaves.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use boxlite_proto::shim::{EngineKind, FailureKind, ShimSpec, StartFailure};

use crate::db::{BoxRow, BoxState, Settled};
use crate::disk::{ext4, qcow2};
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::executor;
use crate::images::ProgressSink;
use crate::layout;
use crate::litebox::core::Core;
use crate::litebox::live::LiveBox;
use crate::litebox::spec::{BoxImage, BoxSpec, Rootfs};
use crate::litebox::{end, stop};
use crate::lock::LockGuard;
use crate::log::LogLevel;
use crate::model::id::BoxID;
use crate::model::types::StartStage;
use crate::vmm::pieces::{self, Piece};
use crate::vmm::{Started, StartingShim};

/// Until the agent must have answered.
const BOOT_DEADLINE: Duration = Duration::from_secs(30);
/// What the shim needs beyond the boot's deadline: one more boot for the console, and its own end.
const FAILURE_REPORT_TIME: Duration = Duration::from_secs(20);
/// Between SIGTERM and SIGKILL when the shim stops a box by itself.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// Name of the engine in `BoxInfo`.
const ENGINE: &str = "qemu-tcg";

/// The running box `id`: the one this runtime knows, one that another started, or one started now.
pub(crate) async fn ensure_running(
    core: &Arc<Core>,
    id: &BoxID,
    progress: &ProgressSink,
) -> BoxliteResult<Arc<LiveBox>> {
    core.check_open()?;
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
    if let Some(live) = core.live(id) {
        return Ok(live);
    }
    let row = settle_unfinished(core, fetch(core, id).await?).await?;
    if row.state == BoxState::Running {
        if let Some(live) = adopt(core, &row)? {
            return Ok(live);
        }
        end::settle_dead(core, &row).await?;
    }
    let image = match image {
        Some(image) => image,
        None => prepare_image(core, &row, progress, &mut stages).await?,
    };
    Attempt::begin(core, fetch(core, id).await?, lock).await?.run(image, stages).await
}

async fn fetch(core: &Arc<Core>, id: &BoxID) -> BoxliteResult<BoxRow> {
    let wanted = id.clone();
    core.query(move |database| database.get(&wanted)).await?.ok_or_else(|| gone(id))
}

pub(crate) fn gone(id: &BoxID) -> BoxliteError {
    BoxliteError::NotFound(Detail::new(format!("box {id} not found: it was removed")).subject(id.as_str()))
}

/// Takes up a box that runs but that this runtime doesn't know yet. Call it with the box's lock held.
pub(crate) fn adopt(core: &Arc<Core>, row: &BoxRow) -> BoxliteResult<Option<Arc<LiveBox>>> {
    let Some(pid) = row.pid else { return Ok(None) };
    let layout = core.layout.of_box(&row.id);
    let Some(live) = LiveBox::adopted(row.id.clone(), pid, row.pid_start, &layout)? else { return Ok(None) };
    let live = Arc::new(live);
    core.add_live(live.clone());
    end::watch(core, &live);
    Ok(Some(live))
}

/// An act that its process didn't finish is settled first. Holding the lock proves that nobody is at it any more.
async fn settle_unfinished(core: &Arc<Core>, row: BoxRow) -> BoxliteResult<BoxRow> {
    match row.state {
        BoxState::Starting | BoxState::Stopping => {
            end::settle_dead(core, &row).await?;
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
struct Stages(Vec<StartStage>);

impl Stages {
    fn add(&mut self, name: &str, took: Duration) {
        self.0.push(StartStage { name: name.to_owned(), took });
    }
}

async fn prepare_image(
    core: &Arc<Core>,
    row: &BoxRow,
    progress: &ProgressSink,
    stages: &mut Stages,
) -> BoxliteResult<BoxImage> {
    if let Some(image) = BoxImage::of(row)?
        && image.disk.is_file()
    {
        return Ok(image);
    }
    let began = Instant::now();
    match BoxSpec::of(row)?.rootfs() {
        Rootfs::Image(reference) => {
            let image = core.images.ensure(&reference, progress).await?;
            stages.add("pull", began.elapsed());
            let began = Instant::now();
            let disk = core.images.disk(&image, progress).await?;
            stages.add("image-disk", began.elapsed());
            Ok(BoxImage::new(image.manifest_digest.to_string(), disk.path, Some(&image.config)))
        }
        Rootfs::Directory(directory) => {
            let disk = core.images.ensure_rootfs_dir(&directory, progress).await?;
            stages.add("image-disk", began.elapsed());
            Ok(BoxImage::new(disk.manifest_digest.to_string(), disk.path, None))
        }
    }
}

/// One attempt to start a box. Dropped before its end, it is rolled back.
struct Attempt {
    core: Arc<Core>,
    row: BoxRow,
    /// `None` once the outcome is settled.
    pending: Option<Pending>,
}

struct Pending {
    lock: LockGuard,
    /// The disk was made by this attempt and holds nothing of anybody's.
    made_disk: bool,
}

impl Attempt {
    async fn begin(core: &Arc<Core>, row: BoxRow, lock: LockGuard) -> BoxliteResult<Self> {
        core.check_open()?;
        let id = row.id.clone();
        let from = [BoxState::Configured, BoxState::Stopped, BoxState::Failed];
        if !core.query(move |database| database.begin(&id, &from, BoxState::Starting)).await? {
            return Err(BoxliteError::InvalidState(
                Detail::new(format!("cannot start box {}: it is {:?}", row.id, row.state))
                    .subject(row.id.as_str()),
            ));
        }
        Ok(Self { core: core.clone(), row, pending: Some(Pending { lock, made_disk: false }) })
    }

    async fn run(mut self, image: BoxImage, mut stages: Stages) -> BoxliteResult<Arc<LiveBox>> {
        match self.boot(&image, &mut stages).await {
            Ok(started) => self.settle_running(started, &image, stages).await,
            Err(error) => {
                let fields = json!({ "error": error.to_string(), "hint": error.hint() });
                self.core.log.write(LogLevel::Error, "box did not start", self.row.id.as_str(), fields);
                if let Some(pending) = self.pending.take() {
                    roll_back(self.core.clone(), self.row.clone(), pending).await;
                }
                Err(error)
            }
        }
    }

    async fn boot(&mut self, image: &BoxImage, stages: &mut Stages) -> BoxliteResult<Started> {
        let spec = BoxSpec::of(&self.row)?;
        let began = Instant::now();
        self.prepare_directory(&spec).await?;
        stages.add("box-disk", began.elapsed());

        let program = self.core.finder.find(Piece::Shim)?;
        let shim_spec = self.shim_spec(&spec, image)?;
        let handle = self.core.executor.handle().clone();
        let shim = executor::blocking(move || {
            let _context = handle.enter();
            StartingShim::spawn(&program, &shim_spec)
        })
        .await?;
        let patience = BOOT_DEADLINE + FAILURE_REPORT_TIME;
        let answer = tokio::time::timeout(patience, shim.ready()).await.map_err(|_| {
            BoxliteError::Engine(
                Detail::new(format!(
                    "box {}: the shim did not report within {} s",
                    self.row.id,
                    patience.as_secs()
                ))
                .subject(self.row.id.as_str()),
            )
        })?;
        let started = answer?.map_err(|failure| describe_failure(&self.row.id, failure))?;
        let mut before = 0;
        for (name, at_us) in &started.stages {
            stages.add(name, Duration::from_micros(at_us.saturating_sub(before)));
            before = *at_us;
        }
        for (name, micros) in &started.agent_stages {
            stages.add(&format!("agent/{name}"), Duration::from_micros(*micros));
        }
        Ok(started)
    }

    async fn settle_running(
        mut self,
        started: Started,
        image: &BoxImage,
        stages: Stages,
    ) -> BoxliteResult<Arc<LiveBox>> {
        let outcome = Settled::Running {
            pid: started.process.pid(),
            pid_start: started.process.start_time(),
            engine: ENGINE,
            image_json: image.to_json()?,
            owner_pid: self.core.owner.pid,
            owner_start: self.core.owner.start_time,
        };
        self.core.tsc.note(started.tsc_khz);
        let detached = BoxSpec::of(&self.row)?.options.detach;
        let id = self.row.id.clone();
        self.core.query(move |database| database.settle(&id, &outcome)).await?;
        let live = Arc::new(LiveBox::started(
            self.row.id.clone(),
            started.process,
            (!detached).then_some(started.owner),
            &self.core.layout.of_box(&self.row.id),
            stages.0,
        ));
        let steps: serde_json::Map<String, serde_json::Value> = live
            .stages()
            .iter()
            .map(|step| (step.name.clone(), (step.took.as_micros() as u64).into()))
            .collect();
        let fields = json!({ "pid": live.process().pid(), "engine": ENGINE, "steps_us": steps });
        self.core.log.write(LogLevel::Info, "box started", live.id().as_str(), fields);
        self.core.add_live(live.clone());
        end::watch(&self.core, &live);
        self.pending = None;
        Ok(live)
    }

    /// The box's directory, with its disk where there is none yet.
    async fn prepare_directory(&mut self, spec: &BoxSpec) -> BoxliteResult<()> {
        let paths = self.core.layout.of_box(&self.row.id);
        let never_ran = self.row.state == BoxState::Configured;
        let bases = self.core.layout.bases();
        let size_gb = spec.disk_size_gb();
        let made = executor::blocking(move || {
            let logs = paths.logs();
            layout::make_dir(&logs).map_err(|error| BoxliteError::io("create", &logs, &error))?;
            // The last run's end is history now; there needn't have been one.
            let _ = fs::rename(paths.exit(), paths.exit_previous());
            let disk = paths.box_disk();
            if disk.exists() {
                return Ok(false);
            }
            if !never_ran {
                return Err(BoxliteError::Storage(
                    Detail::new(format!("the box's disk {} is missing", disk.display()))
                        .subject(disk.display().to_string())
                        .hint("put the file back, or remove the box and create it again"),
                ));
            }
            ext4::ensure_base(&bases, size_gb)?;
            let base = format!("../../bases/{}", ext4::base_name(size_gb));
            qcow2::create_overlay(&disk, &base, size_gb << 30)?;
            Ok(true)
        })
        .await?;
        if let Some(pending) = &mut self.pending {
            pending.made_disk = made;
        }
        Ok(())
    }

    fn shim_spec(&self, spec: &BoxSpec, image: &BoxImage) -> BoxliteResult<ShimSpec> {
        let paths = self.core.layout.of_box(&self.row.id);
        Ok(ShimSpec {
            protocol: boxlite_proto::PROTOCOL_VERSION,
            build_id: boxlite_proto::BUILD_ID.to_owned(),
            box_id: self.row.id.to_string(),
            box_dir: paths.dir().to_owned(),
            engine: EngineKind::QemuTcg,
            engine_program: pieces::find_qemu()?,
            kernel: self.core.finder.find(Piece::Kernel)?,
            guest_disk: self.core.finder.find(Piece::GuestDisk)?,
            image_disk: image.disk.clone(),
            box_disk: file_name(&paths.box_disk()),
            cpus: spec.cpus(),
            memory_mib: spec.memory().0,
            hostname: self.row.name.clone().unwrap_or_else(|| self.row.id.to_string()),
            detach: spec.options.detach,
            tsc_khz: self.core.tsc.khz(),
            boot_deadline_ms: BOOT_DEADLINE.as_millis() as u64,
            stop_grace_ms: STOP_GRACE.as_millis() as u64,
            pids_max: 0,
            test_hooks: std::env::var_os("BOXLITE_TEST_HOOKS").is_some_and(|value| value == "1"),
        })
    }
}

fn file_name(path: &std::path::Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(pending) = self.pending.take() {
            let work = roll_back(self.core.clone(), self.row.clone(), pending);
            self.core.executor.handle().spawn(work);
        }
    }
}

/// Puts everything back as it was before the attempt, but for the logs.
async fn roll_back(core: Arc<Core>, row: BoxRow, pending: Pending) {
    let id = row.id.clone();
    let paths = core.layout.of_box(&id);
    let outcome = match row.state {
        BoxState::Configured => Settled::Configured,
        _ => Settled::Stopped,
    };
    let undone = core.query(move |database| {
        // A shim whose owner's end is closed before it was ready ends by itself; this waits for it.
        end::wait_for_tree(&id);
        end::clear_run_files(&paths);
        if pending.made_disk {
            let _ = fs::remove_file(paths.box_disk());
        }
        database.settle(&id, &outcome)
    });
    // The error that led here is the one to report; the next start settles what could not be written.
    let _ = undone.await;
    drop(pending.lock);
}

fn describe_failure(id: &BoxID, failure: StartFailure) -> BoxliteError {
    let mut text = format!("box {id} did not start ({}): {}", failure.stage, failure.message);
    if !failure.console.trim().is_empty() {
        text.push_str("\nthe guest's console:\n");
        text.push_str(failure.console.trim_end());
    }
    let mut detail = Detail::new(text).subject(id.as_str());
    if !failure.hint.is_empty() {
        detail = detail.hint(failure.hint);
    }
    if let Some(errno) = failure.os_errno {
        detail = detail.errno(errno);
    }
    match failure.kind {
        FailureKind::MissingPiece | FailureKind::BuildMismatch => BoxliteError::Config(detail),
        FailureKind::Busy => BoxliteError::Busy(detail),
        FailureKind::Resources => BoxliteError::ResourceExhausted(detail),
        FailureKind::AgentSilent => BoxliteError::Timeout(detail),
        FailureKind::OwnerGone => BoxliteError::Stopped(detail),
        FailureKind::EngineDied | FailureKind::AgentRefused => BoxliteError::Engine(detail),
        FailureKind::Internal => BoxliteError::Internal(detail),
    }
}
