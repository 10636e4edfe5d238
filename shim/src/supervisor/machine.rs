//! A running machine with everything the supervisor has attached to it: channel, console, monitor.
//!
//! Owns the attachments and the way up; when and why a machine ends is `life`'s to decide.

use std::io;
use std::path::Path;
use std::time::Duration;

use boxlite_proto::agent::ConfigureResponse;
use boxlite_proto::serial;
use boxlite_proto::shim::{Course, Progress, ShimSpec, files};
use tokio::task::JoinHandle;
use yamux::ConnectionError;

use super::agent::{Calls, Events, greet};
use super::channel::{self, Opener};
use super::failure::StartError;
use super::log::log;
use super::tail::{ConsoleLog, Sink, Tail};
use crate::engine::process::{End, Process};
use crate::engine::qemu::monitor::Monitor;
use crate::engine::qemu::qmp::{self, Commands, Control, Notice, QmpError};
use crate::engine::{Engine, Frozen, Machine};

/// How long a machine whose channel has failed may take to end; then the channel's failure is all there is to tell.
const DEATH_THROES: Duration = Duration::from_secs(2);

/// A machine as the supervisor holds it.
pub(crate) struct Hosted {
    pub(crate) process: Process,
    pub(crate) opener: Opener,
    /// Ends with the channel.
    pub(crate) channel: JoinHandle<ConnectionError>,
    pub(crate) console: Tail,
    messages: Tail,
    /// None for an engine that has none, and while a claim has it.
    pub(crate) monitor: Option<Monitor>,
    /// What is still to be done before the guest runs.
    pub(crate) thaw: Option<Thaw>,
}

/// The restoring of a template's machine.
pub(crate) struct Thaw {
    monitor: (qmp::Events, Commands),
    frozen: Frozen,
}

impl Thaw {
    /// Restores the machine and lets it run. What is given back is for [`Hosted::watch`].
    pub(crate) async fn run(self) -> Result<(qmp::Events, Commands), QmpError> {
        let mut control = Control::begin(self.monitor).await?;
        control.restore(self.frozen.state).await?;
        if let Some(bytes) = self.frozen.box_disk {
            control.announce_size(serial::BOX, bytes).await?;
        }
        control.go_on().await?;
        Ok(control.release())
    }
}

/// The agent, once it has answered.
pub(crate) struct Up {
    pub(crate) events: Events,
    pub(crate) calls: Calls,
    pub(crate) configured: ConfigureResponse,
}

/// Steps of a start, for reports.
pub(crate) mod stage {
    pub(crate) const PREPARE: &str = "prepare";
    pub(crate) const ENGINE: &str = "engine";
    pub(crate) const RESTORE: &str = "restore";
    pub(crate) const KERNEL: &str = "kernel";
    pub(crate) const AGENT: &str = "agent";
    pub(crate) const CONFIGURE: &str = "configure";
    pub(crate) const WARM_UP: &str = "warm-up";
    pub(crate) const FREEZE: &str = "freeze";
    /// The agent's own steps that a clone's template has done.
    pub(crate) const OF_THE_TEMPLATE: [&str; 3] = ["kernel", "agent", "channel"];
}

impl Hosted {
    /// Attaches to what the engine has started. Needs the runtime.
    pub(crate) fn adopt(machine: Machine) -> Result<Self, StartError> {
        let plumbing = |what| move |source: io::Error| StartError::Plumbing { what, source };
        let console_log = Path::new(files::LOGS).join(files::CONSOLE_LOG);
        let console_log = ConsoleLog::open(&console_log).map_err(plumbing("the console log"))?;
        let console =
            Tail::start(machine.console, Sink::Console(console_log)).map_err(plumbing("the console"))?;
        let messages =
            Tail::start(machine.messages, Sink::ShimLog).map_err(plumbing("the engine's messages"))?;
        let (opener, channel) =
            channel::start(machine.agent).map_err(plumbing("the channel to the agent"))?;
        let monitor =
            machine.monitor.map(qmp::connect).transpose().map_err(plumbing("the engine's monitor"))?;
        let mut hosted =
            Self { process: machine.process, opener, channel, console, messages, monitor: None, thaw: None };
        match (monitor, machine.frozen) {
            (Some(monitor), Some(frozen)) => hosted.thaw = Some(Thaw { monitor, frozen }),
            (Some(monitor), None) => hosted.watch(monitor),
            (None, _) => {}
        }
        Ok(hosted)
    }

    /// Reads QEMU's events for as long as it lives, and logs those that tell something.
    pub(crate) fn watch(&mut self, monitor: (qmp::Events, Commands)) {
        self.monitor = Some(Monitor::watch(monitor, |notice| match notice {
            Notice::Shutdown { reason } => log!("the machine ends: {reason}"),
            Notice::GuestPanicked => log!("the guest's kernel has panicked"),
            Notice::Refused { why } => log!("the engine refused a command: {why}"),
            Notice::Done | Notice::Migrated { .. } | Notice::Other => {}
        }));
    }

    /// Asks the engine to end the machine at once, flushing what is written.
    pub(crate) async fn quit(&mut self) {
        if let Some(monitor) = &mut self.monitor
            && let Err(error) = monitor.quit().await
        {
            log!("the engine's monitor does not take `quit`: {error}");
        }
    }

    /// What the machine's end during the start means.
    pub(crate) async fn explain(&mut self, engine: &dyn Engine, end: io::Result<End>) -> StartError {
        match end {
            Ok(end) => engine.explain(end, self.messages.last_words().await),
            Err(source) => StartError::Plumbing { what: "the watch over the engine", source },
        }
    }

    /// The channel has failed: usually since the machine is dying, and then that is the reason to tell.
    pub(crate) async fn explain_channel(&mut self, engine: &dyn Engine, failure: StartError) -> StartError {
        match tokio::time::timeout(DEATH_THROES, self.process.ended()).await {
            Ok(end) => self.explain(engine, end).await,
            Err(_still_alive) => failure,
        }
    }
}

/// From a running kernel to a configured agent. `reached` hears of each step as it is done.
pub(crate) async fn bring_up(
    opener: Opener,
    spec: &ShimSpec,
    mut reached: impl FnMut(&'static str),
) -> Result<Up, StartError> {
    let events = greet(&opener).await?;
    reached(stage::AGENT);
    let calls = Calls::open(&opener).await?;
    let configured = match spec.course {
        Course::Clone { progress: Progress::SetUp, .. } => calls.take_over(spec).await?,
        Course::Boot | Course::Clone { .. } | Course::Freeze { .. } => calls.configure(spec).await?,
    };
    reached(stage::CONFIGURE);
    Ok(Up { events, calls, configured })
}
