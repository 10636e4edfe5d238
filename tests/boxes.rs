//! Boxes through the Rust API, in real virtual machines: created, used, stopped, restarted, removed.

#[path = "support/waiting.rs"]
mod waiting;

use std::time::Duration;

use boxlite::litebox::{BoxLog, EndReason};
use boxlite::runtime::options::BoxliteOptions;
use boxlite::{
    BoxCommand, BoxOptions, BoxStatus, BoxliteError, BoxliteRuntime, ExecResult, LiteBox, RootfsSpec,
};
use boxlite_test_utils::home::{PerTestBoxHome, busybox_image};
use futures::StreamExt;
use waiting::{PATIENCE, within};

fn open(home: &PerTestBoxHome) -> BoxliteRuntime {
    BoxliteRuntime::new(BoxliteOptions { home_dir: home.path.clone(), image_registries: Vec::new() }).unwrap()
}

fn options() -> BoxOptions {
    BoxOptions { rootfs: RootfsSpec::Image(busybox_image()), auto_remove: false, ..BoxOptions::default() }
}

async fn run(sandbox: &LiteBox, command: BoxCommand) -> (ExecResult, String, String) {
    let mut execution = sandbox.exec(command).await.unwrap();
    let (stdout, stderr) = (execution.stdout().unwrap(), execution.stderr().unwrap());
    let (stdout, stderr): (Vec<String>, Vec<String>) = tokio::join!(stdout.collect(), stderr.collect());
    (execution.wait().await.unwrap(), stdout.concat(), stderr.concat())
}

fn shell(script: &str) -> BoxCommand {
    BoxCommand::new("sh").args(["-c", script])
}

#[tokio::test]
async fn a_box_runs_a_command_and_keeps_its_data_over_a_restart() {
    let home = PerTestBoxHome::new();
    let runtime = open(&home);
    let sandbox = runtime.create(options(), Some("first".into())).await.unwrap();
    assert_eq!(sandbox.info().status, BoxStatus::Configured);

    let (result, stdout, stderr) =
        run(&sandbox, shell("uname -sr; echo out; echo err >&2; echo kept > /root-file; exit 7")).await;
    assert_eq!(result.exit_code, 7);
    assert!(stdout.starts_with("Linux 6.12"), "{stdout}");
    assert!(stdout.ends_with("out\n") && stderr == "err\n", "{stdout:?} {stderr:?}");

    let info = sandbox.info();
    assert_eq!(info.status, BoxStatus::Running);
    let pid_file = home.path.join("boxes").join(sandbox.id().as_str()).join("shim.pid");
    let record = boxlite::util::PidFileReader::at(&pid_file).read().unwrap();
    assert_eq!(Some(record.pid), info.pid);
    assert_eq!(record.start_time, boxlite::util::process_start_time(record.pid));
    eprintln!("stages: {:?}", info.start_stages);

    sandbox.stop().await.unwrap();
    assert!(!pid_file.exists());
    assert!(!boxlite::util::is_process_alive(record.pid));
    let refused = sandbox.exec(shell("true")).await.unwrap_err();
    assert!(matches!(refused, BoxliteError::Stopped(_)));
    assert_eq!(sandbox.info().status, BoxStatus::Stopped);

    let again = runtime.get("first").await.unwrap().unwrap();
    let (result, stdout, _) = run(&again, shell("cat /root-file")).await;
    assert_eq!((result.exit_code, stdout.as_str()), (0, "kept\n"));

    let refused = runtime.remove("first", false).await.unwrap_err();
    let text = refused.to_string();
    assert!(matches!(refused, BoxliteError::InvalidState(_)));
    assert!(["cannot remove", "active", "force=true"].iter().all(|part| text.contains(part)), "{text}");
    runtime.remove("first", true).await.unwrap();
    assert!(!pid_file.parent().unwrap().exists());
    assert!(!runtime.exists("first").await.unwrap());
    runtime.shutdown(None).await.unwrap();
}

