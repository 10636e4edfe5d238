//! The start: from a settled process to a box whose agent has answered, or a failure that leaves nothing behind.

use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

use boxlite_proto::shim::{Course, Report, ShimSpec, files};
use tokio::net::UnixListener;
use tokio::time::{sleep, timeout};

use super::failure::StartError;
use super::log::log;
use super::machine::{Hosted, Up, bring_up, stage};
use super::oom::OomKills;
use super::owner::Owner;
use super::signals::Signals;
use super::{sock, transfer_disk};
use crate::engine::{self, Boot, Engine, Verbosity};
use crate::tsc;

/// How long the boot for the log may take.
const AUTOPSY: Duration = Duration::from_secs(10);

/// A box that is up.
pub(crate) struct Started {
    pub(crate) machine: Hosted,
    pub(crate) up: Up,
    pub(crate) listener: UnixListener,
    /// From before the machine.
    pub(crate) oom_kills: OomKills,
}

/// Why a start failed, the step it was at, and the console's end.
pub(crate) type Failed = (StartError, &'static str, String);

/// Boots the box and reports the steps; on failure the machine is gone when this returns.
pub(crate) async fn start(
    spec: &ShimSpec,
    owner: &Owner,
    signals: &mut Signals,
    began: Instant,
) -> Result<Started, Failed> {
    let step = Steps::new(owner, began);
    let engine = engine::of(spec.engine);
    let at_once = |error| (error, stage::PREPARE, String::new());
    engine.check(spec).map_err(at_once)?;
    let disk = |source| StartError::Plumbing { what: "the transfer disk", source };
    transfer_disk::make().map_err(disk).map_err(at_once)?;
    let tsc_khz = match spec.tsc_khz {
        0 if engine.needs_tsc_rate() => tsc::measure_khz(),
        known => known,
    };
    let boot = Boot { verbosity: Verbosity::Quiet, tsc_khz };
    let oom_kills = OomKills::now();
    let mut machine = engine.launch(spec, boot).and_then(Hosted::adopt).map_err(at_once)?;
    log!("engine {:?} runs as process {}", spec.engine, machine.process.id());
    step.done(stage::ENGINE);

    let outcome = wait_for_agent(&mut machine, spec, owner, signals, &step).await;
    let outcome = match outcome {
        Ok(mut up) => {
            if matches!(spec.course, Course::Clone { .. }) {
                // Its template went through those, some time ago.
                up.configured.stages.retain(|done| !stage::OF_THE_TEMPLATE.contains(&done.name.as_str()));
            }
            Ok(up)
        }
        Err(error) => Err(error),
    };
    let outcome = match outcome {
        Ok(up) => sock::listen_at(Path::new(files::AGENT_SOCKET))
            .map(|listener| (up, listener))
            .map_err(|source| StartError::Plumbing { what: "agent.sock", source }),
        Err(error @ StartError::Channel(_)) => Err(machine.explain_channel(engine.as_ref(), error).await),
        Err(error) => Err(error),
    };
    let error = match outcome {
        Ok((up, listener)) => {
            let configured = &up.configured;
            owner.report(&Report::Ready {
                stages: configured.stages.iter().map(|stage| (stage.name.clone(), stage.micros)).collect(),
                kernel: configured.kernel.clone(),
                clocksource: configured.clocksource.clone(),
                tsc_khz,
            });
            match configured.kernel.as_str() {
                // Its template knows.
                "" => log!("ready"),
                kernel => log!("ready: Linux {kernel}, clocksource {}", configured.clocksource),
            }
            return Ok(Started { machine, up, listener, oom_kills });
        }
        Err(error) => error,
    };
    let error = error.of_memory(&oom_kills);
    machine.process.kill();
    let _ = machine.process.ended().await;
    let mut console = machine.console.last_words().await;
    drop(machine);
    let reached = step.reached(&console);
    if error.console_may_tell_more()
        && let Some(told) = autopsy(engine.as_ref(), spec, tsc_khz, owner, signals).await
    {
        console = told;
    }
    Err((error, reached, console))
}

/// The steps done, as the owner hears of them.
pub(super) struct Steps<'a> {
    owner: &'a Owner,
    began: Instant,
    now: Cell<&'static str>,
}

impl<'a> Steps<'a> {
    pub(super) fn new(owner: &'a Owner, began: Instant) -> Self {
        Self { owner, began, now: Cell::new(stage::PREPARE) }
    }

    pub(super) fn done(&self, name: &'static str) {
        self.now.set(name);
        let at_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        log!("stage {name} done");
        self.owner.report(&Report::Stage { name: name.to_owned(), at_us });
    }

    /// The last step known to be done. A console that has said something means that the kernel ran.
    pub(super) fn reached(&self, console: &str) -> &'static str {
        match self.now.get() {
            stage::ENGINE if !console.is_empty() => stage::KERNEL,
            now => now,
        }
    }
}

async fn wait_for_agent(
    machine: &mut Hosted,
    spec: &ShimSpec,
    owner: &Owner,
    signals: &mut Signals,
    step: &Steps<'_>,
) -> Result<Up, StartError> {
    let (thaw, opener) = (machine.thaw.take(), machine.opener.clone());
    let coming = async {
        let monitor = match thaw {
            Some(thaw) => {
                let monitor =
                    thaw.run().await.map_err(|error| StartError::Template { why: error.to_string() })?;
                step.done(stage::RESTORE);
                Some(monitor)
            }
            None => None,
        };
        Ok((bring_up(opener, spec, |name| step.done(name)).await?, monitor))
    };
    let end = tokio::select! {
        biased;
        came = coming => {
            let (up, monitor) = came?;
            if let Some(monitor) = monitor {
                machine.watch(monitor);
            }
            return Ok(up);
        }
        end = machine.process.ended() => end,
        gone = owner.gone() => {
            return Err(match gone {
                Ok(()) => StartError::OwnerGone,
                Err(source) => StartError::Plumbing { what: "the watch over the owner", source },
            });
        }
        name = signals.next() => return Err(StartError::Interrupted(name)),
        () = sleep(Duration::from_millis(spec.boot_deadline_ms)) => {
            return Err(StartError::AgentSilent { after_ms: spec.boot_deadline_ms });
        }
    };
    let engine = engine::of(spec.engine);
    Err(machine.explain(engine.as_ref(), end).await)
}

/// Boots once more with the kernel talking, for the console only. `None` when that gave nothing.
async fn autopsy(
    engine: &dyn Engine,
    spec: &ShimSpec,
    tsc_khz: u32,
    owner: &Owner,
    signals: &mut Signals,
) -> Option<String> {
    log!("boots once more for the console");
    let boot = Boot { verbosity: Verbosity::Full, tsc_khz };
    let mut machine = engine.launch(spec, boot).and_then(Hosted::adopt).ok()?;
    tokio::select! {
        _ = timeout(AUTOPSY, machine.process.ended()) => {}
        _ = owner.gone() => {}
        _ = signals.next() => {}
    }
    machine.process.kill();
    let _ = machine.process.ended().await;
    let told = machine.console.last_words().await;
    (!told.is_empty()).then_some(told)
}
