//! Flushes: what an fsync comes to on the host, seen in the system calls of the processes concerned.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use boxlite::runtime::options::DiskCache;
use boxlite::{BoxOptions, LiteBox};
use boxlite_test_utils::home::{PerTestBoxHome, busybox_image};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tempfile::NamedTempFile;

use super::{engine_of, open, options, say, send};

/// The system calls that write a file back.
const FLUSHES: &str = "trace=fsync,fdatasync,sync_file_range";

/// Watches a process's flushes.
struct Watch {
    strace: Child,
    seen: NamedTempFile,
}

impl Watch {
    /// `None` where this machine allows nobody to watch.
    fn on(process: Pid) -> Option<Self> {
        let seen = NamedTempFile::new().expect("a file");
        let mut strace = Command::new("strace")
            .args(["-f", "-y", "-e", FLUSHES, "-o"])
            .arg(seen.path())
            .args(["-p", &process.to_string()])
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace is there");
        let mut said = String::new();
        let mut stderr = BufReader::new(strace.stderr.take().expect("its stderr"));
        stderr.read_line(&mut said).expect("strace says something");
        if said.contains("attached") {
            // It goes on to say so for new threads, and must not wait for a reader.
            std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
            return Some(Self { strace, seen });
        }
        strace.wait().expect("its end");
        assert!(said.contains("not permitted"), "{said}");
        eprintln!("not seen here, since no process may be watched: {said}");
        None
    }

    /// The flushes of files in a directory so far, by path.
    fn end(mut self, below: &Path) -> Vec<String> {
        send(Signal::SIGINT, Pid::from_raw(self.strace.id().cast_signed()));
        self.strace.wait().expect("its end");
        let seen = fs::read_to_string(self.seen.path()).expect("what was seen");
        let below = below.to_str().expect("UTF-8");
        seen.lines().filter(|line| line.contains(below)).map(str::to_owned).collect()
    }
}

const SYNCS: usize = 40;

/// Makes synced writes in the box, and gives how long one took.
async fn sync_often(sandbox: &LiteBox) -> Duration {
    let began = Instant::now();
    let script = format!(
        "i=0; while [ $i -lt {SYNCS} ]; do i=$((i + 1)); dd if=/dev/zero of=/data bs=4k count=1 conv=notrunc,fsync \
         2>/dev/null || exit 1; done"
    );
    say(sandbox, &script).await;
    began.elapsed() / u32::try_from(SYNCS).expect("a small number")
}

async fn flushes_with(disk_cache: DiskCache) -> Option<usize> {
    let home = PerTestBoxHome::new();
    let runtime = open(&home);
    let options = BoxOptions { disk_cache, ..options() };
    let sandbox = runtime.create(options, None).await.expect("a box");
    say(&sandbox, "dd if=/dev/zero of=/data bs=4k count=1 conv=fsync 2>/dev/null").await;
    let alone = sync_often(&sandbox).await;
    let watch = Watch::on(engine_of(&sandbox))?;
    sync_often(&sandbox).await;
    let seen = watch.end(&home.path);
    eprintln!("{disk_cache:?}: {alone:?} for a synced write, {} flushes on the host for {SYNCS}", seen.len());
    assert!(seen.iter().all(|line| line.contains("/box.qcow2>")), "{seen:?}");
    runtime.shutdown(Some(0)).await.expect("the end");
    Some(seen.len())
}

#[tokio::test]
async fn an_fsync_in_the_box_is_one_on_the_host() {
    let Some(flushes) = flushes_with(DiskCache::Writeback).await else { return };
    assert!(flushes >= SYNCS, "{flushes} for {SYNCS}");
}

#[tokio::test]
async fn an_unsafe_box_makes_no_flush_on_the_host_and_keeps_its_data_over_a_stop() {
    let Some(flushes) = flushes_with(DiskCache::Unsafe).await else { return };
    assert_eq!(flushes, 0);
    let home = PerTestBoxHome::new();
    let runtime = open(&home);
    // Allowed for a detached box, too.
    let options = BoxOptions { disk_cache: DiskCache::Unsafe, detach: true, ..options() };
    let sandbox = runtime.create(options, Some("throw-away".into())).await.expect("a box");
    say(&sandbox, "echo kept > /file").await;
    sandbox.stop().await.expect("a stop");
    let sandbox = runtime.get("throw-away").await.expect("an answer").expect("the box");
    assert_eq!(say(&sandbox, "cat /file").await, "kept\n");
    runtime.remove("throw-away", true).await.expect("a removal");
}

#[tokio::test]
async fn the_row_of_a_box_is_on_the_disk_before_the_box_has_data_there() {
    let home = PerTestBoxHome::new();
    // Open all the time, so that the log of the database is neither begun nor folded in by the program that is watched.
    let runtime = open(&home);
    runtime.create(options(), None).await.expect("a box");
    let seen = NamedTempFile::new().expect("a file");
    let program = std::env::current_exe().expect("this program");
    let run = program.ancestors().nth(2).expect("the target directory").join("examples/run");
    let ran = Command::new("strace")
        .args(["-f", "--seccomp-bpf", "-y", "-e", FLUSHES, "-o"])
        .args([seen.path(), &run, &home.path])
        .args([&busybox_image(), "sh", "-c", "echo data > /file; sync /file"])
        .output()
        .expect("strace is there");
    let said = String::from_utf8_lossy(&ran.stderr);
    if said.contains("not permitted") {
        return eprintln!("not seen here, since no process may be watched: {said}");
    }
    assert!(ran.status.success(), "{said}");
    let seen = fs::read_to_string(seen.path()).expect("what was seen");
    let first = |file: &str| seen.lines().position(|line| line.contains(file));
    let (row, data) = (first("/boxlite.db-wal>"), first("/box.qcow2>"));
    assert!(data.is_some(), "{seen}");
    assert!(row.is_some_and(|row| Some(row) < data), "{seen}");
    runtime.shutdown(Some(0)).await.expect("the end");
}