#[tokio::test]
async fn an_idle_box_is_counted_and_ends_and_its_end_is_told() {
    let home = PerTestBoxHome::new();
    let runtime = open(&home);
    let options = BoxOptions { idle_timeout: Some(Duration::from_secs(6)), ..options() };
    let (sandbox, created) = runtime.get_or_create(options, Some("idle".into())).await.unwrap();
    assert!(created);
    assert!(matches!(sandbox.wait().await.unwrap_err(), BoxliteError::InvalidState(_)));
    assert!(matches!(sandbox.metrics().await.unwrap_err(), BoxliteError::InvalidState(_)));
    // Busy for longer than it may be idle.
    let execution = sandbox.exec(shell("sleep 600")).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(9), sandbox.wait()).await.is_err());
    let metrics = sandbox.metrics().await.unwrap();
    assert_eq!((metrics.commands_executed_total(), metrics.exec_errors_total()), (1, 0));
    assert!(metrics.memory_bytes().is_some_and(|bytes| bytes > 0) && !metrics.cpu_time().is_zero());
    execution.kill().await.unwrap();

    let end = tokio::time::timeout(Duration::from_secs(6) + PATIENCE, sandbox.wait()).await.unwrap().unwrap();
    assert_eq!(end.reason, EndReason::Idle, "{}", end.message);
    assert_eq!(sandbox.wait().await.unwrap(), end);
    assert!(sandbox.open_log(BoxLog::Shim).unwrap().metadata().unwrap().len() > 0);
    let totals = runtime.metrics().await.unwrap();
    assert_eq!((totals.boxes_created_total(), totals.total_commands_executed()), (1, 1));
    runtime.remove("idle", false).await.unwrap();
    runtime.shutdown(None).await.unwrap();
}

#[tokio::test]
async fn dropping_the_runtime_ends_its_boxes() {
    let home = PerTestBoxHome::new();
    let pid = {
        let runtime = open(&home);
        let sandbox = runtime.create(options(), None).await.unwrap();
        sandbox.start().await.unwrap();
        sandbox.info().pid.unwrap()
    };
    within(PATIENCE, "the shim goes with its runtime", || !boxlite::util::is_process_alive(pid)).await;
    let runtime = open(&home);
    let info = runtime.list_info().await.unwrap().remove(0);
    assert_eq!((info.status, info.pid), (BoxStatus::Stopped, None));
}

#[tokio::test]
async fn a_start_that_is_called_off_leaves_nothing() {
    let home = PerTestBoxHome::new();
    // A clone starts in less than a tenth of a second: each box has to boot.
    let builder = BoxliteRuntime::builder().home_dir(&home.path).template_space(0);
    let runtime = builder.build().unwrap();
    let is_undone = |sandbox: &LiteBox| {
        let info = sandbox.info();
        assert_eq!((info.status, info.pid), (BoxStatus::Configured, None));
        for file in ["shim.pid", "agent.sock", "transfer", "box.qcow2"] {
            assert!(!home.path.join("boxes").join(sandbox.id().as_str()).join(file).exists(), "{file}");
        }
    };
    let mut calls_off = 0;
    for ms in [1, 20, 100, 300] {
        let sandbox = runtime.create(options(), None).await.unwrap();
        match tokio::time::timeout(Duration::from_millis(ms), sandbox.start()).await {
            Err(_) => {
                let lock = home.path.join("locks").join(format!("{}.lock", sandbox.id()));
                within(PATIENCE, "the start ends with its caller", || !lock.exists()).await;
                is_undone(&sandbox);
                calls_off += 1;
            }
            // A quick machine, or one that had no time for this test meanwhile.
            Ok(started) => started.unwrap(),
        }
        runtime.remove(sandbox.id().as_str(), true).await.unwrap();
    }
    assert!(calls_off > 0, "no start was called off");
    let sandbox = runtime.create(options(), None).await.unwrap();
    let starting = tokio::spawn({
        let sandbox = sandbox.clone();
        async move { sandbox.start().await }
    });
    tokio::time::sleep(Duration::from_millis(150)).await;
    runtime.shutdown(Some(5)).await.unwrap();
    match starting.await.unwrap() {
        Err(refused) => {
            let is_told = matches!(&refused, BoxliteError::Stopped(text) if text.contains("shut down"));
            assert!(is_told, "{refused}");
            is_undone(&sandbox);
        }
        // It was quicker, and was stopped.
        Ok(()) => assert_eq!(sandbox.info().status, BoxStatus::Stopped),
    }
    drop(runtime);
    let runtime = open(&home);
    let again = runtime.get(sandbox.id().as_str()).await.unwrap().unwrap();
    let (result, ..) = run(&again, BoxCommand::new("true")).await;
    assert_eq!(result.exit_code, 0);
    runtime.shutdown(Some(0)).await.unwrap();
}

