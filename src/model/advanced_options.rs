//! Settings of a box that few callers touch.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How the host side of a box is confined.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SecurityOptions {}

/// A command run in the box from time to time to tell whether it is healthy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthCheckOptions {
    /// Time between two checks.
    pub interval: Duration,
    /// Time one check may take.
    pub timeout: Duration,
    /// Failures in a row until the box counts as unhealthy.
    pub retries: u32,
    /// Time after the start in which failures don't count.
    pub start_period: Duration,
}

impl Default for HealthCheckOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(10),
            retries: 3,
            start_period: Duration::from_secs(60),
        }
    }
}

/// Settings of a box that few callers touch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AdvancedBoxOptions {
    /// Confinement on the host.
    pub security: SecurityOptions,
    /// Kept for callers of 0.9: a box's mounts are always its own.
    pub isolate_mounts: bool,
    /// Health check.
    pub health_check: Option<HealthCheckOptions>,
}
