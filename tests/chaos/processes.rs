//! The process table, as far as boxes are concerned: who carries a box's id in its arguments.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Shim,
    Engine,
    /// Neither: nobody else has any business with the id.
    Stranger,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Process {
    pub(crate) id: String,
    pub(crate) part: Part,
    pub(crate) pid: u32,
    pub(crate) line: String,
}

/// Every living process that names one of `ids` anywhere in its arguments.
pub(crate) fn naming(ids: &BTreeSet<String>) -> Vec<Process> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir("/proc") else { return found };
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // Empty for a kernel's thread, for a zombie, and for a process that has let go of its memory to end.
        let Ok(arguments) = fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&arguments).replace('\0', " ");
        let Some(id) = ids.iter().find(|id| line.contains(id.as_str())) else { continue };
        let mut words = line.split(' ');
        let program = words.next().unwrap_or_default();
        let part = match program.rsplit('/').next().unwrap_or_default() {
            // libkrun's machine runs in a process of the shim's program.
            "boxlite-shim" if words.next() == Some("vm") => Part::Engine,
            "boxlite-shim" => Part::Shim,
            name if name.starts_with("qemu-system") => Part::Engine,
            _ => Part::Stranger,
        };
        found.push(Process { id: id.clone(), part, pid, line });
    }
    found.sort();
    found
}

/// Where living processes work that make a template of this home, or are a spare of it.
pub(crate) fn ahead_of_time(home: &Path) -> Vec<PathBuf> {
    let Ok(home) = fs::canonicalize(home) else { return Vec::new() };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let places = entries.filter_map(|entry| fs::read_link(entry.path().join("cwd")).ok());
    let ahead = [home.join("templates"), home.join("spares")];
    places.filter(|place| ahead.iter().any(|root| place.starts_with(root))).collect()
}

/// Kills the process, if it still is what it was.
pub(crate) fn kill(process: &Process) -> bool {
    let now = fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
    if !String::from_utf8_lossy(&now).contains(&process.id) {
        return false;
    }
    // SAFETY: kill takes two integers; the pid was seen a moment ago with the id of a box of ours.
    unsafe { libc::kill(process.pid as libc::pid_t, libc::SIGKILL) == 0 }
}
