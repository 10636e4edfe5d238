//! What the host says of itself: which boot of which kernel this is (what was measured holds for that long), and how much
//! memory it has left.

use std::fs;

/// An id that is new with each boot.
pub(super) fn boot_id() -> Option<String> {
    line("/proc/sys/kernel/random/boot_id")
}

/// The kernel's release, as `uname -r` has it.
pub(super) fn kernel_release() -> Option<String> {
    line("/proc/sys/kernel/osrelease")
}

/// Bytes of memory that programs could still get.
pub(crate) fn available_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

fn line(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}
