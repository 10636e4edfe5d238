//! A hundred boxes made, used and removed in one process leave it as the first ones did: descriptors, threads, children,
//! shared memory, temporary files, the home. The process is this program once more, with `/tmp` and `/dev/shm` of its
//! own, so that nobody else's comings and goings count.

#[path = "support/small_box.rs"]
mod small_box;
#[path = "support/waiting.rs"]
mod waiting;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use boxlite::runtime::options::BoxliteOptions;
use boxlite::{BoxCommand, BoxliteError, BoxliteRuntime, Execution, LiteBox};
use boxlite_test_utils::home::{PerTestBoxHome, target_dir, workspace};
use futures::{StreamExt, stream};
use small_box::small_box;
use waiting::{PATIENCE, within};

const ROUNDS: usize = 100;
const AT_ONCE: usize = 2;
/// Starts of a box on a host that is so busy that some come to nothing.
const STARTS: usize = 3;
/// Idle threads end after two seconds, of which a busy machine may make more; what was just closed goes a moment later.
const SETTLING: Duration = Duration::from_secs(5);
/// The directories to be looked at, in the environment of the process that has them for itself.
const PRIVATE: &str = "BOXLITE_TEST_PRIVATE";

#[test]
fn a_hundred_rounds_leave_the_process_as_the_first_ones_did() {
    let tmp = tempfile::tempdir_in("/var/tmp").unwrap();
    let mut script = String::new();
    let mut private = vec![tmp.path().to_owned()];
    let ours = [workspace(), target_dir(), tmp.path().to_owned()];
    for (shared, mount) in
        [("/tmp", "mount --bind \"$1\" /tmp"), ("/dev/shm", "mount -t tmpfs none /dev/shm")]
    {
        // Where this checkout lies stays visible, and uncounted.
        if !ours.iter().any(|dir| dir.starts_with(shared)) {
            script += &format!("{mount} && ");
            private.push(shared.into());
        }
    }
    let root = nix::unistd::geteuid().is_root();
    let status = Command::new("unshare")
        .args([if root { "-m" } else { "-rm" }, "sh", "-c", &format!("{script}shift && exec \"$@\""), "sh"])
        .arg(tmp.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "rounds_in_a_place_of_their_own", "--nocapture"])
        .env(PRIVATE, std::env::join_paths(private).unwrap())
        .env("TMPDIR", tmp.path())
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
    let left: Vec<OsString> = names_in(tmp.path());
    assert!(left.is_empty(), "left behind: {left:?}");
}

fn names_in(dir: &Path) -> Vec<OsString> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

/// All paths below `dirs`, the home's among them; links, such as the home's to the caches that tests share, are not
/// followed.
fn all_below(dirs: &[PathBuf]) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for dir in dirs {
        collect(dir, &mut found);
    }
    found
}

fn collect(dir: &Path, found: &mut BTreeSet<PathBuf>) {
    for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() && !path.is_symlink() {
            collect(&path, found);
        }
        found.insert(path);
    }
}

fn count(dir: &str) -> usize {
    fs::read_dir(dir).unwrap().count()
}

/// Says something in a box, which starts it. A start that a busy host has no time for has to leave nothing, either.
async fn say_something(sandbox: &LiteBox) -> Execution {
    for _ in 1..STARTS {
        match sandbox.exec(BoxCommand::new("echo").arg("out")).await {
            Err(BoxliteError::Engine(detail)) if detail.contains("did not answer") => {
                eprintln!("once more: {detail}")
            }
            other => return other.unwrap(),
        }
    }
    sandbox.exec(BoxCommand::new("echo").arg("out")).await.unwrap()
}

async fn rounds(runtime: &BoxliteRuntime, count: usize) {
    let round = |_| async move {
        let sandbox = runtime.create(small_box(), None).await.unwrap();
        let mut execution = say_something(&sandbox).await;
        let output: Vec<String> = execution.stdout().unwrap().collect().await;
        assert_eq!(output.concat(), "out\n");
        assert_eq!(execution.wait().await.unwrap().exit_code, 0);
        runtime.remove(sandbox.id().as_str(), true).await.unwrap();
    };
    stream::iter(0..count).map(round).buffer_unordered(AT_ONCE).collect::<()>().await;
}

fn descriptors_and_threads() -> (usize, usize) {
    (count("/proc/self/fd"), count("/proc/self/task"))
}

/// What stays of descriptors and threads when nothing has come or gone for a while.
async fn settled() -> (usize, usize) {
    let (mut last, mut since) = (descriptors_and_threads(), Instant::now());
    while since.elapsed() < SETTLING {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = descriptors_and_threads();
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    last
}

/// Whether this process has a child, also one that has ended; it stays as it is.
fn has_children() -> bool {
    // SAFETY: the structure is plain data, and waitid writes nothing but it.
    let (waited, error) = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        (libc::waitid(libc::P_ALL, 0, &raw mut info, flags), std::io::Error::last_os_error())
    };
    assert!(waited == 0 || error.raw_os_error() == Some(libc::ECHILD), "{error}");
    waited == 0
}

/// A box that was cloned has a second template made some seconds later, of its image: waits until that is in use.
async fn await_second_template(runtime: &BoxliteRuntime) {
    let deadline = Instant::now() + Duration::from_secs(300);
    loop {
        let sandbox = runtime.create(small_box(), None).await.unwrap();
        say_something(&sandbox).await.wait().await.unwrap();
        let stages = sandbox.info().start_stages;
        runtime.remove(sandbox.id().as_str(), true).await.unwrap();
        let has = |name: &str| stages.iter().any(|stage| stage.name == name);
        if !has("restore") || has("agent/introduction") {
            return;
        }
        assert!(Instant::now() < deadline, "no second template");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn rounds_in_a_place_of_their_own() {
    let Some(private) = std::env::var_os(PRIVATE) else { return };
    let private: Vec<PathBuf> = std::env::split_paths(&private).collect();
    let home = PerTestBoxHome::new();
    let options = BoxliteOptions { home_dir: home.path.clone(), image_registries: Vec::new() };
    let runtime = BoxliteRuntime::new(options).unwrap();
    // Else it is made in the background, at a time of its own.
    runtime.prepare(&small_box()).await.unwrap();
    rounds(&runtime, AT_ONCE).await;
    await_second_template(&runtime).await;
    // Only what stays is the measure: the blocking threads of the warm-up are gone by then.
    let (descriptors, threads) = settled().await;
    let files = all_below(&private);

    let began = Instant::now();
    rounds(&runtime, ROUNDS).await;
    eprintln!(
        "{ROUNDS} rounds in {:?}; {descriptors} descriptors, {threads} threads before",
        began.elapsed()
    );
    within(PATIENCE, "descriptors as before", || count("/proc/self/fd") <= descriptors).await;
    within(PATIENCE, "threads as before", || count("/proc/self/task") <= threads).await;
    within(PATIENCE, "no children", || !has_children()).await;
    assert_eq!(all_below(&private), files);
    runtime.shutdown(None).await.unwrap();
}
