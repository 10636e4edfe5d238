//! What a runtime and its boxes have done and what they take.
//!
//! Owns the counters and puts the figures together; counting is done where things happen.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use boxlite_proto::agent::Empty;
use boxlite_proto::agent_ttrpc::AgentClient;

use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::executor;
use crate::litebox::core::Core;
use crate::litebox::live::LiveBox;
use crate::litebox::{LiteBox, executions};
use crate::model::types::{StartCounts, StartStage};
use crate::portal;
use crate::vmm::{self, Usage};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one runtime has done since it was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) boxes_created: Counter,
    pub(crate) boxes_failed: Counter,
    pub(crate) boxes_stopped: Counter,
    pub(crate) commands: CommandCounters,
}

/// Commands of one runtime, or of one run of a box through it.
#[derive(Debug, Default)]
pub(crate) struct CommandCounters {
    pub(crate) started: Counter,
    pub(crate) failed: Counter,
}

/// What a runtime has done since it was opened. Totals never decrease, and count what was done through this runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeMetrics {
    boxes_created: u64,
    boxes_failed: u64,
    boxes_stopped: u64,
    running: u64,
    commands: u64,
    exec_errors: u64,
    starts: StartCounts,
}

impl RuntimeMetrics {
    pub(crate) fn of(core: &Core) -> Self {
        let counters = &core.counters;
        Self {
            boxes_created: counters.boxes_created.read(),
            boxes_failed: counters.boxes_failed.read(),
            boxes_stopped: counters.boxes_stopped.read(),
            running: core.all_live().iter().filter(|live| !live.process().has_ended()).count() as u64,
            commands: counters.commands.started.read(),
            exec_errors: counters.commands.failed.read(),
            starts: core.start_counts(),
        }
    }

    /// Boxes created.
    pub fn boxes_created_total(&self) -> u64 {
        self.boxes_created
    }

    /// Starts of boxes that failed.
    pub fn boxes_failed_total(&self) -> u64 {
        self.boxes_failed
    }

    /// Boxes stopped, by a call or a shutdown.
    pub fn boxes_stopped_total(&self) -> u64 {
        self.boxes_stopped
    }

    /// Boxes that run now and that this runtime started or has taken up.
    pub fn num_running_boxes(&self) -> u64 {
        self.running
    }

    /// Commands started in all boxes.
    pub fn total_commands_executed(&self) -> u64 {
        self.commands
    }

    /// Commands that could not be started.
    pub fn total_exec_errors(&self) -> u64 {
        self.exec_errors
    }

    /// How boxes were started.
    pub fn starts(&self) -> StartCounts {
        self.starts
    }
}

/// What a running box takes, and what was done in it through this runtime since it was started or taken up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoxMetrics {
    commands: u64,
    exec_errors: u64,
    stages: Vec<StartStage>,
    host: Usage,
    disk_bytes: u64,
    guest: Guest,
}

/// As the agent sees the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Guest {
    processes: u32,
    memory_used: u64,
    memory_total: u64,
}

impl BoxMetrics {
    async fn of(core: &Core, live: Arc<LiveBox>) -> BoxliteResult<Self> {
        let call = |agent: AgentClient| async move { agent.info(portal::patient(), &Empty::default()).await };
        let info = match live.portal().call("info", call).await {
            Ok(info) => info,
            Err(error) => return Err(live.explain(error).await),
        };
        let guest = Guest {
            processes: info.processes,
            memory_used: info.memory_used_bytes,
            memory_total: info.memory_total_bytes,
        };
        let paths = core.layout.of_box(live.id());
        executor::blocking(move || {
            Ok(Self {
                commands: live.commands().started.read(),
                exec_errors: live.commands().failed.read(),
                stages: live.stages().to_vec(),
                host: vmm::usage_of(live.id(), paths.dir()),
                // Sparse: what it takes, not what it may grow to.
                disk_bytes: paths.box_disk().metadata().map_or(0, |disk| disk.blocks() * 512),
                guest,
            })
        })
        .await
    }

    /// Commands started in it.
    pub fn commands_executed_total(&self) -> u64 {
        self.commands
    }

    /// Commands that could not be started in it.
    pub fn exec_errors_total(&self) -> u64 {
        self.exec_errors
    }

    /// What its start took, image and all; `None` when this runtime did not start it.
    pub fn total_create_duration_ms(&self) -> Option<u128> {
        self.took(|_| true)
    }

    /// What its start took from the engine to the agent's answer; `None` when this runtime did not start it.
    pub fn guest_boot_duration_ms(&self) -> Option<u128> {
        self.took(|stage| ["engine", "restore", "kernel", "agent", "configure"].contains(&stage))
    }

    fn took(&self, counts: impl Fn(&str) -> bool) -> Option<u128> {
        // What the agent tells of its own lies within the steps of the host.
        let own = |stage: &&StartStage| !stage.name.starts_with("agent/") && counts(&stage.name);
        (!self.stages.is_empty())
            .then(|| self.stages.iter().filter(own).map(|stage| stage.took).sum::<Duration>().as_millis())
    }

    /// Memory of the host that its processes take, pages shared with others counted by their share.
    pub fn memory_bytes(&self) -> Option<u64> {
        (self.host.processes > 0).then_some(self.host.memory_bytes)
    }

    /// Time that the host's CPUs have spent on it since it was started.
    pub fn cpu_time(&self) -> Duration {
        self.host.cpu_time
    }

    /// Bytes of the host's disk that its writable disk takes.
    pub fn disk_bytes(&self) -> u64 {
        self.disk_bytes
    }

    /// Processes of its commands.
    pub fn processes(&self) -> u32 {
        self.guest.processes
    }

    /// Memory in use in it, in bytes.
    pub fn guest_memory_used(&self) -> u64 {
        self.guest.memory_used
    }

    /// Memory that there is in it, in bytes.
    pub fn guest_memory_total(&self) -> u64 {
        self.guest.memory_total
    }
}

impl LiteBox {
    /// What the box takes now, and what was done in it. Doesn't start it.
    ///
    /// # Errors
    /// `InvalidState` when it does not run; `Stopped` after [`LiteBox::stop`] or the runtime's shutdown; `NotFound` when
    /// it was removed; and what calls to the box come to.
    pub async fn metrics(&self) -> BoxliteResult<BoxMetrics> {
        self.check_usable()?;
        let sandbox = self.clone();
        self.core
            .run(async move {
                let live = executions::running(&sandbox).await?.ok_or_else(|| does_not_run(&sandbox))?;
                BoxMetrics::of(&sandbox.core, live).await
            })
            .await
    }
}

fn does_not_run(sandbox: &LiteBox) -> BoxliteError {
    BoxliteError::InvalidState(
        Detail::new(format!("box {} does not run: it takes nothing", sandbox.id))
            .subject(sandbox.id.as_str())
            .hint("start the box first"),
    )
}
