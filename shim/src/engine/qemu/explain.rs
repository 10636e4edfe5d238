//! Turns QEMU's last words into an error that a person can act on.

use crate::engine::process::End;
use crate::engine::shortage;
use crate::supervisor::failure::StartError;

/// Why QEMU ended before the agent answered.
pub(super) fn explain(end: End, messages: String) -> StartError {
    let messages = messages.trim().to_owned();
    match shortage::told_by(&messages) {
        Some(shortage) => StartError::Shortage { shortage, messages },
        None if end == End::Exited(0) => StartError::GuestDied,
        // QEMU says what it can't open or understand before the guest runs, and nothing after.
        None if end == End::Exited(1) && !messages.is_empty() => StartError::EngineRefused { messages },
        None => StartError::EngineDied { end, messages },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::failure::Shortage;

    #[test]
    fn a_shortage_counts_whatever_the_exit_code() {
        let memory = "qemu-system-x86_64: cannot set up guest memory 'microvm.ram': Cannot allocate memory\n";
        for end in [End::Exited(1), End::Exited(0)] {
            assert!(matches!(
                explain(end, memory.into()),
                StartError::Shortage { shortage: Shortage::Memory, .. }
            ));
        }
    }

    #[test]
    fn a_guest_that_ends_is_not_an_engine_that_fails() {
        assert!(matches!(explain(End::Exited(0), String::new()), StartError::GuestDied));
        assert!(matches!(
            explain(End::Exited(1), "qemu-system-x86_64: invalid kernel header".into()),
            StartError::EngineRefused { .. }
        ));
        assert!(matches!(
            explain(End::Exited(1), String::new()),
            StartError::EngineDied { end: End::Exited(1), .. }
        ));
        assert!(matches!(
            explain(End::Signalled(11), String::new()),
            StartError::EngineDied { end: End::Signalled(11), .. }
        ));
    }
}
