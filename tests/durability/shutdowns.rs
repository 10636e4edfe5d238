//! Shutdowns: how long they wait, whom they stop, whom they leave alone, and what can be done afterwards.

use std::ops::Range;
use std::time::Duration;

use boxlite::runtime::options::BoxliteOptions;
use boxlite::{BoxOptions, BoxStatus, BoxliteError, BoxliteRuntime};
use boxlite_test_utils::home::PerTestBoxHome;
use futures::future::join_all;
use nix::sys::signal::Signal;

use super::{busy, engine_of, open, options, say, send, shell, until, within};

const DEAF: &str = "trap '' TERM; echo ready; while :; do sleep 1; done";

#[tokio::test]
async fn no_time_means_at_once() {
    let home = PerTestBoxHome::new();
    let runtime = open(&home);
    let sandbox = runtime.create(options(), None).await.expect("a box");
    let deaf = busy(&sandbox, DEAF).await;
    let shim = sandbox.info().pid.expect("the box runs");
    let (done, took) = within(60, "the shutdown", runtime.shutdown(Some(0))).await;
    done.expect("a shutdown");
    assert!(took < Duration::from_secs(7), "as long as with some time: {took:?}");
    until("the box is killed", || !boxlite::util::is_process_alive(shim)).await;
    let lost = deaf.wait().await.expect_err("nobody could tell");
    assert!(matches!(lost, BoxliteError::Stopped(_)), "{lost:?}");
}

/// A machine that does not react ends a shutdown's patience.
async fn hangs(limit: Option<i32>, seconds: Range<u64>) {
    let home = PerTestBoxHome::new();
    let runtime = open(&home);
    let sandbox = runtime.create(options(), None).await.expect("a box");
    sandbox.start().await.expect("a start");
    let shim = sandbox.info().pid.expect("the box runs");
    send(Signal::SIGSTOP, engine_of(&sandbox));
    let (done, took) = within(60, "the shutdown", runtime.shutdown(limit)).await;
    done.expect("a shutdown");
    assert!(seconds.contains(&took.as_secs()), "{limit:?}: {took:?}");
    until("the hanging machine is killed", || !boxlite::util::is_process_alive(shim)).await;
}

#[tokio::test]
async fn a_machine_that_hangs_is_waited_for_as_long_as_was_said() {
    tokio::join!(hangs(Some(2), 1..7), hangs(None, 7..30), hangs(Some(-7), 7..30));
}

#[tokio::test]
async fn minus_one_waits_for_ever() {
    let home = PerTestBoxHome::new();
    let runtime = open(&home);
    let sandbox = runtime.create(options(), Some("slow".into())).await.expect("a box");
    say(&sandbox, "echo unsynced > /file").await;
    let engine = engine_of(&sandbox);
    send(Signal::SIGSTOP, engine);
    let shutdown = tokio::spawn({
        let runtime = runtime.clone();
        async move { runtime.shutdown(Some(-1)).await }
    });
    // Longer than any other shutdown, and than a stop.
    tokio::time::sleep(Duration::from_secs(13)).await;
    assert!(!shutdown.is_finished());
    send(Signal::SIGCONT, engine);
    let (done, _) = within(60, "the shutdown", shutdown).await;
    done.expect("the task").expect("a shutdown");

    let runtime = open(&home);
    let sandbox = runtime.get("slow").await.expect("an answer").expect("the box");
    assert_eq!(say(&sandbox, "cat /file").await, "unsynced\n");
    runtime.shutdown(Some(0)).await.expect("the end");
}

