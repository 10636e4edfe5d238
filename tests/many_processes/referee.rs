//! Watches from outside, all the time, that no box has two machines.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use boxlite_test_utils::home::processes_below;

/// Box ids with the pids of the programs of this name that work in them.
fn programs_in(home: &Path, program: &str) -> Vec<(String, u32)> {
    processes_below(home)
        .into_iter()
        .filter_map(|(pid, cwd)| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            let id = cwd.file_name()?.to_str()?.to_owned();
            name.starts_with(program).then_some((id, pid))
        })
        .collect()
}

pub(crate) fn machines_in(home: &Path) -> Vec<(String, u32)> {
    programs_in(home, "qemu-system")
}

pub(crate) fn shims_in(home: &Path) -> Vec<(String, u32)> {
    programs_in(home, "boxlite-shim")
}

/// What the referee saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) violations: Vec<String>,
    /// Different machines.
    pub(crate) starts: usize,
    /// Machines that ran at the same time.
    pub(crate) most: usize,
}

/// A thread that looks.
#[derive(Debug)]
pub(crate) struct Referee {
    end: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Referee {
    pub(crate) fn start(home: &Path) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let (ended, home) = (end.clone(), home.to_owned());
        Self { end, thread: std::thread::spawn(move || watch(&home, &ended)) }
    }

    pub(crate) fn end(self) -> Seen {
        self.end.store(true, Ordering::Relaxed);
        self.thread.join().expect("the referee")
    }
}

fn watch(home: &Path, ended: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let mut known = HashSet::new();
    while !ended.load(Ordering::Relaxed) {
        let machines = machines_in(home);
        seen.most = seen.most.max(machines.len());
        for (at, (id, pid)) in machines.iter().enumerate() {
            let twin = machines[..at].iter().find(|(other, _)| other == id);
            // The first may have ended before the second began: both count only if the first is there still.
            if let Some((_, first)) = twin.filter(|(_, first)| works_in(home, id, *first)) {
                seen.violations.push(format!("box {id} has two machines, {first} and {pid}"));
            }
            known.insert((id.clone(), *pid));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    seen.starts = known.len();
    seen
}

fn works_in(home: &Path, id: &str, pid: u32) -> bool {
    let place: PathBuf = format!("/proc/{pid}/cwd").into();
    fs::read_link(place).is_ok_and(|cwd| cwd.ends_with(id) && cwd.starts_with(home))
}