#[tokio::test]
async fn a_stop_of_a_box_that_is_going_down_waits_for_what_it_has_to_write() {
    let home = PerTestBoxHome::new();
    let runtime = open(&home);
    let sandbox = runtime.create(options(), Some("clings".into())).await.unwrap();
    sandbox.start().await.unwrap();
    let other = open(&home);
    let seen = other.get("clings").await.unwrap().unwrap();
    let script = "trap '' TERM; echo written > /late; touch /ready; while :; do sleep 1; done";
    seen.exec(shell(script)).await.unwrap();
    run(&seen, shell("while [ ! -e /ready ]; do sleep 0.05; done")).await;
    let shim = nix::unistd::Pid::from_raw(sandbox.info().pid.unwrap().cast_signed());
    nix::sys::signal::kill(shim, nix::sys::signal::Signal::SIGTERM).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    // This one has no connection to the agent yet, and gets none any more. A busy machine takes its time for the writing.
    runtime.shutdown(Some(30)).await.unwrap();
    let (_, stdout, _) = run(&seen, shell("cat /late")).await;
    assert_eq!(stdout, "written\n");
    other.shutdown(Some(0)).await.unwrap();
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_an_error_with_127() {
    let home = PerTestBoxHome::new();
    let runtime = open(&home);
    let sandbox = runtime.create(options(), None).await.unwrap();
    let error = sandbox.exec(BoxCommand::new("no-such-command")).await.unwrap_err();
    assert!(matches!(&error, BoxliteError::Execution(text) if text.contains("no-such-command")), "{error}");
    assert_eq!(error.exit_code(), Some(127));
    let error = sandbox.exec(BoxCommand::new("/etc/passwd")).await.unwrap_err();
    assert_eq!(error.exit_code(), Some(126), "{error}");
    let (result, ..) = run(&sandbox, BoxCommand::new("true")).await;
    assert_eq!(result.exit_code, 0);
    runtime.shutdown(Some(0)).await.unwrap();
}

#[tokio::test]
async fn a_timeout_kills_everything_and_signals_show_in_the_code() {
    let home = PerTestBoxHome::new();
    let runtime = open(&home);
    let sandbox = runtime.create(options(), None).await.unwrap();
    let execution = sandbox
        .exec(shell("setsid sleep 300 & sleep 300").timeout(Duration::from_millis(300)))
        .await
        .unwrap();
    let result = execution.wait().await.unwrap();
    assert!(result.error_message.is_some() && result.exit_code == -9, "{result:?}");
    assert!(execution.exit().await.unwrap().timed_out);
    // The killed are waited for, but not for ever: a starved machine may still show them.
    let all_gone =
        async { while run(&sandbox, shell("ps | grep -q '[s]leep 300'")).await.0.exit_code == 0 {} };
    tokio::time::timeout(PATIENCE, all_gone).await.expect("all of its processes are killed");
    let execution = sandbox.exec(BoxCommand::new("sleep").arg("300")).await.unwrap();
    execution.signal(libc::SIGTERM).await.unwrap();
    assert_eq!(execution.wait().await.unwrap().exit_code, -libc::SIGTERM);
    runtime.shutdown(Some(0)).await.unwrap();
}

#[tokio::test]
async fn a_stop_is_not_undone_by_a_start_through_the_same_handle() {
    let home = PerTestBoxHome::new();
    let runtime = open(&home);
    for _ in 0..3 {
        let sandbox = runtime.create(options(), None).await.unwrap();
        let other = sandbox.clone();
        let (_, stopped) = tokio::join!(other.start(), sandbox.stop());
        stopped.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let info = sandbox.info();
        assert!(!info.status.is_active() && info.pid.is_none(), "{info:?}");
        runtime.remove(sandbox.id().as_str(), false).await.unwrap();
    }
}

#[tokio::test]
async fn a_home_may_have_any_name_and_length() {
    use std::os::unix::ffi::OsStringExt;
    let outer = tempfile::tempdir().unwrap();
    let odd = std::ffi::OsString::from_vec([b"a b\n\xff".as_slice(), &[b'x'; 120]].concat());
    let odd = outer.path().join(odd);
    std::fs::create_dir(&odd).unwrap();
    let home = PerTestBoxHome::new_in(&odd);
    let runtime = open(&home);
    let sandbox = runtime.create(options(), None).await.unwrap();
    let (result, stdout, _) = run(&sandbox, shell("echo here")).await;
    assert_eq!((result.exit_code, stdout.as_str()), (0, "here\n"));
    sandbox.stop().await.unwrap();
    let again = runtime.get(sandbox.id().as_str()).await.unwrap().unwrap();
    let (result, ..) = run(&again, shell("true")).await;
    assert_eq!(result.exit_code, 0);
    runtime.shutdown(None).await.unwrap();
}