#[tokio::test]
async fn a_shutdown_ends_this_runtimes_boxes_alone_and_all_that_starts_some() {
    let home = PerTestBoxHome::new();
    let (runtime, other) = (open(&home), open(&home));
    let own = runtime.create(options(), Some("own".into())).await.expect("a box");
    let detached = BoxOptions { detach: true, ..options() };
    let detached = runtime.create(detached, Some("detached".into())).await.expect("a box");
    let theirs = other.create(options(), Some("theirs".into())).await.expect("a box");
    for sandbox in [&own, &detached, &theirs] {
        sandbox.start().await.expect("a start");
    }
    // Used by this runtime, too, which does not make it its own.
    let used = runtime.get("theirs").await.expect("an answer").expect("the box");
    say(&used, "true").await;

    let clones: Vec<BoxliteRuntime> = (0..4).map(|_| runtime.clone()).collect();
    let all = join_all(clones.iter().map(|clone| clone.shutdown(None)));
    let (done, _) = within(30, "four shutdowns", all).await;
    done.into_iter().for_each(|done| done.expect("a shutdown"));
    runtime.shutdown(None).await.expect("a later one");

    let info = |name| {
        let runtime = runtime.clone();
        async move { runtime.get_info(name).await.expect("an answer").expect("the box") }
    };
    assert_eq!((info("own").await.status, info("own").await.pid), (BoxStatus::Stopped, None));
    assert_eq!(info("detached").await.status, BoxStatus::Running);
    assert_eq!(info("theirs").await.status, BoxStatus::Running);
    assert_eq!(say(&theirs, "echo there").await, "there\n");

    for refused in [
        runtime.create(options(), None).await.map(|_| ()),
        own.start().await,
        detached.start().await,
        detached.exec(shell("true")).await.map(|_| ()),
        used.exec(shell("true")).await.map(|_| ()),
    ] {
        let refused = refused.expect_err("after a shutdown");
        assert!(matches!(&refused, BoxliteError::Stopped(text) if text.contains("shut down")), "{refused:?}");
    }
    let names: Vec<_> =
        runtime.list_info().await.expect("a list").into_iter().map(|info| info.name).collect();
    assert_eq!(names, ["theirs", "detached", "own"].map(|name| Some(name.to_owned())));
    other.remove("detached", true).await.expect("a removal");
    other.shutdown(Some(0)).await.expect("the end");
}

#[tokio::test]
async fn a_box_that_another_runtime_stopped_and_started_is_that_ones() {
    let home = PerTestBoxHome::new();
    let (first, other) = (open(&home), open(&home));
    let begun = first.create(options(), Some("moved".into())).await.expect("a box");
    begun.start().await.expect("a start");
    let taken = other.get("moved").await.expect("an answer").expect("the box");
    taken.stop().await.expect("a stop");
    let taken = other.get("moved").await.expect("an answer").expect("the box");
    taken.start().await.expect("a start");

    first.shutdown(None).await.expect("a shutdown");
    drop(first);
    assert_eq!(taken.info().status, BoxStatus::Running);
    assert_eq!(say(&taken, "echo there").await, "there\n");
    other.shutdown(Some(0)).await.expect("the end");
}

#[tokio::test]
async fn after_shutdown_and_drop_the_database_is_one_file() {
    let home = PerTestBoxHome::new();
    let runtime = open(&home);
    for number in 0..20 {
        runtime.create(options(), Some(format!("box-{number}"))).await.expect("a box");
    }
    let ran = runtime.get("box-7").await.expect("an answer").expect("the box");
    ran.start().await.expect("a start");
    runtime.shutdown(None).await.expect("a shutdown");
    drop(runtime);
    let database = home.path.join("db/boxlite.db");
    until("the log is folded in", || !database.with_extension("db-wal").exists()).await;

    // The handle of a box keeps no file of the home open.
    assert_eq!(ran.info().name.as_deref(), Some("box-7"));
    let copy = PerTestBoxHome::new();
    std::fs::create_dir(copy.path.join("db")).expect("a directory");
    std::fs::copy(&database, copy.path.join("db/boxlite.db")).expect("a copy");
    let options = BoxliteOptions { home_dir: copy.path.clone(), image_registries: Vec::new() };
    let runtime = BoxliteRuntime::new(options).expect("a runtime on the copy");
    let boxes = runtime.list_info().await.expect("a list");
    let names: Vec<_> = boxes.iter().map(|info| info.name.clone().expect("a name")).collect();
    assert_eq!(names, (0..20).rev().map(|number| format!("box-{number}")).collect::<Vec<_>>());
    let stopped: Vec<_> = boxes.iter().filter(|info| info.status == BoxStatus::Stopped).collect();
    assert!(stopped.len() == 1 && stopped[0].name.as_deref() == Some("box-7"), "{stopped:?}");
}
