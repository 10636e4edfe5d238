//! One attempt to start a box: disk, shim, agent. It runs in a task of its own that holds the box's lock, so that
//! whatever was begun is finished or undone before anybody else touches the box, also when the caller leaves.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use boxlite_proto::shim::{EngineKind, FailureKind, ShimSpec, StartFailure};
use serde_json::json;
use tokio::sync::oneshot;

use crate::db::{BoxRow, BoxState, Settled};
use crate::disk::{ext4, qcow2};
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::executor;
use crate::layout::{self, BoxLayout};
use crate::litebox::core::Core;
use crate::litebox::end;
use crate::litebox::live::{LiveBox, Recipe};
use crate::litebox::spec::{BoxImage, BoxSpec};
use crate::litebox::start::Stages;
use crate::log::LogLevel;
use crate::model::id::BoxID;
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

/// Where the outcome goes. Its receiver lives as long as somebody wants the box started.
pub(super) type Claim = oneshot::Sender<BoxliteResult<Arc<LiveBox>>>;

/// Completes when nobody wants the box started any more, with the reason.
pub(super) async fn unwanted(core: &Core, claim: &mut Claim) -> BoxliteError {
    tokio::select! {
        () = claim.closed() => caller_left(),
        error = core.shutting_down() => error,
    }
}

fn caller_left() -> BoxliteError {
    BoxliteError::Cancelled("the start was called off: its caller has left".into())
}

/// A start of the box as `row` has it. Make one with the box's lock held, and hold it until the end.
pub(super) struct Attempt<'a> {
    pub(super) core: &'a Arc<Core>,
    pub(super) row: BoxRow,
    pub(super) claim: &'a mut Claim,
    /// The disk was made by this attempt and holds nothing of anybody's.
    pub(super) made_disk: bool,
}

impl Attempt<'_> {
    /// Starts the box; on an error it is as before when this returns, but for its logs.
    pub(super) async fn make(mut self, image: BoxImage, mut stages: Stages) -> BoxliteResult<Arc<LiveBox>> {
        let id = self.row.id.clone();
        let from = [BoxState::Configured, BoxState::Stopped, BoxState::Failed];
        if !self.core.query(move |database| database.begin(&id, &from, BoxState::Starting)).await? {
            return Err(BoxliteError::InvalidState(
                Detail::new(format!("cannot start box {}: it is {:?}", self.row.id, self.row.state))
                    .subject(self.row.id.as_str()),
            ));
        }
        let outcome = match self.boot(&image, &mut stages).await {
            Ok(started) => self.settle_running(started, image, stages).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &outcome {
            let fields = json!({ "error": error.to_string(), "hint": error.hint() });
            self.core.log.write(LogLevel::Error, "box did not start", self.row.id.as_str(), fields);
            self.roll_back().await;
        }
        outcome
    }

    async fn boot(&mut self, image: &BoxImage, stages: &mut Stages) -> BoxliteResult<Started> {
        let spec = BoxSpec::of(&self.row)?;
        let began = Instant::now();
        self.prepare_directory(&spec).await?;
        stages.add("box-disk", began.elapsed());

        let program = self.core.finder.find(Piece::Shim)?;
        let shim_spec = self.shim_spec(&spec, image)?;
        if self.claim.is_closed() {
            return Err(caller_left());
        }
        self.core.check_open()?;
        let handle = self.core.executor.handle().clone();
        let shim = executor::blocking(move || {
            let _context = handle.enter();
            StartingShim::spawn(&program, &shim_spec)
        })
        .await?;
        let patience = BOOT_DEADLINE + FAILURE_REPORT_TIME;
        let answer = tokio::select! {
            answer = tokio::time::timeout(patience, shim.ready()) => answer,
            error = unwanted(self.core, self.claim) => return Err(error),
        };
        let answer = answer.map_err(|_| {
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
        &self,
        started: Started,
        image: BoxImage,
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
        let spec = BoxSpec::of(&self.row)?;
        let id = self.row.id.clone();
        self.core.query(move |database| database.settle(&id, &outcome)).await?;
        let live = Arc::new(LiveBox::started(
            self.row.id.clone(),
            started.process,
            (!spec.options.detach).then_some(started.owner),
            &self.core.layout.of_box(&self.row.id),
            stages.0,
            Recipe { spec, image },
        ));
        let steps: serde_json::Map<String, serde_json::Value> = live
            .stages()
            .iter()
            .map(|step| (step.name.clone(), (step.took.as_micros() as u64).into()))
            .collect();
        let fields = json!({ "pid": live.process().pid(), "engine": ENGINE, "steps_us": steps });
        self.core.log.write(LogLevel::Info, "box started", live.id().as_str(), fields);
        self.core.add_live(live.clone());
        end::watch(self.core, &live);
        Ok(live)
    }

    /// The box's directory, with its disk where there is none yet.
    async fn prepare_directory(&mut self, spec: &BoxSpec) -> BoxliteResult<()> {
        let paths = self.core.layout.of_box(&self.row.id);
        let never_ran = self.row.state == BoxState::Configured;
        let bases = self.core.layout.bases();
        let size_gb = spec.disk_size_gb();
        self.made_disk = executor::blocking(move || {
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
            // Under another name until it is whole: half a disk would be taken for the box's.
            let draft = disk.with_extension("new");
            // One may have been left by a process that was killed here.
            let _ = fs::remove_file(&draft);
            let made = qcow2::create_overlay(&draft, &base, size_gb << 30).and_then(|()| {
                fs::rename(&draft, &disk).map_err(|error| BoxliteError::io("rename to", &disk, &error))
            });
            if made.is_err() {
                let _ = fs::remove_file(&draft);
            }
            made.map(|()| true)
        })
        .await?;
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
            // Short and plain whatever the home is called: the engine's options can carry only UTF-8.
            image_disk: BoxLayout::from_here(&image.disk),
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

    async fn roll_back(&self) {
        let outcome = match self.row.state {
            BoxState::Configured => Settled::Configured,
            BoxState::Failed => Settled::Failed { reason: self.row.failure.clone().unwrap_or_default() },
            _ => Settled::Stopped,
        };
        let (id, paths, made_disk) =
            (self.row.id.clone(), self.core.layout.of_box(&self.row.id), self.made_disk);
        let undone = self.core.query(move |database| {
            // A shim whose owner's end is closed before it was ready ends by itself; this waits for it.
            end::wait_for_tree(&id);
            end::clear_run_files(&paths);
            if made_disk {
                let _ = fs::remove_file(paths.box_disk());
            }
            database.settle(&id, &outcome)
        });
        // The error that led here is the one to report; the next start settles what could not be written.
        let _ = undone.await;
    }
}

fn file_name(path: &std::path::Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
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
