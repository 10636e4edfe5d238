//! One attempt to start a box: disk, shim, agent. It runs in a task of its own that holds the box's lock, so that
//! whatever was begun is finished or undone before anybody else touches the box, also when the caller leaves.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use boxlite_proto::shim::{Course, FailureKind, ShimSpec, StartFailure};
use serde_json::json;
use tokio::sync::oneshot;

use crate::db::{AtRest, BoxRow, BoxState, Database, Held, Rest, Run, Starting, now_ns};
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::executor;
use crate::litebox::clones::{self, Template};
use crate::litebox::core::Core;
use crate::litebox::directory::{self, NewDisk};
use crate::litebox::end;
use crate::litebox::live::{LiveBox, Recipe};
use crate::litebox::plan::{Plan, boot_deadline};
use crate::litebox::record::BoxRecord;
use crate::litebox::spares::{self, Claimed};
use crate::litebox::spec::{BoxImage, BoxSpec};
use crate::litebox::start::{Begun, Stages};
use crate::log::LogLevel;
use crate::model::id::BoxID;
use crate::portal::Portal;
use crate::vmm::Started;
use crate::vmm::engine::Choice;
use crate::vmm::pieces::Piece;

/// What the shim needs beyond the boot's deadline: one more boot for the console, and its own end.
const FAILURE_REPORT_TIME: Duration = Duration::from_secs(20);
/// Where the outcome goes. Its receiver lives as long as somebody wants the box started.
pub(super) type Claim = oneshot::Sender<BoxliteResult<Begun>>;

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

/// Starts the box; on an error it is as before when this returns, but for its logs.
pub(super) async fn make(
    core: &Arc<Core>,
    resting: Held<AtRest>,
    claim: &mut Claim,
    image: BoxImage,
    mut stages: Stages,
) -> BoxliteResult<Arc<LiveBox>> {
    let mut attempt = Attempt { core, row: resting.row().clone(), claim, made_disk: false };
    let starting = core.query(move |database| resting.begin_start(database)).await?;
    let (starting, error) = match attempt.boot(&image, &mut stages).await {
        Err(error) => (starting, error),
        Ok(mut up) => {
            let (engine, template) = (up.engine.clone(), up.template.take());
            match attempt.settle_running(starting, up, image, stages).await? {
                Ok(live) => {
                    if let Some(template) = template {
                        template.count(core);
                    }
                    let Recipe { spec, image } = live.recipe()?;
                    spares::note_start(core, spec, image, &engine);
                    return Ok(live);
                }
                Err(unsettled) => unsettled,
            }
        }
    };
    let fields = json!({ "error": error.to_string(), "hint": error.hint() });
    core.counters.boxes_failed.add();
    core.log.write(LogLevel::Error, "box did not start", attempt.row.id.as_str(), fields);
    attempt.roll_back(starting).await;
    Err(error)
}

/// A box whose agent has answered.
struct Up {
    started: Started,
    portal: Portal,
    engine: Choice,
    /// What it was started from, unless it was a spare.
    template: Option<Template>,
}

/// A start under way of the box as `row` had it before.
struct Attempt<'a> {
    core: &'a Arc<Core>,
    row: BoxRow,
    claim: &'a mut Claim,
    /// The disk was made by this attempt and holds nothing of anybody's.
    made_disk: bool,
}

