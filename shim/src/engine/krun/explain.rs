//! Turns the end of the machine's process, and its last words, into an error that a person can act on.

use super::vm::REFUSED;
use crate::engine::process::End;
use crate::engine::shortage;
use crate::supervisor::failure::StartError;

/// Why the process ended before the agent answered.
pub(super) fn explain(end: End, messages: String) -> StartError {
    let messages = messages.trim().to_owned();
    match shortage::told_by(&messages) {
        Some(shortage) => StartError::Shortage { shortage, messages },
        None if end == End::Exited(0) => StartError::GuestDied,
        None if end == End::Exited(REFUSED) => StartError::EngineRefused { messages },
        None => StartError::EngineDied { end, messages },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::failure::Shortage;

    #[test]
    fn ends_are_told_apart() {
        assert!(matches!(explain(End::Exited(0), String::new()), StartError::GuestDied));
        let said = || "boxlite-shim vm: cannot attach the disk box.qcow2\n".to_owned();
        assert!(matches!(explain(End::Exited(REFUSED), said()), StartError::EngineRefused { .. }));
        assert!(matches!(explain(End::Signalled(6), said()), StartError::EngineDied { .. }));
        let memory = "Building the microVM failed: GuestMemoryMmap(Cannot allocate memory (os error 12))";
        assert!(matches!(
            explain(End::Exited(REFUSED), memory.into()),
            StartError::Shortage { shortage: Shortage::Memory, .. }
        ));
    }
}
