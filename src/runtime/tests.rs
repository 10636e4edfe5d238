use std::time::Instant;

use futures::FutureExt;

use super::*;
use crate::RootfsSpec;
use crate::db::{AtRest, BoxState, Held, HeldBox, Rest};

fn open(home: &tempfile::TempDir) -> BoxliteRuntime {
    BoxliteRuntime::builder().home_dir(home.path()).build().unwrap()
}

fn kept() -> BoxOptions {
    BoxOptions { auto_remove: false, ..BoxOptions::default() }
}

/// The box with its lock, as nobody is at it.
fn hold(runtime: &BoxliteRuntime, id: &BoxID) -> Held<AtRest> {
    let lock = runtime.core.locks.try_acquire(id.as_str(), "test").unwrap().unwrap();
    match runtime.core.database.hold(id, lock).unwrap() {
        Some(HeldBox::AtRest(resting)) => resting,
        other => panic!("not at rest: {other:?}"),
    }
}

#[tokio::test]
async fn a_create_whose_caller_leaves_makes_no_box() {
    let home = tempfile::tempdir().unwrap();
    let runtime = open(&home);
    for round in 0..20 {
        let mut create = Box::pin(runtime.create(kept(), Some(format!("left-{round}"))));
        if let Some(made) = (&mut create).now_or_never() {
            // It was quicker than its caller left.
            runtime.remove(made.unwrap().id().as_str(), false).await.unwrap();
        }
        std::thread::sleep(Duration::from_micros(round * 100));
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    while !runtime.list_info().await.unwrap().is_empty() {
        assert!(Instant::now() < deadline, "{:?}", runtime.list_info().await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    runtime.create(kept(), Some("left-0".into())).await.unwrap();
}

#[tokio::test]
async fn a_first_start_that_its_process_did_not_finish_leaves_a_box_that_never_ran() {
    let home = tempfile::tempdir().unwrap();
    let runtime = open(&home);
    for by_stop in [true, false] {
        let sandbox = runtime.create(kept(), None).await.unwrap();
        let database = &runtime.core.database;
        drop(hold(&runtime, sandbox.id()).begin_start(database).unwrap());
        if by_stop {
            sandbox.stop().await.unwrap();
        } else {
            runtime.get(sandbox.id().as_str()).await.unwrap().unwrap();
        }
        assert_eq!(database.get(sandbox.id()).unwrap().unwrap().state, BoxState::Configured);
    }
}

#[tokio::test]
async fn a_box_whose_machine_is_gone_is_shown_as_ended_also_before_that_is_written() {
    let home = tempfile::tempdir().unwrap();
    let (runtime, another) = (open(&home), open(&home));
    let database = &runtime.core.database;
    // No process has this number.
    let gone = crate::util::PidRecord { pid: u32::MAX >> 1, start_time: Some(1) };
    for by_stop in [true, false] {
        let sandbox = runtime.create(kept(), None).await.unwrap();
        let running = hold(&runtime, sandbox.id()).found_running(database, &gone).unwrap();
        // Either has the lock until the end of the loop, as whoever is about to settle the box.
        let (_stopping, _running) =
            if by_stop { (Some(running.begin_stop(database)), None) } else { (None, Some(running)) };
        let id = sandbox.id().as_str();
        let shown = another.get_info(id).await.unwrap().unwrap();
        assert_eq!((shown.status, shown.pid), (types::BoxStatus::Stopped, None), "stop: {by_stop}");
        let shown = sandbox.info();
        assert_eq!((shown.status, shown.pid), (types::BoxStatus::Stopped, None), "stop: {by_stop}");
        assert!(
            database.get(sandbox.id()).unwrap().unwrap().pid.is_some(),
            "the row is its holder's to write"
        );
    }
}

#[tokio::test]
async fn a_failed_start_changes_no_failed_box() {
    let home = tempfile::tempdir().unwrap();
    let pieces = tempfile::tempdir().unwrap();
    let rootfs = tempfile::tempdir().unwrap();
    let runtime = BoxliteRuntime::builder().home_dir(home.path()).runtime_dir(pieces.path()).build().unwrap();
    let path = rootfs.path().to_str().unwrap().to_owned();
    let options = BoxOptions { rootfs: RootfsSpec::RootfsPath(path), ..kept() };
    let sandbox = runtime.create(options, None).await.unwrap();
    let database = &runtime.core.database;
    assert!(matches!(sandbox.start().await.unwrap_err(), BoxliteError::Config(_)));
    assert_eq!(sandbox.info().status, types::BoxStatus::Configured);
    assert!(!runtime.core.layout.of_box(sandbox.id()).box_disk().exists());
    let starting = hold(&runtime, sandbox.id()).begin_start(database).unwrap();
    drop(starting.come_to_rest(database, &Rest::Failed { reason: "the engine ended".into() }).unwrap());
    sandbox.start().await.unwrap_err();
    assert_eq!(sandbox.info().failure.as_deref(), Some("the engine ended"));
}

#[tokio::test]
async fn opening_a_home_clears_what_no_box_owns_and_opens_despite_one_bad_box() {
    let home = tempfile::tempdir().unwrap();
    let layout = crate::layout::Layout::prepare(home.path()).unwrap();
    let (stray, cut_off) = (layout.boxes().join("AAAA00000001"), layout.tmp().join("orphan-AAAA00000002-x"));
    for dir in [&stray, &cut_off] {
        std::fs::create_dir_all(dir.join("logs")).unwrap();
    }
    {
        let runtime = open(&home);
        let sandbox = runtime.create(kept(), Some("bad".into())).await.unwrap();
        let database = &runtime.core.database;
        drop(hold(&runtime, sandbox.id()).begin_remove(database));
        // A file where the directory should be can't be deleted as one.
        std::fs::write(layout.of_box(sandbox.id()).dir(), b"").unwrap();
    }
    assert!(!stray.exists() && !cut_off.exists());
    let runtime = open(&home);
    assert!(runtime.exists("bad").await.unwrap());
}

#[test]
fn a_home_that_lost_its_database_is_not_taken_for_a_new_one() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("db/boxlite.db");
    drop(open(&home));
    let directory = home.path().join("boxes/AAAA00000001");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("box.qcow2"), "a disk").unwrap();
    for emptied in [true, false] {
        if emptied {
            std::fs::write(&path, "").unwrap()
        } else {
            std::fs::remove_file(&path).unwrap()
        }
        let error = BoxliteRuntime::builder().home_dir(home.path()).build().unwrap_err();
        assert!(matches!(&error, BoxliteError::Database(text) if text.contains("boxlite.db")), "{error}");
        assert!(error.hint().contains("repair"), "{}", error.hint());
        assert!(directory.join("box.qcow2").exists());
        assert_eq!(path.exists(), emptied, "a database was made");
        assert_eq!(std::fs::read_dir(home.path().join("locks")).unwrap().count(), 0);
    }
    // Without a disk there is nothing to lose, and nothing to repair from.
    std::fs::remove_file(directory.join("box.qcow2")).unwrap();
    open(&home);
    assert!(!directory.exists());
}
