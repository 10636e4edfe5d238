//! Rows and directories that killed processes, or hands, have left.

use boxlite::BoxStatus;

use super::*;

/// The pid of a process that is no more.
fn dead_pid() -> u32 {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    child.id()
}

#[tokio::test]
async fn a_row_without_a_directory_is_kept_and_its_start_says_what_is_missing() {
    let home = PerTestBoxHome::new();
    let left = Left::in_home(&home).await;
    left.kill().await;
    fs::remove_dir_all(left.dir(&home)).unwrap();
    let runtime = open(&home);
    let sandbox = runtime.get(&left.id).await.unwrap().unwrap();
    assert_eq!(sandbox.info().status, BoxStatus::Stopped);
    let error = sandbox.start().await.unwrap_err();
    assert!(matches!(&error, BoxliteError::Storage(text) if text.contains("box.qcow2")), "{error:?}");
    assert!(error.hint().contains("remove the box"), "{}", error.hint());
    assert!(!left.dir(&home).exists(), "a directory without a disk was made");
    assert_eq!(sandbox.info().status, BoxStatus::Stopped);
    runtime.remove(&left.id, false).await.unwrap();
    drop(runtime);
    closed(&home).await;
    assert_clean(&home, &[&left.id], &[]);
}

#[tokio::test]
async fn a_directory_without_a_row_goes_when_the_home_is_opened() {
    let home = PerTestBoxHome::new();
    let kept = open(&home).create(detached(), None).await.unwrap().id().to_string();
    for id in ["AAAA00000001", "AAAA00000002"] {
        let dir = home.path.join("boxes").join(id);
        fs::create_dir_all(dir.join("logs")).unwrap();
        fs::write(dir.join("box.qcow2"), "a disk that nobody knows").unwrap();
        fs::write(dir.join("shim.pid"), format!("{}\n", std::process::id())).unwrap();
    }
    // What no box is called by is nobody's business.
    fs::create_dir(home.path.join("boxes/notes")).unwrap();
    // One that a killed process had begun to delete.
    fs::create_dir(home.path.join("tmp/orphan-AAAA00000003-x")).unwrap();
    let runtime = open(&home);
    assert_eq!(names_in(&home.path.join("boxes")), ["notes"]);
    assert_eq!(names_in(&home.path.join("tmp")), [] as [&str; 0]);
    assert!(runtime.exists(&kept).await.unwrap());
    fs::remove_dir(home.path.join("boxes/notes")).unwrap();
    drop(runtime);
    closed(&home).await;
    assert_clean(&home, &[&kept], &[]);
}

#[tokio::test]
async fn a_box_that_goes_with_its_runtime_is_gone_for_the_next_one_also_in_one_process() {
    let home = PerTestBoxHome::new();
    let lives = open(&home);
    let brief = BoxOptions { auto_remove: true, detach: false, ..detached() };
    let kept = lives.create(brief.clone(), Some("kept".into())).await.unwrap();
    let ends = open(&home);
    ends.create(brief, Some("gone".into())).await.unwrap();
    // Whose runtime lives has its box; the handle of a box keeps no runtime.
    drop(ends);
    let next = open(&home);
    assert!(!next.exists("gone").await.unwrap());
    assert!(next.exists("kept").await.unwrap());
    drop((lives, next));
    let last = open(&home);
    assert!(!last.exists("kept").await.unwrap());
    drop((last, kept));
    closed(&home).await;
    assert_clean(&home, &[], &[]);
}

#[tokio::test]
async fn acts_that_nobody_finished_are_settled() {
    let home = PerTestBoxHome::new();
    let left = Left::in_home(&home).await;
    left.kill().await;
    let dead = dead_pid();
    for state in ["starting", "running", "stopping"] {
        alter(
            &home,
            &format!(
                "UPDATE boxes SET state = '{state}', pid = {dead}, owner_pid = {dead}, owner_start = 17"
            ),
        );
        let runtime = open(&home);
        let info = runtime.get_info(&left.id).await.unwrap().unwrap();
        assert_eq!((info.status, info.pid), (BoxStatus::Stopped, None), "{state}");
    }
    // The box of an owner that is gone, and one that was being removed.
    for change in [
        format!("owner_pid = {dead}, options = replace(options, '\"detach\":true', '\"detach\":false')"),
        "state = 'removing'".to_owned(),
    ] {
        let runtime = open(&home);
        let doomed = runtime
            .create(BoxOptions { auto_remove: true, detach: false, ..detached() }, Some("doomed".into()))
            .await
            .unwrap();
        drop(runtime);
        alter(&home, &format!("UPDATE boxes SET {change} WHERE name = 'doomed'"));
        fs::create_dir(home.path.join("boxes").join(doomed.id().as_str())).unwrap();
        let runtime = open(&home);
        assert!(!runtime.exists("doomed").await.unwrap(), "{change}");
        assert_eq!(runtime.list_info().await.unwrap().len(), 1);
    }
    let runtime = open(&home);
    succeeds(&runtime.get(&left.id).await.unwrap().unwrap(), "grep -q data /file").await;
    runtime.remove(&left.id, true).await.unwrap();
    drop(runtime);
    closed(&home).await;
    assert_clean(&home, &[&left.id], &[]);
}

#[tokio::test]
async fn one_bad_box_keeps_no_home_from_being_opened() {
    let home = PerTestBoxHome::new();
    let runtime = open(&home);
    let bad = runtime.create(detached(), Some("bad".into())).await.unwrap();
    let good = runtime.create(detached(), Some("good".into())).await.unwrap();
    drop(runtime);
    alter(&home, "UPDATE boxes SET options = 'no JSON', state = 'running', pid = 1 WHERE name = 'bad'");
    let runtime = open(&home);
    assert_eq!(runtime.get_info("bad").await.unwrap().unwrap().status, BoxStatus::Unknown);
    assert_eq!(runtime.get_info("good").await.unwrap().unwrap().status, BoxStatus::Configured);
    for id in [bad.id(), good.id()] {
        runtime.remove(id.as_str(), true).await.unwrap();
    }
    drop((runtime, bad, good));
    closed(&home).await;
    assert_clean(&home, &[], &[]);
}

#[tokio::test]
async fn a_copy_of_a_home_leaves_the_boxes_of_the_original_alone() {
    let home = PerTestBoxHome::new();
    let copy = PerTestBoxHome::new();
    let left = Left::in_home(&home).await;
    closed(&home).await;
    for dir in ["db", "boxes"] {
        let copied =
            std::process::Command::new("cp").arg("-a").arg(home.path.join(dir)).arg(&copy.path).status();
        assert!(copied.unwrap().success());
    }
    // The copy's box has the same id, row and pid file, and doesn't run.
    let runtime = open(&copy);
    assert_eq!(runtime.get_info(&left.id).await.unwrap().unwrap().status, BoxStatus::Stopped);
    runtime.remove(&left.id, true).await.unwrap();
    drop(runtime);
    closed(&copy).await;
    assert_clean(&copy, &[], &[]);
    let runtime = open(&home);
    let info = runtime.get_info(&left.id).await.unwrap().unwrap();
    assert_eq!((info.status, info.pid), (BoxStatus::Running, Some(left.pid)));
    succeeds(&runtime.get(&left.id).await.unwrap().unwrap(), "grep -q data /file").await;
    runtime.remove(&left.id, true).await.unwrap();
    drop(runtime);
    closed(&home).await;
    assert_clean(&home, &[&left.id], &[]);
}
