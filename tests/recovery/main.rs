//! What a new runtime makes of an old home, and what a running one makes of files that change under it: on real boxes.

mod database;
mod ends;
mod left_over;
mod pid_file;
#[path = "../support/processes.rs"]
mod processes;
mod repair;
#[path = "../support/small_box.rs"]
mod small_box;
#[path = "../support/waiting.rs"]
mod waiting;
mod watching;

use std::fs;
use std::path::{Path, PathBuf};

use boxlite::runtime::options::BoxliteOptions;
use boxlite::util::is_process_alive;
use boxlite::{BoxCommand, BoxOptions, BoxliteError, BoxliteResult, BoxliteRuntime, LiteBox};
use boxlite_test_utils::home::PerTestBoxHome;
use processes::processes_naming;
use small_box::small_box;
use waiting::{PATIENCE, within};

fn try_open(home: &Path) -> BoxliteResult<BoxliteRuntime> {
    BoxliteRuntime::new(BoxliteOptions { home_dir: home.to_owned(), image_registries: Vec::new() })
}

fn open(home: &PerTestBoxHome) -> BoxliteRuntime {
    try_open(&home.path).unwrap()
}

fn detached() -> BoxOptions {
    BoxOptions { detach: true, ..small_box() }
}

async fn succeeds(sandbox: &LiteBox, script: &str) {
    let execution = sandbox.exec(BoxCommand::new("sh").args(["-c", script])).await.unwrap();
    assert_eq!(execution.wait().await.unwrap().exit_code, 0, "{script}");
}

/// A box that outlives its runtime, and its pid.
struct Left {
    id: String,
    pid: u32,
}

impl Left {
    /// Starts a box with a file of content `data`, and drops the runtime.
    async fn in_home(home: &PerTestBoxHome) -> Self {
        let runtime = open(home);
        let sandbox = runtime.create(detached(), Some("left".into())).await.unwrap();
        succeeds(&sandbox, "echo data > /file; sync").await;
        Self { id: sandbox.id().to_string(), pid: sandbox.info().pid.unwrap() }
    }

    fn dir(&self, home: &PerTestBoxHome) -> PathBuf {
        home.path.join("boxes").join(&self.id)
    }

    /// Kills its shim, and with it the machine, and waits until both are gone.
    async fn kill(&self) {
        kill(self.pid);
        within(PATIENCE, "the machine ends with its shim", || processes_naming(&self.id).is_empty()).await;
    }
}

fn kill(pid: u32) {
    // SAFETY: kill takes two integers; the pid is a process of our own.
    assert_eq!(unsafe { libc::kill(pid as i32, libc::SIGKILL) }, 0);
}

/// Changes the home's database as no runtime would.
fn alter(home: &PerTestBoxHome, sql: &str) {
    let connection = rusqlite::Connection::open(home.path.join("db/boxlite.db")).unwrap();
    assert!(connection.execute(sql, []).unwrap() > 0, "{sql} changed nothing");
}

fn names_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// No box, lock, temporary file or process is left in the home; `db` holds the database and `kept`, nothing else.
fn assert_clean(home: &PerTestBoxHome, ids: &[&str], kept: &[PathBuf]) {
    for dir in ["boxes", "locks", "tmp"] {
        let left: Vec<String> = names_in(&home.path.join(dir))
            .into_iter()
            .filter(|name| !kept.contains(&canonical(home).join(dir).join(name)))
            .collect();
        assert!(left.is_empty(), "left in {dir}: {left:?}");
    }
    let left: Vec<String> = names_in(&home.path.join("db"))
        .into_iter()
        .filter(|name| !["boxlite.db", "tsc-khz", "kvm-report"].contains(&name.as_str()))
        .filter(|name| !kept.contains(&canonical(home).join("db").join(name)))
        .collect();
    assert!(left.is_empty(), "left in db: {left:?}");
    for id in ids {
        assert!(processes_naming(id).is_empty(), "processes of {id} are left");
    }
}

fn canonical(home: &PerTestBoxHome) -> PathBuf {
    fs::canonicalize(&home.path).unwrap()
}

/// No sockets, pid files or transfer disks of a box that does not run.
fn assert_at_rest(dir: &Path) {
    for name in ["shim.pid", "agent.sock", "transfer"] {
        assert!(fs::symlink_metadata(dir.join(name)).is_err(), "{name} is left");
    }
}

/// A damaged database as each call reports it.
fn assert_names_database(error: &BoxliteError) {
    assert!(matches!(error, BoxliteError::Database(_)), "{error:?}");
    assert!(error.to_string().contains("db/boxlite.db"), "{error}");
    assert!(error.hint().contains("repair"), "{}", error.hint());
}

/// Waits for the ended runtime's threads to have closed the database.
async fn closed(home: &PerTestBoxHome) {
    within(PATIENCE, "the database is closed", || !home.path.join("db/boxlite.db-wal").exists()).await;
}
