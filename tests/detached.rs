//! Boxes that outlive their runtime, and whole trees of processes that go when they should.

#[path = "support/processes.rs"]
mod processes;
#[path = "support/small_box.rs"]
mod small_box;
#[path = "support/waiting.rs"]
mod waiting;

use boxlite::runtime::options::BoxliteOptions;
use boxlite::util::{PidFileReader, is_process_alive};
use boxlite::{BoxCommand, BoxOptions, BoxStatus, BoxliteRuntime, LiteBox};
use boxlite_test_utils::home::PerTestBoxHome;
use processes::processes_naming;
use small_box::small_box;
use waiting::{PATIENCE, within};

fn open(home: &PerTestBoxHome) -> BoxliteRuntime {
    BoxliteRuntime::new(BoxliteOptions { home_dir: home.path.clone(), image_registries: Vec::new() }).unwrap()
}

fn options(detach: bool) -> BoxOptions {
    BoxOptions { detach, ..small_box() }
}

async fn succeeds(sandbox: &LiteBox, script: &str) {
    let execution = sandbox.exec(BoxCommand::new("sh").args(["-c", script])).await.unwrap();
    assert_eq!(execution.wait().await.unwrap().exit_code, 0, "{script}");
}

#[tokio::test]
async fn a_detached_box_survives_its_runtime_and_is_found_again() {
    let home = PerTestBoxHome::new();
    let (id, pid) = {
        let runtime = open(&home);
        let sandbox = runtime.create(options(true), Some("kept".into())).await.unwrap();
        succeeds(&sandbox, "echo data > /file").await;
        let info = sandbox.info();
        let pid_file = home.path.join("boxes").join(sandbox.id().as_str()).join("shim.pid");
        assert_eq!(Some(PidFileReader::at(&pid_file).read().unwrap().pid), info.pid, "after the first exec");
        (sandbox.id().clone(), info.pid.unwrap())
    };
    let runtime = open(&home);
    let info = runtime.get_info("kept").await.unwrap().unwrap();
    assert_eq!((info.status, info.pid), (BoxStatus::Running, Some(pid)));
    let sandbox = runtime.get("kept").await.unwrap().unwrap();
    succeeds(&sandbox, "grep -q data /file").await;
    assert_eq!(sandbox.info().pid, Some(pid), "exec took the running box");
    // A shutdown leaves detached boxes alone.
    runtime.shutdown(None).await.unwrap();
    assert!(is_process_alive(pid));

    let runtime = open(&home);
    let sandbox = runtime.get("kept").await.unwrap().unwrap();
    sandbox.stop().await.unwrap();
    assert!(processes_naming(id.as_str()).is_empty(), "the tree is left after stop");
    let info = runtime.get_info("kept").await.unwrap().unwrap();
    assert_eq!((info.status, info.pid), (BoxStatus::Stopped, None));
    assert!(home.path.join("boxes").join(id.as_str()).join("box.qcow2").exists());
    runtime.remove("kept", false).await.unwrap();
    assert!(!home.path.join("boxes").join(id.as_str()).exists());
}

#[tokio::test]
async fn a_box_that_is_not_detached_goes_with_its_runtime_and_a_detached_one_beside_it_stays() {
    let home = PerTestBoxHome::new();
    let runtime = open(&home);
    let owned = runtime.create(options(false), Some("owned".into())).await.unwrap();
    let kept = runtime.create(options(true), Some("kept".into())).await.unwrap();
    let (owned_started, kept_started) = tokio::join!(owned.start(), kept.start());
    owned_started.unwrap();
    kept_started.unwrap();
    let (id, pid) = (owned.id().as_str().to_owned(), kept.info().pid);
    drop((owned, kept, runtime));
    within(PATIENCE, "the whole tree goes", || processes_naming(&id).is_empty()).await;

    let runtime = open(&home);
    let info = runtime.get_info("owned").await.unwrap().unwrap();
    assert_eq!((info.status, info.pid), (BoxStatus::Stopped, None));
    // The drop that took one took its time for the other, too.
    let info = runtime.get_info("kept").await.unwrap().unwrap();
    assert_eq!((info.status, info.pid), (BoxStatus::Running, pid));
    assert!(is_process_alive(pid.unwrap()));
    runtime.remove("kept", true).await.unwrap();
}

#[tokio::test]
async fn three_boxes_have_three_pids_and_all_go_by_force() {
    let home = PerTestBoxHome::new();
    let runtime = open(&home);
    let mut pids = Vec::new();
    let mut ids = Vec::new();
    for detach in [true, false, true] {
        let sandbox = runtime.create(options(detach), None).await.unwrap();
        sandbox.start().await.unwrap();
        pids.push(sandbox.info().pid.unwrap());
        ids.push(sandbox.id().as_str().to_owned());
    }
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 3);
    for id in &ids {
        assert!(processes_naming(id).len() >= 2, "shim and engine carry the id");
        runtime.remove(id, true).await.unwrap();
        assert!(processes_naming(id).is_empty(), "the tree is left after remove");
    }
    assert!(runtime.list_info().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_killed_shim_takes_its_engine_along_and_the_box_can_be_started_again() {
    let home = PerTestBoxHome::new();
    let runtime = open(&home);
    let sandbox = runtime.create(options(true), None).await.unwrap();
    succeeds(&sandbox, "echo kept > /file; sync").await;
    let (id, pid) = (sandbox.id().as_str().to_owned(), sandbox.info().pid.unwrap());
    let waiting = sandbox.exec(BoxCommand::new("sleep").arg("300")).await.unwrap();
    // SAFETY: kill takes two integers; the pid is our own box's shim.
    assert_eq!(unsafe { libc::kill(pid as i32, libc::SIGKILL) }, 0);
    within(PATIENCE, "the engine ends with its shim", || processes_naming(&id).is_empty()).await;
    let lost = waiting.wait().await.unwrap_err();
    assert!(matches!(lost, boxlite::BoxliteError::Stopped(_)), "{lost:?}");
    // Seen at once; the watcher clears up and settles the row by itself, a moment later.
    within(PATIENCE, "the end is seen", || sandbox.info().pid.is_none()).await;
    let pid_file = home.path.join("boxes").join(&id).join("shim.pid");
    within(PATIENCE, "the pid file is cleared away", || !pid_file.exists()).await;
    assert_eq!(sandbox.info().status, BoxStatus::Stopped);
    succeeds(&sandbox, "grep -q kept /file").await;
    runtime.remove(&id, true).await.unwrap();
}

#[tokio::test]
async fn an_auto_removed_box_is_gone_after_stop_and_a_late_remove_is_fine() {
    let home = PerTestBoxHome::new();
    let runtime = open(&home);
    let sandbox = runtime.create(BoxOptions { auto_remove: true, ..options(false) }, None).await.unwrap();
    sandbox.start().await.unwrap();
    let id = sandbox.id().as_str().to_owned();
    sandbox.stop().await.unwrap();
    assert!(!runtime.exists(&id).await.unwrap());
    assert!(!home.path.join("boxes").join(&id).exists());
    runtime.remove(&id, false).await.unwrap();
    let made_up = runtime.remove("AAAAAAAAAAAA", false).await.unwrap_err();
    assert!(matches!(&made_up, boxlite::BoxliteError::NotFound(text) if text.contains("not found")));
    // One that never ran, too.
    let idle = runtime.create(BoxOptions { auto_remove: true, ..options(false) }, None).await.unwrap();
    idle.stop().await.unwrap();
    assert!(runtime.list_info().await.unwrap().is_empty());
}
