//! What a caller is told about boxes.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::id::BoxID;

/// A box's status as callers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BoxStatus {
    /// Not known (an unreadable record).
    Unknown,
    /// Created, never started.
    Configured,
    /// Its VM runs.
    Running,
    /// Being stopped.
    Stopping,
    /// Not running; can be started.
    Stopped,
    /// Its vCPUs stand still.
    Paused,
    /// Ended by a fault; `BoxInfo::failure` says which. Can be started again.
    Failed,
}

impl BoxStatus {
    /// Whether the box has a VM.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Running | Self::Stopping | Self::Paused)
    }

    /// The status in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Configured => "configured",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Paused => "paused",
            Self::Failed => "failed",
        }
    }
}

/// Result of the health check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthStatus {
    /// No check is configured.
    #[default]
    None,
    /// No result yet.
    Starting,
    /// The last check passed.
    Healthy,
    /// Too many checks failed.
    Unhealthy,
}

/// One step of a start and what it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartStage {
    /// `pull`, `image-disk`, `box-disk`, `shim`, `boot`, `configure`, …
    pub name: String,
    /// Its duration.
    pub took: Duration,
}

/// A box at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BoxInfo {
    /// Its id.
    pub id: BoxID,
    /// Its name.
    pub name: Option<String>,
    /// Its status.
    pub status: BoxStatus,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When its record last changed.
    pub last_updated: DateTime<Utc>,
    /// When it was last started.
    pub started_at: Option<DateTime<Utc>>,
    /// Its shim's process id while it runs.
    pub pid: Option<u32>,
    /// Its image, as asked for.
    pub image: String,
    /// vCPUs.
    pub cpus: u8,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Size of the writable disk in GiB.
    pub disk_size_gb: u64,
    /// Labels.
    pub labels: HashMap<String, String>,
    /// Result of the health check.
    pub health_status: HealthStatus,
    /// Whether it is removed when it stops.
    pub auto_remove: bool,
    /// Whether it outlives its runtime.
    pub detach: bool,
    /// Why it failed, when `status` is `Failed`.
    pub failure: Option<String>,
    /// Exit code of the main command, once it has ended.
    pub exit_code: Option<i32>,
    /// Which engine runs it.
    pub engine: Option<String>,
    /// Steps of the last start this runtime made, in order.
    pub start_stages: Vec<StartStage>,
}
