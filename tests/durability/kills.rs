//! Kills: what a process in the box had synced is there after the next start, byte for byte.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use boxlite::{BoxStatus, BoxliteRuntime, LiteBox};
use boxlite_test_utils::home::PerTestBoxHome;
use futures::StreamExt;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::{box_dir, engine_of, has_journal_to_replay, open, options, say, send, shell, shim_of, until};

const HOME: &str = "BOXLITE_TEST_OWNS_A_BOX_IN";

/// Writes a file and syncs it, then goes on appending numbered lines to another, each synced before it is told; beside
/// it, writes that nobody syncs keep the disk and its journal busy.
const WRITER: &str = "yes a line of the file | head -c 4000000 > /whole; sync /whole
    while :; do yes noise | head -c 2000000 > /noise; rm /noise; done &
    n=0; while :; do n=$((n + 1)); echo $n >> /log; sync /log; echo $n; done";

/// So many lines are told before the kill.
const ENOUGH: usize = 20;

/// The numbers that the writer has told of, once it has told of enough.
struct Told(Vec<u64>);

impl Told {
    fn hear(&mut self, text: &str) {
        self.0.extend(text.lines().map(|line| line.parse::<u64>().expect("a number")));
    }
}

/// Runs the writer, calls `end` when it has told of enough, and gives all numbers it has told of when it is over.
async fn write_until(sandbox: &LiteBox, end: impl FnOnce()) -> Told {
    let mut execution = sandbox.exec(shell(WRITER)).await.expect("the writer");
    let mut stdout = execution.stdout().expect("stdout");
    let (mut told, mut end, mut rest) = (Told(Vec::new()), Some(end), String::new());
    while let Some(text) = stdout.next().await {
        rest.push_str(&text);
        let whole = rest.rfind('\n').map_or(0, |at| at + 1);
        told.hear(&rest.drain(..whole).collect::<String>());
        if told.0.len() >= ENOUGH
            && let Some(end) = end.take()
        {
            end();
        }
    }
    assert!(end.is_none(), "the writer ended early");
    told
}

/// All that was synced is there.
async fn check(sandbox: &LiteBox, told: &Told) {
    let whole = say(sandbox, "yes a line of the file | head -c 4000000 | cmp - /whole && echo same").await;
    assert_eq!(whole, "same\n");
    let log = say(sandbox, "cat /log").await;
    let kept: Vec<u64> = log.lines().map(|line| line.parse().expect("a number")).collect();
    assert!(kept.starts_with(&told.0), "told {:?}, kept {kept:?}", told.0.last());
    // What was written and synced last need not have been told of any more.
    assert!(kept.iter().zip(1..).all(|(line, number)| *line == number), "lines that nobody wrote: {kept:?}");
}

async fn killed(victim: fn(&LiteBox) -> Pid, status: BoxStatus) {
    let home = PerTestBoxHome::new();
    let runtime = open(&home);
    let sandbox = runtime.create(options(), None).await.expect("a box");
    sandbox.start().await.expect("a start");
    let told = write_until(&sandbox, || send(Signal::SIGKILL, victim(&sandbox))).await;
    until("the end is recorded", || sandbox.info().pid.is_none()).await;
    assert_eq!(sandbox.info().status, status);
    assert!(has_journal_to_replay(&box_dir(&home.path, &sandbox)), "the kill came too late to matter");
    check(&sandbox, &told).await;
    sandbox.stop().await.expect("a stop");
    assert!(!has_journal_to_replay(&box_dir(&home.path, &sandbox)), "a stop unmounts");
    runtime.shutdown(Some(0)).await.expect("the end");
}

#[tokio::test]
async fn what_was_synced_survives_the_kill_of_qemu() {
    killed(engine_of, BoxStatus::Failed).await;
}

#[tokio::test]
async fn what_was_synced_survives_the_kill_of_the_shim() {
    killed(shim_of, BoxStatus::Stopped).await;
}

/// What the other process does: this program is started again with only this test, and a home in the environment. In a
/// normal run there is none, and nothing to do.
#[tokio::test]
async fn as_the_owner() {
    let Some(home) = std::env::var_os(HOME) else { return };
    let runtime = BoxliteRuntime::builder().home_dir(Path::new(&home)).build().expect("a runtime");
    let sandbox = runtime.create(options(), Some("owned".into())).await.expect("a box");
    sandbox.start().await.expect("a start");
    std::future::pending::<()>().await;
}

fn start_owner(home: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "kills::as_the_owner"]).env(HOME, home).stdout(Stdio::null());
    command.spawn().expect("a process")
}

#[tokio::test]
async fn what_was_synced_survives_the_kill_of_the_owner() {
    let home = PerTestBoxHome::new();
    let runtime = open(&home);
    let mut owner = start_owner(&home.path);
    let sandbox = loop {
        match runtime.get("owned").await.expect("an answer") {
            Some(sandbox) if sandbox.info().status == BoxStatus::Running => break sandbox,
            _ => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
        assert!(owner.try_wait().expect("its state").is_none(), "the owner has ended");
    };
    let told = write_until(&sandbox, || owner.kill().expect("the kill")).await;
    owner.wait().expect("its end");
    until("the end is recorded", || sandbox.info().pid.is_none()).await;
    assert_eq!(sandbox.info().status, BoxStatus::Stopped);
    assert!(!has_journal_to_replay(&box_dir(&home.path, &sandbox)), "the shim stops the box in order");
    check(&sandbox, &told).await;
    runtime.shutdown(Some(0)).await.expect("the end");
}
