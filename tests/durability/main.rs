//! What a box has written is there afterwards, whatever ends the box; and what ends it does so in time.
//!
//! Every test has machines of its own.

mod flushes;
mod full_disks;
mod kills;
mod shutdowns;
#[path = "../support/small_disk.rs"]
mod small_disk;
mod stops;
#[path = "../support/vm.rs"]
mod vm;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use boxlite::{BoxCommand, BoxOptions, BoxliteRuntime, Execution, LiteBox, RootfsSpec};
use boxlite_test_utils::home::{PerTestBoxHome, busybox_image};
use futures::StreamExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// For what a right product does soon, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

fn options() -> BoxOptions {
    BoxOptions {
        rootfs: RootfsSpec::Image(busybox_image()),
        memory_mib: Some(256),
        auto_remove: false,
        ..BoxOptions::default()
    }
}

fn open(home: &PerTestBoxHome) -> BoxliteRuntime {
    vm::open(home, Vec::new())
}

fn shell(script: &str) -> BoxCommand {
    BoxCommand::new("sh").args(["-c", script])
}

/// What a script that must succeed and not write to stderr writes to stdout.
async fn say(sandbox: &LiteBox, script: &str) -> String {
    let (code, stdout, stderr) = vm::run(sandbox, shell(script)).await;
    assert_eq!((code, String::from_utf8_lossy(&stderr).as_ref()), (0, ""), "{script}");
    String::from_utf8(stdout).expect("UTF-8")
}

/// A running box with an execution of `script`, which has written `ready` to its stdout.
async fn busy(sandbox: &LiteBox, script: &str) -> Execution {
    let mut execution = sandbox.exec(shell(script)).await.expect("an execution");
    let mut stdout = execution.stdout().expect("stdout");
    let first = stdout.next().await.expect("the script says when it is ready");
    assert!(first.starts_with("ready"), "{first:?}");
    execution
}

fn box_dir(home: &Path, sandbox: &LiteBox) -> PathBuf {
    home.join("boxes").join(sandbox.id().as_str())
}

fn shim_of(sandbox: &LiteBox) -> Pid {
    Pid::from_raw(sandbox.info().pid.expect("the box runs").cast_signed())
}

/// The QEMU of a running box: its shim's only child.
fn engine_of(sandbox: &LiteBox) -> Pid {
    let shim = shim_of(sandbox);
    let path = format!("/proc/{shim}/task/{shim}/children");
    let children = std::fs::read_to_string(path).expect("the shim's children");
    let children: Vec<i32> = children.split_whitespace().map(|pid| pid.parse().expect("a pid")).collect();
    assert_eq!(children.len(), 1, "{children:?}");
    Pid::from_raw(children[0])
}

fn send(signal: Signal, to: Pid) {
    kill(to, signal).expect("the process is there");
}

/// Whether the box's file system was left with a journal to replay, as its superblock on the disk says.
fn has_journal_to_replay(box_dir: &Path) -> bool {
    const SUPERBLOCK: usize = 1024;
    const INCOMPATIBLE_FEATURES: usize = 0x60;
    const RECOVER: u8 = 4;
    let out = box_dir.join("superblock");
    let copy = || {
        Command::new("qemu-img")
            .args(["dd", "-f", "qcow2", "-O", "raw", "bs=1024", "count=2"])
            .arg(format!("if={}", box_dir.join("box.qcow2").display()))
            .arg(format!("of={}", out.display()))
            .output()
            .expect("qemu-img runs")
    };
    // The box is known to have ended when its shim has: an engine on its way out may have the disk open a moment longer.
    let deadline = Instant::now() + PATIENCE;
    let mut copied = copy();
    while !copied.status.success() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
        copied = copy();
    }
    assert!(copied.status.success(), "{copied:?}");
    let bytes = std::fs::read(&out).expect("the superblock");
    std::fs::remove_file(out).expect("it can be removed");
    let superblock = &bytes[SUPERBLOCK..];
    assert_eq!(superblock[0x38..0x3a], [0x53, 0xef], "the magic of ext4");
    superblock[INCOMPATIBLE_FEATURES] & RECOVER != 0
}

async fn within<T>(seconds: u64, what: &str, future: impl Future<Output = T>) -> (T, Duration) {
    let began = Instant::now();
    let limit = Duration::from_secs(seconds);
    let outcome = tokio::time::timeout(limit, future).await;
    (outcome.unwrap_or_else(|_| panic!("{what}: not within {seconds} s")), began.elapsed())
}

/// Waits until `holds`, for what is told by no event.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(PATIENCE.as_secs(), what, waiting).await;
}
