//! How templates come to be, and what a maker leaves that is stopped half-way.

use std::fs;
use std::time::Duration;

use boxlite_test_utils::home::PerTestBoxHome;

use crate::processes::processes_naming;
use crate::small_disk::on_a_small_disk;
use crate::waiting::{PATIENCE, within};
use crate::{MADE, home, is_clone, open, options, output, started, templates};

#[tokio::test]
async fn a_box_that_boots_has_a_template_made_for_the_next() {
    let home = home();
    let runtime = open(&home);
    let first = started(&runtime).await;
    assert!(!is_clone(&first));
    within(MADE, "a template is made", || runtime.start_counts().templates_made == 1).await;
    assert_eq!(templates(&home).1, [""; 0]);
    let second = started(&runtime).await;
    assert!(is_clone(&second));
    runtime.shutdown(None).await.unwrap();
}

#[tokio::test]
async fn runtimes_that_want_the_same_template_make_one() {
    let home = home();
    let (one, two) = (open(&home), open(&home));
    let options = options();
    let (first, second) = tokio::join!(one.prepare(&options), two.prepare(&options));
    first.unwrap();
    second.unwrap();
    assert_eq!(one.start_counts().templates_made + two.start_counts().templates_made, 1);
    assert_eq!((templates(&home).0.len(), templates(&home).1), (1, vec![]));
    one.shutdown(None).await.unwrap();
    two.shutdown(None).await.unwrap();
}

#[tokio::test]
async fn a_making_that_is_called_off_leaves_nothing() {
    let home = home();
    let runtime = open(&home);
    let mut calls_off = 0;
    for after_ms in [0, 5, 50, 200, 500, 900] {
        match tokio::time::timeout(Duration::from_millis(after_ms), runtime.prepare(&options())).await {
            Err(_) => calls_off += 1,
            // A quick machine, or one that had no time for this test meanwhile.
            Ok(made) => made.unwrap(),
        }
        within(PATIENCE, "the draft goes", || templates(&home).1.is_empty()).await;
        // It may have been whole already.
        runtime_forgets(&home);
    }
    assert!(calls_off > 0, "no making was called off");
    // The end of the runtime calls it off, too, and waits for it.
    let making = {
        let (runtime, options) = (runtime.clone(), options());
        tokio::spawn(async move { runtime.prepare(&options).await })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    runtime.shutdown(None).await.unwrap();
    if let Err(error) = making.await.unwrap() {
        assert!(matches!(error, boxlite::BoxliteError::Stopped(_)), "{error:?}");
    }
    assert_eq!(templates(&home).1, [""; 0]);
}

/// The id under which the one template in the making is made.
fn maker(home: &PerTestBoxHome) -> Option<String> {
    let (_, rest) = templates(home);
    let draft = rest.iter().find(|name| name.starts_with(".draft-"))?;
    draft.rsplit_once('-').map(|(_, id)| id.to_owned())
}

#[tokio::test]
async fn a_making_whose_processes_are_killed_fails_and_leaves_nothing() {
    let home = home();
    let runtime = open(&home);
    for (after_ms, what) in [(0, "boxlite-shim"), (150, "qemu"), (400, "boxlite-shim"), (700, "qemu")] {
        let making = {
            let (runtime, options) = (runtime.clone(), options());
            tokio::spawn(async move { runtime.prepare(&options).await })
        };
        let mut found = None;
        within(PATIENCE, "the maker's processes are there", || {
            let of_maker = maker(&home).map(|id| processes_naming(&id)).unwrap_or_default();
            let is_meant = |pid: &u32| {
                fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with(&what[..4]))
            };
            found = of_maker.into_iter().find(is_meant);
            found.is_some() || making.is_finished()
        })
        .await;
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
        // There is none where it was quicker than this test.
        if let Some(pid) = found {
            // SAFETY: kill takes two integers. Nothing reuses the number of a process that has just been there.
            unsafe { libc::kill(i32::try_from(pid).unwrap(), libc::SIGKILL) };
        }
        match making.await.unwrap() {
            Err(error) => assert!(error.to_string().contains("no template could be made"), "{error:?}"),
            // It had done its part already.
            Ok(()) => runtime_forgets(&home),
        }
        within(PATIENCE, "the draft goes", || templates(&home) == (vec![], vec![])).await;
        assert_eq!(processes_naming(&home.path.display().to_string()), [0; 0], "{what} after {after_ms} ms");
    }
    runtime.prepare(&options()).await.unwrap();
    assert!(is_clone(&started(&runtime).await));
    runtime.shutdown(None).await.unwrap();
}

fn runtime_forgets(home: &PerTestBoxHome) {
    for template in templates(home).0 {
        fs::remove_dir_all(template).unwrap();
    }
}

#[test]
fn without_room_on_the_disk_none_is_made_and_boxes_boot() {
    let home = home();
    let at = home.path.join("templates");
    fs::create_dir(&at).unwrap();
    // Less than a template takes: it is full while the machine boots, or while it is frozen.
    for mib in [8, 40] {
        on_a_small_disk(&at, mib, || {
            let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            tokio.block_on(async {
                let runtime = open(&home);
                let error = runtime.prepare(&options()).await.unwrap_err();
                assert!(error.to_string().contains("no template could be made"), "{error:?}");
                assert!(
                    matches!(&error, boxlite::BoxliteError::ResourceExhausted(_)),
                    "{mib} MiB: {error:?}"
                );
                assert!(error.hint().contains("free space"), "{}", error.hint());
                assert_eq!(templates(&home), (vec![], vec![]));
                let sandbox = started(&runtime).await;
                assert!(!is_clone(&sandbox));
                assert_eq!(output(&sandbox, "echo fine").await, "fine\n");
                runtime.remove(sandbox.id().as_str(), true).await.unwrap();
                runtime.shutdown(None).await.unwrap();
            });
        });
    }
}
