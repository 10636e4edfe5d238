//! All processes of a box, found by the box id that each carries in its argv.

use std::fs;
use std::time::{Duration, Instant};

use crate::model::id::BoxID;
use crate::util::is_process_alive;

/// Pids of the living processes that carry `id` as a word of their argv and are parts of ours: the shim, its engine.
pub(crate) fn processes_of(id: &BoxID) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != std::process::id() && belongs_to(*pid, id) && is_process_alive(*pid))
        .collect()
}

fn belongs_to(pid: u32, id: &BoxID) -> bool {
    let Ok(cmdline) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    if cmdline.is_empty() {
        return is_leaving(pid, id);
    }
    let mut words = cmdline.split(|byte| *byte == 0);
    let program = words.next().unwrap_or_default();
    let program = program.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    // A stranger may name the id too (`grep`, `tail` of a log): only our own programs count.
    is_ours(program) && words.any(|word| word == id.as_str().as_bytes())
}

fn is_ours(program: &[u8]) -> bool {
    program.starts_with(b"boxlite-shim") || program.starts_with(b"qemu-system")
}

/// A process that ends has lost its memory, and with it its argv, some time before its open files (the disks) and its
/// working directory, which is the box's.
fn is_leaving(pid: u32, id: &BoxID) -> bool {
    let Ok(directory) = fs::read_link(format!("/proc/{pid}/cwd")) else { return false };
    let name = directory.file_name().unwrap_or_default().as_encoded_bytes();
    let name = name.strip_suffix(b" (deleted)").unwrap_or(name);
    name == id.as_str().as_bytes() && fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| is_ours(&name))
}

/// Kills what is left of a box whose shim has ended, and returns when nothing is. The engine dies with its shim
/// (PDEATHSIG), so this mostly only looks. Blocking.
pub(crate) fn reap_tree(id: &BoxID, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_micros(500);
    loop {
        let left = processes_of(id);
        if left.is_empty() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        for pid in left {
            // SAFETY: kill takes two integers. The pid was seen carrying this box's id a moment ago.
            unsafe { libc::kill(pid as libc::pid_t, libc::SIGKILL) };
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}
