//! Homes whose database is lost are made whole from what is left.

use boxlite::BoxStatus;
use boxlite::runtime::repair::{RepairOutcome, RepairReport};

use super::*;

fn repair(home: &PerTestBoxHome) -> RepairReport {
    BoxliteRuntime::builder().home_dir(&home.path).repair().unwrap()
}

fn outcome(report: &RepairReport, id: &str) -> RepairOutcome {
    report.boxes.iter().find(|item| item.id.as_str() == id).unwrap().outcome
}

#[tokio::test]
async fn a_running_box_survives_the_loss_of_its_database() {
    let home = PerTestBoxHome::new();
    let left = Left::in_home(&home).await;
    closed(&home).await;
    let started_at = open(&home).get_info("left").await.unwrap().unwrap().started_at.unwrap();
    closed(&home).await;
    fs::remove_file(home.path.join("db/boxlite.db")).unwrap();
    assert_names_database(&try_open(&home.path).unwrap_err());
    assert!(is_process_alive(left.pid));
    // Two at once: one repairs, the other finds a sound database.
    let reports = std::thread::scope(|scope| {
        [scope.spawn(|| repair(&home)), scope.spawn(|| repair(&home))].map(|one| one.join().unwrap())
    });
    let rebuilt = reports.iter().filter(|report| outcome(report, &left.id) == RepairOutcome::Rebuilt).count();
    assert_eq!(rebuilt, 1, "{reports:?}");
    assert!(reports.iter().all(|report| report.kept_aside.is_empty()), "there was nothing to keep");
    let runtime = open(&home);
    let info = runtime.get_info("left").await.unwrap().unwrap();
    assert_eq!((info.status, info.pid, info.detach), (BoxStatus::Running, Some(left.pid), true));
    assert!((info.started_at.unwrap() - started_at).num_milliseconds().abs() < 1000);
    let sandbox = runtime.get("left").await.unwrap().unwrap();
    succeeds(&sandbox, "grep -q data /file").await;
    sandbox.stop().await.unwrap();
    // At rest, too.
    runtime.shutdown(None).await.unwrap();
    drop((runtime, sandbox));
    closed(&home).await;
    fs::write(home.path.join("db/boxlite.db"), "a text").unwrap();
    let report = repair(&home);
    assert_eq!(outcome(&report, &left.id), RepairOutcome::Rebuilt);
    assert_eq!(fs::read_to_string(&report.kept_aside[0]).unwrap(), "a text");
    let runtime = open(&home);
    let sandbox = runtime.get("left").await.unwrap().unwrap();
    assert_eq!((sandbox.info().status, sandbox.info().pid), (BoxStatus::Stopped, None));
    succeeds(&sandbox, "grep -q data /file").await;
    runtime.remove("left", true).await.unwrap();
    drop((runtime, sandbox));
    closed(&home).await;
    assert_clean(&home, &[&left.id], &report.kept_aside);
}

#[tokio::test]
async fn what_a_torn_database_still_says_is_kept() {
    let home = PerTestBoxHome::new();
    let runtime = open(&home);
    let mut ids = Vec::new();
    for index in 0..60 {
        let env = vec![("FILLER".into(), "x".repeat(300))];
        let options = BoxOptions { env, ..detached() };
        ids.push(runtime.create(options, Some(format!("box-{index}"))).await.unwrap().id().to_string());
    }
    runtime.shutdown(None).await.unwrap();
    drop(runtime);
    closed(&home).await;
    let path = home.path.join("db/boxlite.db");
    let mut torn = fs::read(&path).unwrap();
    let pages = torn.len() / 4096;
    torn[pages / 2 * 4096..][..4096].fill(0xa5);
    fs::write(&path, &torn).unwrap();
    assert_names_database(&try_open(&home.path).unwrap_err());
    let report = repair(&home);
    assert!(report.boxes.iter().all(|item| item.outcome == RepairOutcome::Kept), "{report:?}");
    // A page holds a few rows; all others are there.
    assert!(report.boxes.len() >= ids.len() - 8, "only {} of {} rows", report.boxes.len(), ids.len());
    assert_eq!(fs::read(&report.kept_aside[0]).unwrap(), torn);
    let runtime = open(&home);
    let listed = runtime.list_info().await.unwrap();
    assert_eq!(listed.len(), report.boxes.len());
    assert!(listed.iter().all(|info| info.status == BoxStatus::Configured));
    let sound = repair(&home);
    assert_eq!((sound.boxes.len(), sound.kept_aside.len()), (listed.len(), 0));
    assert!(runtime.exists(listed[0].id.as_str()).await.unwrap(), "a sound database was replaced");
    drop(runtime);
    closed(&home).await;
    assert_clean(&home, &[], &report.kept_aside);
}

#[tokio::test]
async fn a_box_that_cannot_be_made_whole_is_kept_aside_with_its_disk() {
    let home = PerTestBoxHome::new();
    drop(open(&home));
    closed(&home).await;
    let directory = home.path.join("boxes/AAAA00000001");
    for record in [None, Some("no JSON"), Some(r#"{"format":1,"id":"BBBB00000002"}"#)] {
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("box.qcow2"), "the user's data").unwrap();
        if let Some(record) = record {
            fs::write(directory.join("box.json"), record).unwrap();
        }
        fs::remove_file(home.path.join("db/boxlite.db")).unwrap();
        let report = repair(&home);
        assert_eq!(outcome(&report, "AAAA00000001"), RepairOutcome::Lost);
        assert!(report.boxes[0].detail.contains("box.json"), "{report:?}");
        let runtime = open(&home);
        assert!(runtime.list_info().await.unwrap().is_empty() && !directory.exists());
        let [aside] = &report.kept_aside[..] else { panic!("{report:?}") };
        assert_eq!(fs::read_to_string(aside.join("box.qcow2")).unwrap(), "the user's data");
        drop(runtime);
        closed(&home).await;
        assert_clean(&home, &[], &report.kept_aside);
        fs::remove_dir_all(aside).unwrap();
    }
}
