//! The life of a box as types: its states, the acts that lead from one to the next, and who may make them.
//!
//! ```text
//!            begin_start           settle_running
//!  AtRest ───────────────▶ Starting ─────────────▶ Running
//!  (configured, stopped,      │                       │
//!   failed)                   │ begin_stop            │ begin_stop
//!     ▲                       ▼                       ▼
//!     └──────────────────── Stopping ◀────────────────┘      come_to_rest: also from Starting (rolled back)
//!        come_to_rest                                        and Running (found dead)
//!
//!  AtRest, Running ── found_running ──▶ Running (a VM that the row knows nothing of, or by another pid)
//!  any state ── begin_remove ──▶ Removing ── forget ──▶ no row
//! ```
//!
//! A transition is a method of [`Held`] in its state, so one that isn't drawn doesn't compile. Only who has the box's
//! lock has a `Held`. Acts are recorded before they begin and settled after: who finds the record of an unfinished act,
//! with the lock in hand, knows that its process is gone. Owns the states; the transitions are `held`'s.

/// Where a box stands in its life, as recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BoxState {
    /// Created, never started.
    Configured,
    /// A start is under way.
    Starting,
    /// The VM runs.
    Running,
    /// A stop is under way.
    Stopping,
    /// Not running.
    Stopped,
    /// Ended by a fault.
    Failed,
    /// Being deleted.
    Removing,
}

impl BoxState {
    const ALL: [Self; 7] = [
        Self::Configured,
        Self::Starting,
        Self::Running,
        Self::Stopping,
        Self::Stopped,
        Self::Failed,
        Self::Removing,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Removing => "removing",
        }
    }

    pub(super) fn from_sql(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether a shim may be alive.
    pub(crate) fn is_active(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Stopping)
    }
}

/// No shim, nothing under way: configured, stopped or failed.
#[derive(Debug)]
pub(crate) enum AtRest {}
/// A start is under way, or its process was killed.
#[derive(Debug)]
pub(crate) enum Starting {}
/// The VM runs, or ran until its shim was killed.
#[derive(Debug)]
pub(crate) enum Running {}
/// A stop is under way, or its process was killed.
#[derive(Debug)]
pub(crate) enum Stopping {}
/// A removal is under way, or its process was killed.
#[derive(Debug)]
pub(crate) enum Removing {}

/// A state that an act leads to.
pub(super) trait Reached {
    const STATE: BoxState;
}

impl Reached for Starting {
    const STATE: BoxState = BoxState::Starting;
}
impl Reached for Running {
    const STATE: BoxState = BoxState::Running;
}
impl Reached for Stopping {
    const STATE: BoxState = BoxState::Stopping;
}
impl Reached for Removing {
    const STATE: BoxState = BoxState::Removing;
}

/// A state in which a shim may be alive.
pub(crate) trait Active {}
impl Active for Starting {}
impl Active for Running {}
impl Active for Stopping {}

/// A state in which a VM may be found that is not recorded as it is.
pub(crate) trait Findable {}
impl Findable for AtRest {}
impl Findable for Running {}
