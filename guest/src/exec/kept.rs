//! How much output of commands that have ended is kept for those who have not taken it yet.
//!
//! Owns the bounds and what goes first. A stream that loses bytes here says so to whoever takes it.

use crate::exec::execution::Execution;

/// Bytes of output that ended commands may keep in all; less where the VM is small.
const KEPT: u64 = 16 * 1024 * 1024;
/// Part of the VM's memory that it may take.
const KEPT_SHARE: u64 = 32;
/// As above, of output besides that is promised to its first taker: as much as all those that are known can have.
const PROMISED: u64 = 128 * 1024 * 1024;
const PROMISED_SHARE: u64 = 8;

/// The bounds in one VM.
#[derive(Debug)]
pub(super) struct Budget {
    kept: u64,
    promised: u64,
}

impl Budget {
    /// For a VM with so much memory.
    pub(super) fn new(memory_bytes: u64) -> Self {
        Self {
            kept: KEPT.min(memory_bytes / KEPT_SHARE),
            promised: PROMISED.min(memory_bytes / PROMISED_SHARE),
        }
    }

    /// Gives up what the oldest hold above the bounds, but nothing of the one with the id `spared`.
    pub(super) fn keep_to<'a>(&self, newest_first: impl Iterator<Item = &'a Execution>, spared: &str) {
        let (mut kept, mut promised) = (0, 0);
        for execution in newest_first {
            for output in execution.outputs() {
                let held = output.held();
                let (sum, most) =
                    if held.is_promised { (&mut promised, self.promised) } else { (&mut kept, self.kept) };
                *sum += held.bytes as u64;
                if *sum > most && execution.id != spared {
                    output.forget();
                }
            }
        }
    }
}
