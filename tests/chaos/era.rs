//! An era: a new home, its rounds, and the end of the home when all of them went well.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::disk::SmallDisk;
use crate::home;
use crate::ledger::Ledger;
use crate::plan::Era;
use crate::processes;
use crate::round::{self, Played};

/// Where an era takes place.
pub(crate) struct Scene {
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
    pub(crate) home: PathBuf,
    /// Where its processes put what they call temporary.
    pub(crate) tmp: PathBuf,
    /// What its processes say on stderr.
    pub(crate) log: PathBuf,
    pub(crate) image: String,
    pub(crate) small_disk: Option<SmallDisk>,
    /// `/tmp` and `/dev/shm` are this run's own.
    pub(crate) private: bool,
}

impl Scene {
    fn new(base: &Path, era: &Era, image: &str, private: bool) -> Self {
        let name = format!("e{}", era.number);
        let directory = base.join(&name);
        // Of an earlier run that was cut off.
        let _ = fs::remove_dir_all(&directory);
        let [disk, tmp] = ["disk", "tmp"].map(|name| directory.join(name));
        for path in [&disk, &tmp] {
            fs::create_dir_all(path).expect("the era's directory can be made");
        }
        let small_disk =
            era.small_disk.then(|| SmallDisk::mount(&disk).expect("a small disk can be mounted"));
        let home = disk.join("home");
        let log = directory.join("stderr.log");
        Self { name, home, tmp, log, image: image.to_owned(), small_disk, private, directory }
    }

    pub(crate) fn left_in_tmp(&self) -> Vec<PathBuf> {
        fs::read_dir(&self.tmp).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    }
}

/// What a run asks of every era.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) base: &'a Path,
    pub(crate) image: &'a str,
    pub(crate) private: bool,
    pub(crate) seed: u64,
}

/// Plays an era until `enough` says so or an invariant is violated; each round is told to `played`.
pub(crate) fn live(
    ask: Ask<'_>,
    number: u64,
    enough: &dyn Fn() -> bool,
    played: &dyn Fn(usize, &Played, &Ledger),
) {
    let mut era = Era::new(ask.seed, number);
    if era.small_disk && !ask.private {
        // Only root can mount the disk; the plan's other injuries take the rounds.
        era = Era::without_small_disk(ask.seed, number);
    }
    let scene = Scene::new(ask.base, &era, ask.image, ask.private);
    let mut ledger = Ledger::default();
    let mut history = Vec::new();
    for (index, round) in era.rounds.iter().enumerate() {
        if enough() {
            break;
        }
        let mut result = round::play(&scene, round, index, &mut ledger);
        history.push(format!("round {index}: {round:?}"));
        history.append(&mut result.history);
        played(index, &result, &ledger);
        if !ledger.violations.is_empty() {
            let report = describe(ask, &scene, &ledger, &history, index);
            println!("{report}");
            keep(&scene, &report);
            end_processes(&ledger);
            return;
        }
    }
    end_processes(&ledger);
    drop(scene.small_disk);
    // The next era has a directory of its own; what stays is met by the next run.
    let _ = fs::remove_dir_all(&scene.directory);
}

/// Detached boxes that run at an era's end have nobody to remove them.
fn end_processes(ledger: &Ledger) {
    for process in processes::naming(&ledger.ids()) {
        processes::kill(&process);
    }
}

/// Everything that is needed to find out what went wrong.
fn describe(ask: Ask<'_>, scene: &Scene, ledger: &Ledger, history: &[String], round: usize) -> String {
    let mut text = format!("\n=== era {} is inconsistent after round {round}\n", scene.name);
    for violation in &ledger.violations {
        text.push_str(&format!("VIOLATION: {violation}\n"));
    }
    text.push_str(&format!(
        "seed: {}\nrepeat: make chaos SEED={} ERA={}\nkept: {}\n",
        ask.seed,
        ask.seed,
        &scene.name[1..],
        scene.directory.display()
    ));
    text.push_str("--- what happened\n");
    history.iter().for_each(|line| text.push_str(&format!("{line}\n")));
    text.push_str("--- processes\n");
    let mut ids: BTreeSet<String> = ledger.ids();
    ids.insert(scene.home.display().to_string());
    for process in processes::naming(&ids) {
        text.push_str(&format!("{} {:?} {}\n", process.pid, process.part, process.line));
    }
    text.push_str("--- the home\n");
    home::listing(&scene.home, 0, &mut text);
    for (title, path) in logs(scene) {
        text.push_str(&format!("--- {title}\n{}\n", tail(&path)));
    }
    text
}

fn logs(scene: &Scene) -> Vec<(String, PathBuf)> {
    let mut logs = vec![("stderr of the programs".to_owned(), scene.log.clone())];
    for entry in fs::read_dir(scene.home.join("boxes")).into_iter().flatten().flatten() {
        for name in ["shim.log", "console.log"] {
            let title = format!("{name} of {}", entry.file_name().to_string_lossy());
            logs.push((title, entry.path().join("logs").join(name)));
        }
    }
    logs
}

fn tail(path: &Path) -> String {
    let text = String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// The home stays for a person to look at. One on a small disk goes with the disk: it is copied.
fn keep(scene: &Scene, report: &str) {
    let _ = fs::write(scene.directory.join("violation.txt"), report);
    if scene.small_disk.is_some() {
        let copied = Command::new("cp")
            .args(["-a", "--sparse=always"])
            .arg(&scene.home)
            .arg(scene.directory.join("home-copy"))
            .status();
        println!("the home was copied from its small disk: {copied:?}");
    }
}
