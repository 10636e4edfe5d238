//! Boxes that ended while nobody looked, and disks that are not what they were.

use boxlite::BoxStatus;

use super::*;

#[tokio::test]
async fn a_crash_is_told_by_the_next_runtime_and_kept_until_the_next_start() {
    let home = PerTestBoxHome::new();
    let left = Left::in_home(&home).await;
    let dir = left.dir(&home);
    let engine = processes_naming(&left.id).into_iter().find(|pid| *pid != left.pid).unwrap();
    kill(engine);
    within(PATIENCE, "the shim tells the end", || processes_naming(&left.id).is_empty()).await;
    assert!(dir.join("exit").exists());
    for _ in 0..2 {
        let runtime = open(&home);
        let info = runtime.get_info(&left.id).await.unwrap().unwrap();
        assert_eq!((info.status, info.pid), (BoxStatus::Failed, None));
        let reason = info.failure.unwrap();
        assert!(reason.contains("engine") && reason.contains('9'), "{reason}");
        assert_at_rest(&dir);
    }
    // Garbage in its place is an end like any other.
    fs::write(dir.join("exit"), [0xff; 100]).unwrap();
    alter(&home, "UPDATE boxes SET state = 'running', failure = NULL");
    let runtime = open(&home);
    assert_eq!(runtime.get_info(&left.id).await.unwrap().unwrap().status, BoxStatus::Stopped);
    fs::write(dir.join("exit"), r#"{"type":"crashed","exit_code":null,"signal":11,"message":"hm"}"#).unwrap();
    alter(&home, "UPDATE boxes SET state = 'running'");
    let sandbox = runtime.get(&left.id).await.unwrap().unwrap();
    let info = sandbox.info();
    assert_eq!((info.status, info.failure.as_deref()), (BoxStatus::Failed, Some("hm")));
    succeeds(&sandbox, "grep -q data /file").await;
    assert_eq!(sandbox.info().failure, None);
    assert!(!dir.join("exit").exists());
    assert!(fs::read_to_string(dir.join("exit.previous")).unwrap().contains("hm"));
    runtime.remove(&left.id, true).await.unwrap();
    drop(runtime);
    closed(&home).await;
    assert_clean(&home, &[&left.id], &[]);
}

#[tokio::test]
async fn a_torn_disk_is_named_and_kept_and_keeps_no_other_box_from_running() {
    let home = PerTestBoxHome::new();
    let left = Left::in_home(&home).await;
    left.kill().await;
    let disk = left.dir(&home).join("box.qcow2");
    let whole = fs::read(&disk).unwrap();
    let mut garbage = whole.clone();
    garbage[..65536].fill(0xa5);
    let runtime = open(&home);
    for content in [&whole[..1000], &garbage, b""] {
        fs::write(&disk, content).unwrap();
        let sandbox = runtime.get(&left.id).await.unwrap().unwrap();
        let error = sandbox.start().await.unwrap_err();
        assert!(matches!(error, BoxliteError::Storage(_)), "{error:?}");
        assert!(error.to_string().contains("box.qcow2"), "{error}");
        assert!(error.hint().contains("qemu-img check"), "{}", error.hint());
        assert_eq!(fs::read(&disk).unwrap(), content, "the file was changed");
        assert_eq!(sandbox.info().status, BoxStatus::Stopped);
        assert_at_rest(&left.dir(&home));
    }
    let other = runtime.create(detached(), None).await.unwrap();
    succeeds(&other, "true").await;
    runtime.remove(other.id().as_str(), true).await.unwrap();
    // A backup in its place, and all is as it was.
    fs::write(&disk, &whole).unwrap();
    succeeds(&runtime.get(&left.id).await.unwrap().unwrap(), "grep -q data /file").await;
    runtime.remove(&left.id, true).await.unwrap();
    drop(runtime);
    closed(&home).await;
    assert_clean(&home, &[&left.id, other.id().as_str()], &[]);
}
