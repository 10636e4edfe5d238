use std::time::Instant;

use futures::FutureExt;

use super::*;
use crate::RootfsSpec;
use crate::db::{BoxState, Settled};

fn open(home: &tempfile::TempDir) -> BoxliteRuntime {
    BoxliteRuntime::builder().home_dir(home.path()).build().unwrap()
}

fn kept() -> BoxOptions {
    BoxOptions { auto_remove: false, ..BoxOptions::default() }
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
    let deadline = Instant::now() + Duration::from_secs(5);
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
        assert!(database.begin(sandbox.id(), &[BoxState::Configured], BoxState::Starting).unwrap());
        if by_stop {
            sandbox.stop().await.unwrap();
        } else {
            runtime.get(sandbox.id().as_str()).await.unwrap().unwrap();
        }
        assert_eq!(database.get(sandbox.id()).unwrap().unwrap().state, BoxState::Configured);
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
    database.settle(sandbox.id(), &Settled::Failed { reason: "the engine ended".into() }).unwrap();
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
        assert!(database.begin(sandbox.id(), &[BoxState::Configured], BoxState::Removing).unwrap());
        // A file where the directory should be can't be deleted as one.
        std::fs::write(layout.of_box(sandbox.id()).dir(), b"").unwrap();
    }
    assert!(!stray.exists() && !cut_off.exists());
    let runtime = open(&home);
    assert!(runtime.exists("bad").await.unwrap());
}
