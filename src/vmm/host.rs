//! Which boot of which kernel this is: what was measured holds for that long.

use std::fs;

/// An id that is new with each boot.
pub(super) fn boot_id() -> Option<String> {
    line("/proc/sys/kernel/random/boot_id")
}

/// The kernel's release, as `uname -r` has it.
pub(super) fn kernel_release() -> Option<String> {
    line("/proc/sys/kernel/osrelease")
}

fn line(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}
