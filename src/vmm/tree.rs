//! All processes of a box, found by the box id that each carries in its argv. A copy of a home has boxes of the same ids:
//! a process that works in another box directory of that name is not ours.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::model::id::BoxID;
use crate::util::is_process_alive;

/// Begins the name of a shim's program.
const SHIM: &[u8] = b"boxlite-shim";

/// Pids of the living processes that carry `id` as a word of their argv and are parts of ours: the shim, its engine.
pub(crate) fn processes_of(id: &BoxID, dir: &Path) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != std::process::id() && belongs_to(*pid, id, dir) && is_process_alive(*pid))
        .collect()
}

/// Whether `pid` is a living shim of the box.
pub(super) fn is_shim(pid: u32, id: &BoxID, dir: &Path) -> bool {
    is_process_alive(pid)
        && belongs_to(pid, id, dir)
        && fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with(SHIM))
}

fn belongs_to(pid: u32, id: &BoxID, dir: &Path) -> bool {
    let Ok(cmdline) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    if cmdline.is_empty() {
        return is_leaving(pid, id, dir) && !works_elsewhere(pid, id, dir);
    }
    let mut words = cmdline.split(|byte| *byte == 0);
    let program = words.next().unwrap_or_default();
    let program = program.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    // A stranger may name the id too (`grep`, `tail` of a log): only our own programs count.
    is_ours(program) && words.any(|word| word == id.as_str().as_bytes()) && !works_elsewhere(pid, id, dir)
}

/// Whether the process works in a box directory of this id that is not `dir`, under whatever path. One that has only just
/// been forked doesn't work in any yet.
fn works_elsewhere(pid: u32, id: &BoxID, dir: &Path) -> bool {
    let cwd = format!("/proc/{pid}/cwd");
    let Ok(path) = fs::read_link(&cwd) else { return false };
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    if path == dir || name != id.as_str().as_bytes() {
        return false;
    }
    match (fs::metadata(&cwd), fs::metadata(dir)) {
        (Ok(there), Ok(here)) => (there.dev(), there.ino()) != (here.dev(), here.ino()),
        (Ok(_), Err(_)) => true,
        (Err(_), _) => false,
    }
}

/// What libkrun calls the process it runs in; its argv stays ours.
const LIBKRUN_NAME: &[u8] = b"libkrun VM";

fn is_ours(program: &[u8]) -> bool {
    program.starts_with(SHIM) || program.starts_with(b"qemu-system")
}

/// A process that ends has lost its memory, and with it its argv, some time before its open files (the disks) and its
/// working directory, which is the box's; that of a template's maker has a longer name than the id.
fn is_leaving(pid: u32, id: &BoxID, dir: &Path) -> bool {
    let Ok(directory) = fs::read_link(format!("/proc/{pid}/cwd")) else { return false };
    let name = directory.file_name().unwrap_or_default().as_encoded_bytes();
    let name = name.strip_suffix(b" (deleted)").unwrap_or(name);
    let is_named_ours = |name: Vec<u8>| is_ours(&name) || name.starts_with(LIBKRUN_NAME);
    let is_there =
        name == id.as_str().as_bytes() || dir.file_name().is_some_and(|dir| name == dir.as_encoded_bytes());
    is_there && fs::read(format!("/proc/{pid}/comm")).is_ok_and(is_named_ours)
}

/// Kills what is left of a box whose shim has ended, and returns when nothing is. The engine dies with its shim
/// (PDEATHSIG), so this mostly only looks. Blocking.
pub(crate) fn reap_tree(id: &BoxID, dir: &Path, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_micros(500);
    loop {
        let left = processes_of(id, dir);
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
