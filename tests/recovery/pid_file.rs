//! A pid file, or a row, that says something else than the truth: no stranger is signalled, no shim orphaned.

use std::process::{Child, Command};

use boxlite::BoxStatus;
use boxlite::util::{PidFileReader, process_start_time};

use super::*;

/// A process that has nothing to do with boxes.
struct Stranger(Child);

impl Stranger {
    fn new() -> Self {
        Self(Command::new("sleep").arg("1000").spawn().unwrap())
    }

    fn is_alive(&self) -> bool {
        is_process_alive(self.0.id())
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// What can be in the pid file's place.
fn put(path: &Path, content: Option<&str>) {
    let _ = fs::remove_file(path);
    match content {
        Some("a directory") => fs::create_dir_all(path.join("sub")).unwrap(),
        Some(content) => fs::write(path, content).unwrap(),
        None => {}
    }
}

fn contents(stranger: &Stranger) -> Vec<Option<String>> {
    let (own, other) = (std::process::id(), stranger.0.id());
    let own_start = process_start_time(own).unwrap();
    let mut contents: Vec<Option<String>> =
        ["", "garbage\u{0}", "1\n", "1\n1\n", "-1\n", "0\n", "4294967295\n5\n", "a directory"]
            .map(|text| Some(text.to_owned()))
            .into();
    contents.push(Some(format!("{own}\n{own_start}\n")));
    // A pid that was used again since.
    contents.push(Some(format!("{other}\n17\n")));
    contents.push(Some(format!("{other}\n")));
    contents.push(None);
    contents
}

async fn assert_found_running(home: &PerTestBoxHome, runtime: &BoxliteRuntime, left: &Left, what: &str) {
    let info = runtime.get_info(&left.id).await.unwrap().unwrap();
    assert_eq!((info.status, info.pid), (BoxStatus::Running, Some(left.pid)), "{what}");
    let file = PidFileReader::at(left.dir(home).join("shim.pid")).read().unwrap();
    assert_eq!((file.pid, file.start_time), (left.pid, process_start_time(left.pid)), "{what}");
}

#[tokio::test]
async fn a_running_box_is_found_whatever_its_pid_file_and_row_say() {
    let home = PerTestBoxHome::new();
    let stranger = Stranger::new();
    let left = Left::in_home(&home).await;
    let path = left.dir(&home).join("shim.pid");
    let started_at = open(&home).get_info(&left.id).await.unwrap().unwrap().started_at;
    for content in contents(&stranger) {
        put(&path, content.as_deref());
        let runtime = open(&home);
        assert_found_running(&home, &runtime, &left, &format!("pid file {content:?}")).await;
    }
    let rows = [
        "pid = NULL, pid_start = NULL".to_owned(),
        "pid = 1, pid_start = NULL".to_owned(),
        "pid_start = 17".to_owned(),
        format!("pid = {}, pid_start = NULL", stranger.0.id()),
        format!("pid = {}, pid_start = NULL", std::process::id()),
        "state = 'stopped', pid = NULL, pid_start = NULL".to_owned(),
        "state = 'failed', failure = 'none', pid = NULL".to_owned(),
    ];
    let watching = open(&home);
    for change in rows {
        alter(&home, &format!("UPDATE boxes SET {change}"));
        if change.starts_with("pid") {
            // At the next look, without another opening.
            assert_found_running(&home, &watching, &left, &format!("row {change}")).await;
            alter(&home, &format!("UPDATE boxes SET {change}"));
        }
        fs::remove_file(&path).unwrap();
        let runtime = open(&home);
        assert_found_running(&home, &runtime, &left, &format!("row {change}, no pid file")).await;
    }
    let runtime = open(&home);
    assert_eq!(runtime.get_info(&left.id).await.unwrap().unwrap().started_at, started_at);
    let sandbox = runtime.get(&left.id).await.unwrap().unwrap();
    succeeds(&sandbox, "grep -q data /file").await;
    // Stopped in order, though the row names nobody.
    alter(&home, "UPDATE boxes SET pid = NULL, pid_start = NULL");
    drop((runtime, watching));
    let runtime = open(&home);
    runtime.get(&left.id).await.unwrap().unwrap().stop().await.unwrap();
    assert_at_rest(&left.dir(&home));
    assert!(left.dir(&home).join("exit").exists(), "the shim was killed, not asked");
    assert!(stranger.is_alive());
    runtime.remove(&left.id, false).await.unwrap();
    runtime.shutdown(None).await.unwrap();
    drop(runtime);
    closed(&home).await;
    assert_clean(&home, &[&left.id], &[]);
}

#[tokio::test]
async fn a_dead_box_is_settled_whatever_its_pid_file_and_row_say() {
    let home = PerTestBoxHome::new();
    let stranger = Stranger::new();
    let left = Left::in_home(&home).await;
    left.kill().await;
    let dir = left.dir(&home);
    assert!(dir.join("shim.pid").exists() && dir.join("agent.sock").exists());
    for content in contents(&stranger) {
        put(&dir.join("shim.pid"), content.as_deref());
        for row in ["pid = 1, pid_start = NULL", "pid_start = 17", "pid = NULL, pid_start = NULL"] {
            alter(&home, &format!("UPDATE boxes SET state = 'running', {row}"));
            let runtime = open(&home);
            let info = runtime.get_info(&left.id).await.unwrap().unwrap();
            assert_eq!((info.status, info.pid), (BoxStatus::Stopped, None), "{content:?}, {row}");
            assert_at_rest(&dir);
        }
    }
    assert!(stranger.is_alive());
    // What is in the places of files that a shim makes keeps no box from starting, nor does a stale stopped row.
    for name in ["shim.pid", "agent.sock", "transfer"] {
        fs::create_dir_all(dir.join(name).join("sub")).unwrap();
    }
    let runtime = open(&home);
    let sandbox = runtime.get(&left.id).await.unwrap().unwrap();
    succeeds(&sandbox, "grep -q data /file").await;
    let found = PidFileReader::at(dir.join("shim.pid")).read().unwrap();
    assert_eq!(Some(found.pid), sandbox.info().pid);
    runtime.remove(&left.id, true).await.unwrap();
    drop(runtime);
    closed(&home).await;
    assert_clean(&home, &[&left.id], &[]);
}

#[tokio::test]
async fn a_box_that_lives_and_cannot_be_reached_is_ended_in_order() {
    let home = PerTestBoxHome::new();
    let left = Left::in_home(&home).await;
    fs::remove_file(left.dir(&home).join("agent.sock")).unwrap();
    fs::write(left.dir(&home).join("shim.pid"), "garbage").unwrap();
    let runtime = open(&home);
    let info = runtime.get_info(&left.id).await.unwrap().unwrap();
    assert_eq!((info.status, info.pid), (BoxStatus::Stopped, None));
    assert!(processes_naming(&left.id).is_empty());
    assert_at_rest(&left.dir(&home));
    runtime.remove(&left.id, false).await.unwrap();
    drop(runtime);
    closed(&home).await;
    assert_clean(&home, &[&left.id], &[]);
}
