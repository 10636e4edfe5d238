//! Which error an operation may meet while others are at the same boxes. Any other is a defect.

use std::time::Duration;

use boxlite::BoxliteError;

/// What a worker can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    Create,
    Start,
    Exec,
    Stop,
    Remove,
    List,
    Get,
    Pull,
}

impl Operation {
    /// With the part of each in a hundred. Most need no machine: a start takes a second of one core.
    pub(crate) const ALL: [(Self, u64); 8] = [
        (Self::Create, 18),
        (Self::Start, 6),
        (Self::Exec, 16),
        (Self::Stop, 6),
        (Self::Remove, 11),
        (Self::List, 12),
        (Self::Get, 20),
        (Self::Pull, 11),
    ];

    /// Whether `error` is right for this operation on a box that others use, too.
    pub(crate) fn may_fail_with(self, error: &BoxliteError, after: Duration) -> bool {
        match (self, error) {
            // Another had the name first.
            (Self::Create, BoxliteError::AlreadyExists(_)) => true,
            // Another removed it between the look and the act.
            (Self::Start | Self::Exec | Self::Stop | Self::Remove, BoxliteError::NotFound(_)) => true,
            // Another stopped it while the command was started or ran.
            (Self::Exec, BoxliteError::Stopped(_)) => true,
            (Self::Remove, BoxliteError::InvalidState(text)) => text.contains("cannot remove"),
            // The host had no time for its machine.
            (Self::Start | Self::Exec, BoxliteError::Engine(text)) => {
                after >= Duration::from_secs(29) && text.contains("did not answer")
            }
            // Never before its time.
            (Self::Start | Self::Exec | Self::Stop | Self::Remove, BoxliteError::Busy(text)) => {
                after >= Duration::from_secs(29) && text.contains("process")
            }
            _ => false,
        }
    }
}