impl Attempt<'_> {
    async fn boot(&mut self, image: &BoxImage, stages: &mut Stages) -> BoxliteResult<Up> {
        let spec = BoxSpec::of(&self.row)?;
        if let Some(up) = self.claim_spare(&spec, image, stages).await {
            return Ok(up);
        }
        let program = self.core.finder.find(Piece::Shim)?;
        let began = Instant::now();
        let engine = self.core.choose_engine(spec.options.engine, &program).await?;
        stages.add("engine-choice", began.elapsed());
        let began = Instant::now();
        let mut template = self.prepare_directory(&spec, image, &engine).await?;
        stages.add("box-disk", began.elapsed());

        let paths = self.core.layout.of_box(&self.row.id);
        let plan = Plan {
            core: self.core,
            id: &self.row.id.clone(),
            hostname: self.hostname(),
            paths: &paths,
            spec: &spec,
            image,
            engine: &engine,
            is_spare: false,
            rehearses: false,
        };
        let started = match template.course() {
            Some(course) => {
                let shim_spec = plan.shim_spec(course)?;
                match self.launch(&program, shim_spec).await? {
                    Ok(started) => Ok(started),
                    // With its machine booted the box runs, or tells what is really wrong.
                    Err(failure) if is_about_the_machine(&failure) => {
                        let shim_spec = plan.shim_spec(Course::Boot)?;
                        let booted = self.launch(&program, shim_spec).await?;
                        if booted.is_ok() {
                            template.refuse(self.core, &failure.message).await;
                        }
                        booted
                    }
                    Err(failure) => Err(failure),
                }
            }
            None => self.launch(&program, plan.shim_spec(Course::Boot)?).await?,
        };
        let started = started.map_err(|failure| describe_failure(&self.row.id, failure))?;
        add_stages(stages, "", &started.stages);
        for (name, micros) in &started.agent_stages {
            stages.add(&format!("agent/{name}"), Duration::from_micros(*micros));
        }
        Ok(Up { started, portal: Portal::new(&paths.agent_socket()), engine, template: Some(template) })
    }

    /// The box's spare, if one was kept for it and can be used. What one that can't has left is cleared away.
    async fn claim_spare(&mut self, spec: &BoxSpec, image: &BoxImage, stages: &mut Stages) -> Option<Up> {
        if self.row.state != BoxState::Configured {
            return None;
        }
        let recipe = Recipe { spec: spec.clone(), image: image.clone() };
        match spares::claim(self.core, &self.row, &recipe, &self.hostname()).await? {
            Ok(Claimed { started, portal, engine }) => {
                self.made_disk = true;
                add_stages(stages, "claim/", &started.stages);
                Some(Up { started, portal, engine, template: None })
            }
            Err(error) => {
                let fields = json!({ "reason": error.to_string() });
                self.core.log.write(LogLevel::Warn, "spare can't be used", self.row.id.as_str(), fields);
                let (id, paths) = (self.row.id.clone(), self.core.layout.of_box(&self.row.id));
                let cleared = executor::blocking(move || {
                    end::wait_for_tree(&id, &paths);
                    end::clear_run_files(&paths);
                    directory::forget_disk(&paths);
                    Ok(())
                });
                // What can't be cleared is met by the start that follows, which names it.
                let _ = cleared.await;
                None
            }
        }
    }

    fn hostname(&self) -> String {
        self.row.name.clone().unwrap_or_else(|| self.row.id.to_string())
    }

    /// Starts a shim and waits until the box runs, or can't.
    async fn launch(
        &mut self,
        program: &Path,
        shim_spec: ShimSpec,
    ) -> BoxliteResult<Result<Started, StartFailure>> {
        if self.claim.is_closed() {
            return Err(caller_left());
        }
        self.core.check_open()?;
        let shim = self.core.spawn_shim(program, shim_spec).await?;
        let patience = boot_deadline() + FAILURE_REPORT_TIME;
        let (core, is_new) = (self.core, self.made_disk);
        // A directory without a row is nobody's: once a box can hold data, its row must survive a crash of the host.
        let row_kept = async { if is_new { core.query(|database| database.sync()).await } else { Ok(()) } };
        let booted = async { tokio::join!(tokio::time::timeout(patience, shim.ready()), row_kept) };
        let (answer, kept) = tokio::select! {
            both = booted => both,
            error = unwanted(self.core, self.claim) => return Err(error),
        };
        kept?;
        answer.map_err(|_| {
            BoxliteError::Engine(
                Detail::new(format!(
                    "box {}: the shim did not report within {} s",
                    self.row.id,
                    patience.as_secs()
                ))
                .subject(self.row.id.as_str()),
            )
        })?
    }

    /// Records that the box runs. What the inner error gives back is still to be rolled back.
    async fn settle_running(
        &self,
        starting: Held<Starting>,
        Up { started, portal, engine, .. }: Up,
        image: BoxImage,
        stages: Stages,
    ) -> BoxliteResult<Result<Arc<LiveBox>, (Held<Starting>, BoxliteError)>> {
        let run = Run {
            pid: started.process.pid(),
            pid_start: started.process.start_time(),
            engine: engine.kind.name(),
            image_json: image.to_json()?,
            owner_pid: self.core.owner.pid,
            owner_start: self.core.owner.start_time,
        };
        self.core.title.take(&self.row.id);
        self.core.tsc.note(started.tsc_khz);
        let spec = BoxSpec::of(&self.row)?;
        let paths = self.core.layout.of_box(&self.row.id);
        let record =
            BoxRecord::of(&self.row, &spec, &image, self.core.owner).started(now_ns(), engine.kind.name());
        let settle = move |database: &Database| {
            let settled = starting.settle_running(database, &run);
            if settled.is_ok() {
                // On a disk that is full now the record of before stays, which says all but the time.
                let _ = record.write(&paths);
            }
            Ok(settled)
        };
        let settled = self.core.query(settle).await?;
        // The lock is held until the box is known here.
        let _running = match settled {
            Ok(running) => running,
            Err(unsettled) => return Ok(Err(unsettled)),
        };
        let live = Arc::new(LiveBox::started(
            self.row.id.clone(),
            started.process,
            (!spec.options.detach).then_some(started.owner),
            portal,
            &self.core.layout.of_box(&self.row.id),
            stages.0,
            Recipe { spec, image },
        ));
        let steps: serde_json::Map<String, serde_json::Value> = live
            .stages()
            .iter()
            .map(|step| (step.name.clone(), (step.took.as_micros() as u64).into()))
            .collect();
        let fields = json!({
            "pid": live.process().pid(),
            "engine": engine.kind.name(),
            "accelerator": engine.kind.accelerator(),
            "engine_reason": engine.why,
            "steps_us": steps,
        });
        self.core.log.write(LogLevel::Info, "box started", live.id().as_str(), fields);
        self.core.trace.start(live.id().as_str(), live.stages());
        self.core.add_live(live.clone());
        end::watch(self.core, &live);
        Ok(Ok(live))
    }

    /// Prepares the box's directory, with its disk where there is none yet; tells which template the start is to use.
    async fn prepare_directory(
        &mut self,
        spec: &BoxSpec,
        image: &BoxImage,
        engine: &Choice,
    ) -> BoxliteResult<Template> {
        let never_ran = self.row.state == BoxState::Configured;
        let template = clones::template_for(self.core, spec, engine, never_ran.then_some(image)).await;
        let Some(disk) = template.disk() else {
            self.prepare_disk(spec, image, None).await?;
            return Ok(template);
        };
        // A machine that knows its disk must meet that disk, as it was. A template may have been deleted meanwhile, and a
        // disk may be there already.
        if self.prepare_disk(spec, image, Some(disk.to_owned())).await.is_ok() && self.made_disk {
            return Ok(template);
        }
        self.prepare_disk(spec, image, None).await?;
        Ok(clones::template_for(self.core, spec, engine, None).await)
    }

    async fn prepare_disk(
        &mut self,
        spec: &BoxSpec,
        image: &BoxImage,
        of_template: Option<PathBuf>,
    ) -> BoxliteResult<()> {
        let paths = self.core.layout.of_box(&self.row.id);
        let never_ran = self.row.state == BoxState::Configured;
        let (bases, size_gb) = (self.core.layout.bases(), spec.disk_size_gb());
        let record = BoxRecord::of(&self.row, spec, image, self.core.owner);
        self.made_disk |= executor::blocking(move || {
            let new = NewDisk::of(of_template.as_deref(), size_gb, &bases);
            directory::prepare(&paths, &record, never_ran.then_some(new))
        })
        .await?;
        Ok(())
    }

    async fn roll_back(&self, starting: Held<Starting>) {
        let rest = Rest::of(&self.row);
        let (paths, made_disk) = (self.core.layout.of_box(&self.row.id), self.made_disk);
        let undone = self.core.query(move |database| {
            // A shim whose owner's end is closed before it was ready ends by itself; this waits for it.
            end::wait_for_tree(starting.id(), &paths);
            end::clear_run_files(&paths);
            if made_disk {
                directory::forget_disk(&paths);
            }
            starting.come_to_rest(database, &rest)
        });
        // The error that led here is the one to report; the next start settles what could not be written.
        let _ = undone.await;
    }
}

/// Adds steps of which it is known when each was done.
fn add_stages(stages: &mut Stages, prefix: &str, done: &[(String, u64)]) {
    let mut before = 0;
    for (name, at_us) in done {
        stages.add(&format!("{prefix}{name}"), Duration::from_micros(at_us.saturating_sub(before)));
        before = *at_us;
    }
}

/// Whether another way to get at a running machine may do better.
fn is_about_the_machine(failure: &StartFailure) -> bool {
    match failure.kind {
        FailureKind::EngineDied
        | FailureKind::AgentSilent
        | FailureKind::AgentRefused
        | FailureKind::MissingPiece
        | FailureKind::Internal => true,
        FailureKind::Busy | FailureKind::Resources | FailureKind::BuildMismatch | FailureKind::OwnerGone => {
            false
        }
    }
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
        FailureKind::OwnerGone => BoxliteError::Stopped(detail),
        FailureKind::EngineDied | FailureKind::AgentSilent | FailureKind::AgentRefused => {
            BoxliteError::Engine(detail)
        }
        FailureKind::Internal => BoxliteError::Internal(detail),
    }
}
