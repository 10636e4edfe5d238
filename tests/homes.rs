//! A home and its boxes seen from outside: who finds whom, what a box says of itself, what starting one comes to.

#[path = "support/vm.rs"]
mod vm;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::symlink;

use boxlite::util::{PidFileReader, is_process_alive, process_start_time};
use boxlite::{BoxCommand, BoxOptions, BoxStatus, BoxliteError, BoxliteRuntime, LiteBox, RootfsSpec};
use boxlite_test_utils::home::{PerTestBoxHome, busybox_image, cache_dir};

fn open(home: &PerTestBoxHome) -> BoxliteRuntime {
    vm::open(home, Vec::new())
}

fn options() -> BoxOptions {
    BoxOptions { rootfs: RootfsSpec::Image(busybox_image()), auto_remove: false, ..BoxOptions::default() }
}

async fn says(sandbox: &LiteBox, word: &str) {
    let (code, stdout, _) = vm::run(sandbox, BoxCommand::new("echo").arg(word)).await;
    assert_eq!((code, stdout), (0, format!("{word}\n").into_bytes()));
}

#[tokio::test]
async fn homes_begin_empty_and_know_nothing_of_each_other() {
    let (home, other) = (PerTestBoxHome::isolated(), PerTestBoxHome::isolated());
    let (runtime, stranger) = (open(&home), open(&other));
    assert!(runtime.list_info().await.expect("a list").is_empty());
    let sandbox = runtime.create(options(), Some("same".into())).await.expect("a box");
    assert!(stranger.list_info().await.expect("a list").is_empty());
    stranger.create(options(), Some("same".into())).await.expect("the name is free there");
    let id = sandbox.id().as_str();
    assert!(stranger.get(id).await.expect("an answer").is_none());
    stranger.remove("same", false).await.expect("a removal");
    assert!(runtime.exists("same").await.expect("an answer"));
}

#[tokio::test]
async fn what_is_not_there_is_told_and_no_error() {
    let home = PerTestBoxHome::isolated();
    let runtime = open(&home);
    for unknown in ["AAAAAAAAAAAA", "AAA", "no-such-name", "", "../boxes", "%", "\0"] {
        assert!(runtime.get(unknown).await.expect("an answer").is_none(), "{unknown:?}");
        assert!(runtime.get_info(unknown).await.expect("an answer").is_none(), "{unknown:?}");
        assert!(!runtime.exists(unknown).await.expect("an answer"), "{unknown:?}");
        for force in [false, true] {
            let error = runtime.remove(unknown, force).await.expect_err("nothing to remove");
            let is_told = matches!(&error, BoxliteError::NotFound(text) if text.contains("not found"));
            assert!(is_told, "{unknown:?}: {error:?}");
        }
    }
}

#[tokio::test]
async fn a_box_is_found_by_the_beginning_of_its_id_where_only_it_begins_so() {
    let home = PerTestBoxHome::isolated();
    let runtime = open(&home);
    let mut ids = Vec::new();
    // There are 62 characters: two of 63 ids begin with the same one.
    for _ in 0..63 {
        let sandbox = runtime.create(options(), None).await.expect("a box");
        ids.push(sandbox.id().as_str().to_owned());
    }
    assert!(ids.iter().all(|id| id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())));
    let listed = runtime.list_info().await.expect("a list");
    let newest_first: Vec<&str> = ids.iter().rev().map(String::as_str).collect();
    assert_eq!(listed.iter().map(|info| info.id.as_str()).collect::<Vec<_>>(), newest_first);

    let mut by_first: HashMap<&str, Vec<&str>> = HashMap::new();
    for id in &ids {
        by_first.entry(&id[..1]).or_default().push(id);
    }
    let (first, sharers) = by_first.iter().find(|(_, sharers)| sharers.len() > 1).expect("two of 63");
    for error in [
        runtime.get(first).await.map(|_| ()).expect_err("ambiguous"),
        runtime.get_info(first).await.map(|_| ()).expect_err("ambiguous"),
        runtime.remove(first, true).await.expect_err("ambiguous"),
    ] {
        let BoxliteError::InvalidArgument(text) = &error else { panic!("{error:?}") };
        assert!(sharers.iter().all(|id| text.contains(id)), "{text}");
    }
    let prefix = &ids[0][..11];
    assert_eq!(runtime.get(prefix).await.expect("an answer").expect("the box").id().as_str(), ids[0]);
    runtime.remove(prefix, false).await.expect("a removal");
    assert!(!runtime.exists(&ids[0]).await.expect("an answer"));
}

