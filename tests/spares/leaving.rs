//! Nothing is left of a spare that is not wanted any more, however its runtime went.

use std::fs;
use std::path::Path;

use boxlite::BoxOptions;
use boxlite_test_utils::home::{PerTestBoxHome, processes_below};

use crate::again::{Another, order, say};
use crate::processes::processes_naming;
use crate::small_box::small_box;
use crate::{PATIENCE, open, output, ready, spares, was_claimed, with_spare, within};

#[tokio::test]
async fn a_box_that_is_never_started_leaves_its_spare() {
    let home = PerTestBoxHome::new();
    let runtime = with_spare(&home).await;
    let sandbox = runtime.create(small_box(), None).await.unwrap();
    let id = sandbox.id().to_string();
    assert!(!processes_naming(&id).is_empty());
    runtime.remove(&id, false).await.unwrap();
    assert_eq!(processes_naming(&id), [0; 0]);
    assert_eq!(spares(&home), Vec::<String>::new());
    runtime.shutdown(None).await.unwrap();
}

#[tokio::test]
async fn spares_go_with_their_runtime() {
    let home = PerTestBoxHome::new();
    let runtime = with_spare(&home).await;
    let reserved = runtime.create(small_box(), None).await.unwrap();
    assert!(!processes_naming(reserved.id().as_str()).is_empty());
    runtime.shutdown(None).await.unwrap();
    assert_eq!(processes_below(&home.path), []);
    assert_eq!(spares(&home), Vec::<String>::new());
    drop(runtime);

    let runtime = with_spare(&home).await;
    assert_eq!(spares(&home).len(), 1);
    drop(runtime);
    within(PATIENCE, "no process is left", || processes_below(&home.path).is_empty()).await;
    within(PATIENCE, "no directory is left", || spares(&home).is_empty()).await;
}

#[tokio::test]
async fn a_detached_box_that_was_a_spare_stays() {
    let home = PerTestBoxHome::new();
    let runtime = with_spare(&home).await;
    let detached = BoxOptions { detach: true, ..small_box() };
    let sandbox = runtime.create(detached, Some("stays".into())).await.unwrap();
    output(&sandbox, "touch /tmp/here").await;
    assert!(was_claimed(&sandbox));
    let pid = sandbox.info().pid;
    drop((sandbox, runtime));

    let runtime = open(&home.path, 0);
    let sandbox = runtime.get("stays").await.unwrap().unwrap();
    assert_eq!(sandbox.info().pid, pid);
    assert_eq!(output(&sandbox, "ls /tmp").await, "here\n");
    runtime.remove("stays", true).await.unwrap();
    assert_eq!(processes_naming(sandbox.id().as_str()), [0; 0]);
    runtime.shutdown(None).await.unwrap();
}

/// A program that has a spare and does nothing.
#[tokio::test]
async fn as_an_owner_of_a_spare() {
    let Some(order) = order() else { return };
    let runtime = open(Path::new(&order), 1);
    let first = runtime.create(small_box(), None).await.unwrap();
    first.start().await.unwrap();
    ready(&runtime).await;
    say("ready");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_killed_owner_leaves_nothing() {
    let home = PerTestBoxHome::new();
    let mut owner = Another::start("leaving::as_an_owner_of_a_spare", &home.path.display().to_string());
    assert_eq!(owner.hear(), "ready");
    let [id] = spares(&home).try_into().unwrap();
    // Another runtime on the same home lets it be.
    let other = open(&home.path, 0);
    assert_eq!(spares(&home), std::slice::from_ref(&id));
    assert!(!processes_naming(&id).is_empty());
    owner.signal(libc::SIGKILL);
    within(PATIENCE, "the owner is gone", || owner.ended().is_some()).await;
    within(PATIENCE, "no process is left", || processes_below(&home.path).is_empty()).await;
    within(PATIENCE, "no directory is left", || spares(&home).is_empty()).await;
    drop(other);
}

#[tokio::test]
async fn what_a_killed_shim_leaves_is_swept() {
    let home = PerTestBoxHome::new();
    let runtime = with_spare(&home).await;
    let [id] = spares(&home).try_into().unwrap();
    // Its machine goes with it. One that is killed before its shim has a shim that clears it away.
    for pid in processes_naming(&id) {
        if fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with(b"boxlite-shim")) {
            // SAFETY: kill takes two integers.
            unsafe { libc::kill(i32::try_from(pid).unwrap(), libc::SIGKILL) };
        }
    }
    within(PATIENCE, "its processes are gone", || processes_naming(&id).is_empty()).await;
    within(PATIENCE, "it is known", || runtime.start_counts().spares_ready == 0).await;
    let directory = home.path.join("spares").join(&id);
    assert!(fs::exists(&directory).unwrap());
    let other = open(&home.path, 0);
    assert!(!fs::exists(&directory).unwrap());
    drop(other);
    runtime.shutdown(None).await.unwrap();
}
