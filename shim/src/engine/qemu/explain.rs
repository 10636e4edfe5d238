//! Turns QEMU's last words into an error that a person can act on.

use crate::engine::process::End;
use crate::supervisor::failure::{Shortage, StartError};

/// What QEMU or the C library says when something has run out, and what that was.
const SHORTAGES: [(&str, Shortage); 6] = [
    ("cannot set up guest memory", Shortage::Memory),
    ("Cannot allocate memory", Shortage::Memory),
    ("cannot allocate memory", Shortage::Memory),
    ("No space left on device", Shortage::Disk),
    ("Disk quota exceeded", Shortage::Disk),
    ("Too many open files", Shortage::Descriptors),
];

/// Why QEMU ended before the agent answered.
pub(super) fn explain(end: End, messages: String) -> StartError {
    let messages = messages.trim().to_owned();
    match SHORTAGES.iter().find(|(text, _)| messages.contains(text)) {
        Some((_, shortage)) => StartError::Shortage { shortage: *shortage, messages },
        None if end == End::Exited(0) => StartError::GuestDied,
        // QEMU says what it can't open or understand before the guest runs, and nothing after.
        None if end == End::Exited(1) && !messages.is_empty() => StartError::EngineRefused { messages },
        None => StartError::EngineDied { end, messages },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortages_are_recognised() {
        let memory = "qemu-system-x86_64: cannot set up guest memory 'microvm.ram': Cannot allocate memory\n";
        assert!(matches!(
            explain(End::Exited(1), memory.into()),
            StartError::Shortage { shortage: Shortage::Memory, .. }
        ));
        let disk = "qemu-system-x86_64: -blockdev x: Could not open: No space left on device";
        assert!(matches!(
            explain(End::Exited(1), disk.into()),
            StartError::Shortage { shortage: Shortage::Disk, .. }
        ));
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