#[tokio::test]
async fn creating_a_box_needs_no_image_and_says_what_it_will_be() {
    let home = PerTestBoxHome::isolated();
    let runtime = open(&home);
    let rootfs = RootfsSpec::Image("oci:/nonexistent/layout".into());
    let options = BoxOptions { rootfs, auto_remove: false, ..BoxOptions::default() };
    let began = chrono::Utc::now();
    let sandbox = runtime.create(options.clone(), Some("lazy".into())).await.expect("a box");
    let info = sandbox.info();
    assert_eq!((info.status, info.pid, info.started_at), (BoxStatus::Configured, None, None));
    assert!(began <= info.created_at && info.created_at <= chrono::Utc::now());
    assert_eq!((info.cpus, info.memory_mib), (1, 512));
    assert_eq!((info.name.as_deref(), sandbox.name()), (Some("lazy"), Some("lazy")));
    let sized = BoxOptions { memory_mib: Some(100), ..options.clone() };
    assert_eq!(runtime.create(sized, None).await.expect("a box").info().memory_mib, 100);
    let boxes = home.path.join("boxes");
    assert_eq!(
        fs::read_dir(boxes).expect("the boxes' directory").count(),
        0,
        "nothing is made before a start"
    );

    let taken = runtime.create(options, Some("lazy".into())).await.expect_err("the name is taken");
    assert!(matches!(&taken, BoxliteError::AlreadyExists(text) if text.contains("lazy")), "{taken:?}");
    // What fails at the first start changes nothing.
    sandbox.start().await.expect_err("no image");
    assert_eq!(sandbox.info().status, BoxStatus::Configured);
}

#[tokio::test]
async fn a_start_or_command_returns_with_the_pid_in_place_and_a_second_changes_nothing() {
    let home = PerTestBoxHome::new();
    let runtime = open(&home);
    for by_command in [false, true] {
        let sandbox = runtime.create(options(), None).await.expect("a box");
        match by_command {
            true => says(&sandbox, "started").await,
            false => sandbox.start().await.expect("a start"),
        }
        let dir = home.path.join("boxes").join(sandbox.id().as_str());
        let text = fs::read_to_string(dir.join("shim.pid")).expect("the pid file");
        let record = PidFileReader::at(dir.join("shim.pid")).read().expect("a pid");
        let start_time = process_start_time(record.pid).expect("the shim runs");
        assert_eq!(text, format!("{}\n{start_time}\n", record.pid));
        let info = sandbox.info();
        assert_eq!((info.status, info.pid), (BoxStatus::Running, Some(record.pid)));
        assert!(info.started_at.is_some_and(|started| started >= info.created_at));

        sandbox.start().await.expect("a start");
        says(&sandbox, "again").await;
        assert_eq!(sandbox.info().pid, Some(record.pid));
        assert_eq!(sandbox.info().started_at, info.started_at);

        // Refused, and not harmed.
        let refused = runtime.remove(sandbox.id().as_str(), false).await.expect_err("it runs");
        assert!(matches!(refused, BoxliteError::InvalidState(_)), "{refused:?}");
        says(&sandbox, "still here").await;
        match by_command {
            true => runtime.remove(sandbox.id().as_str(), true).await.expect("a removal"),
            false => sandbox.stop().await.expect("a stop"),
        }
        assert!(!is_process_alive(record.pid) && !dir.join("shim.pid").exists());
        assert_eq!(dir.exists(), !by_command);
    }
}

#[tokio::test]
async fn caches_may_be_links_also_to_another_file_system() {
    let home = PerTestBoxHome::new();
    // Most machines have it, and as a file system of its own.
    let elsewhere = tempfile::tempdir_in("/dev/shm").expect("a directory elsewhere");
    symlink(elsewhere.path(), home.path.join("tmp")).expect("a link");
    let runtime = open(&home);
    let sandbox = runtime.create(options(), None).await.expect("a box");
    says(&sandbox, "linked").await;
    runtime.remove(sandbox.id().as_str(), true).await.expect("a removal");
    // A directory that no row knows goes by way of `tmp`.
    let stray = home.path.join("boxes/AAAA00000001");
    fs::create_dir_all(stray.join("logs")).expect("a directory");
    let again = open(&home);
    assert!(!stray.exists());
    assert_eq!(fs::read_dir(elsewhere.path()).expect("the other place").count(), 0);
    for link in ["images", "bases", "tmp"] {
        let kind = fs::symlink_metadata(home.path.join(link)).expect("the link").file_type();
        assert!(kind.is_symlink(), "{link}");
    }
    assert!(cache_dir().join("images").is_dir());
    drop(again);
    runtime.shutdown(Some(0)).await.expect("the end");
}
