//! Many executions one after another, many boxes at once: nothing grows, nothing is in another's way.

use std::collections::BTreeSet;
use std::time::Instant;

use boxlite::{BoxOptions, BoxStatus, RootfsSpec};
use boxlite_test_utils::home::{PerTestBoxHome, busybox_image};

use super::{Bench, DESCRIPTORS, PATIENCE, shell, vm, within};

fn descriptors(process: &str) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd")).expect("descriptors").count()
}

/// What grows in the guest when something is left there.
#[derive(Clone, Copy, Debug)]
struct InGuest {
    /// Open files of the whole kernel, the agent's too, which a box can't see otherwise. The kernel counts in steps of
    /// 32 or so.
    files: u32,
    terminals: u32,
    processes: u32,
}

impl InGuest {
    async fn count(bench: &Bench) -> Self {
        let script =
            "cut -f1 /proc/sys/fs/file-nr; cat /proc/sys/kernel/pty/nr; set -- /proc/[0-9]*; echo $#";
        let (code, text) = bench.say(shell(script)).await;
        assert_eq!(code, 0);
        let numbers: Vec<u32> =
            text.split_whitespace().map(|number| number.parse().expect("a number")).collect();
        let [files, terminals, processes] = numbers.as_slice() else { panic!("{text}") };
        Self { files: *files, terminals: *terminals, processes: *processes }
    }
}

#[tokio::test]
async fn executions_leave_no_descriptor() {
    let _alone = DESCRIPTORS.write().await;
    let bench = Bench::alone(BoxOptions::default()).await;
    let shim = bench.sandbox.info().pid.expect("the shim").to_string();
    let some = async |count| {
        for number in 0..count {
            let (code, text) = bench.say(shell("echo out; exit 3").env("N", number.to_string())).await;
            assert_eq!((code, text.as_str()), (3, "out\n"));
            // Also those that fail, and those with a terminal nobody takes.
            bench.sandbox.exec(boxlite::BoxCommand::new("no-such-command")).await.expect_err("not there");
            let terminal = bench.sandbox.exec(shell("exit 0").tty(true)).await.expect("a terminal");
            terminal.wait().await.expect("the end");
        }
    };
    // The first ones set up what stays: connections, caches.
    some(5).await;
    let counts = async || {
        // What has just ended is cleared away a little later.
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        (descriptors(&shim), descriptors("self"), InGuest::count(&bench).await)
    };
    let mut before = counts().await;
    let mut after = before;
    // The guest's kernel counts its files in steps: one of them says nothing, but what is left makes it take one each time.
    for _ in 0..3 {
        before = counts().await;
        // Enough to be seen through the steps.
        some(40).await;
        // The template of this box's machine may be in the making: what is there for that goes by itself.
        let settling = Instant::now();
        loop {
            after = counts().await;
            let is_settled = after.0 <= before.0 + 1
                && after.1 <= before.1 + 1
                && (after.2.terminals, after.2.processes) == (before.2.terminals, before.2.processes);
            if is_settled || settling.elapsed() > PATIENCE {
                break;
            }
        }
        if after.2.files <= before.2.files + 5 {
            break;
        }
    }
    eprintln!("descriptors of shim and this process, and the guest: {before:?}, then {after:?}");
    assert!(after.0 <= before.0 + 1, "the shim's descriptors: {before:?}, then {after:?}");
    assert!(after.1 <= before.1 + 1, "this process's descriptors: {before:?}, then {after:?}");
    assert!(after.2.files <= before.2.files + 5, "the guest's open files: {before:?}, then {after:?}");
    assert_eq!((before.2.terminals, after.2.terminals), (0, 0), "terminals are left");
    assert_eq!(before.2.processes, after.2.processes, "processes are left");
    bench.end().await;
}

#[tokio::test]
async fn ten_boxes_run_at_once() {
    let _alone = DESCRIPTORS.write().await;
    let home = PerTestBoxHome::new();
    let runtime = vm::open(&home, Vec::new());
    let options = BoxOptions { rootfs: RootfsSpec::Image(busybox_image()), ..BoxOptions::default() };
    let starting = (0..10).map(|number| {
        let (runtime, options) = (&runtime, options.clone());
        async move {
            let sandbox = runtime.create(options, Some(format!("box-{number}"))).await.expect("a box");
            sandbox.start().await.unwrap_or_else(|error| panic!("box {number}: {error}"));
            sandbox
        }
    });
    let boxes = within("ten starts", futures::future::join_all(starting)).await;
    // All are there at the same time, each with processes, a name and a disk of its own.
    let infos = runtime.list_info().await.expect("the list");
    assert!(infos.iter().all(|info| info.status == BoxStatus::Running), "{infos:?}");
    let shims: BTreeSet<u32> = infos.iter().filter_map(|info| info.pid).collect();
    assert_eq!(shims.len(), 10);
    let running = boxes.iter().enumerate().map(|(number, sandbox)| async move {
        let script =
            format!("hostname; echo {number} >/mine; sync; sleep 1; cat /mine; grep MemTotal /proc/meminfo");
        (number, vm::run(sandbox, shell(&script)).await)
    });
    for (number, (code, stdout, _)) in within("ten commands", futures::future::join_all(running)).await {
        assert_eq!(code, 0);
        let stdout = String::from_utf8(stdout).expect("UTF-8");
        assert!(stdout.starts_with(&format!("box-{number}\n{number}\nMemTotal:")), "{stdout}");
        let memory = stdout.split_whitespace().rev().nth(1).and_then(|kib| kib.parse::<u32>().ok());
        // libkrun puts its kernel into some MiB of the guest's beyond those asked for.
        assert!(memory.is_some_and(|kib| (400 * 1024..=520 * 1024).contains(&kib)), "{stdout}");
    }
    runtime.shutdown(Some(0)).await.expect("the end");
    // A shutdown that has no time kills them, and does not wait for ever until ten machines are gone.
    let gone = async {
        while shims.iter().any(|pid| boxlite::util::is_process_alive(*pid)) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    within("the end of all shims", gone).await;
}
