//! What a caller is told about boxes.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::id::BoxID;

/// A box's status as callers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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
    const ALL: [Self; 7] = [
        Self::Unknown,
        Self::Configured,
        Self::Running,
        Self::Stopping,
        Self::Stopped,
        Self::Paused,
        Self::Failed,
    ];

    /// Whether the box has a VM that is not on its way down.
    pub fn is_active(&self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }

    /// Whether it is [`BoxStatus::Running`].
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running)
    }

    /// Whether it is [`BoxStatus::Configured`].
    pub fn is_configured(&self) -> bool {
        matches!(self, Self::Configured)
    }

    /// Whether it is [`BoxStatus::Stopped`].
    pub fn is_stopped(&self) -> bool {
        matches!(self, Self::Stopped)
    }

    /// Whether it is [`BoxStatus::Paused`].
    pub fn is_paused(&self) -> bool {
        matches!(self, Self::Paused)
    }

    /// Whether it will change without anybody's doing.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Stopping)
    }

    /// The status in lower case.
    pub fn as_str(&self) -> &'static str {
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

impl fmt::Display for BoxStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for BoxStatus {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(())
    }
}

/// What the health check found so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthStatus {
    /// Its verdict.
    pub state: HealthState,
    /// Failures in a row.
    pub failures: u32,
    /// When it last ran.
    pub last_check: Option<DateTime<Utc>>,
}

/// The health check's verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthState {
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

/// How a runtime has started boxes so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StartCounts {
    /// Boxes whose machine was booted.
    pub booted: u64,
    /// Boxes whose machine was cloned from a template.
    pub cloned: u64,
    /// Boxes that were claimed from the spares: machines that had been made ahead.
    pub claimed: u64,
    /// Those of them whose spare had another image, which was swapped for theirs.
    #[serde(default)]
    pub swapped: u64,
    /// Spares that were made.
    pub spares_made: u64,
    /// Spares that could not be used; their boxes were cloned or booted.
    pub spares_refused: u64,
    /// Spares that are ready now.
    pub spares_ready: u64,
    /// Templates that were made.
    pub templates_made: u64,
    /// Templates that could not be used and were deleted; their boxes booted.
    pub templates_refused: u64,
}

/// One step of a start and what it took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartStage {
    /// `pull`, `image-disk`, `box-disk`, `shim`, `boot`, `configure`, …
    pub name: String,
    /// Its duration.
    pub took: Duration,
}

/// A box at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Which engine runs it, or ran it last: `libkrun`, `qemu-kvm` or `qemu-tcg` (software emulation).
    pub engine: Option<String>,
    /// Steps of the last start this runtime made, in order.
    pub start_stages: Vec<StartStage>,
}

/// An image of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageInfo {
    /// The normalised reference, such as `docker.io/library/alpine:latest`.
    pub reference: String,
    /// The reference without tag and digest.
    pub repository: String,
    /// The tag; empty when the image was pulled by its digest.
    pub tag: String,
    /// The manifest's digest.
    pub id: String,
    /// When it was stored.
    pub cached_at: DateTime<Utc>,
    /// Bytes of config and layers as stored.
    pub size: Option<Bytes>,
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl Bytes {
    /// The number.
    pub const fn as_bytes(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_back_from_its_name() {
        for status in BoxStatus::ALL {
            assert_eq!(status.to_string().parse(), Ok(status));
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
        assert_eq!("Running".parse::<BoxStatus>(), Err(()));
    }
}
