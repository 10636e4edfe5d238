//! Templates in which a box of one image is set up already: who is cloned from one, and what such a box is like.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use boxlite::{BoxCommand, BoxOptions, BoxliteRuntime, LiteBox};
use boxlite_test_utils::home::PerTestBoxHome;
use futures::StreamExt;

use crate::clones::IDENTITY;
use crate::waiting::{PATIENCE, within};
use crate::{MADE, home, is_clone, open, options, output, started, templates};

/// Whether the box was there when its template was frozen.
fn was_set_up(sandbox: &LiteBox) -> bool {
    let stages = sandbox.info().start_stages;
    let has = |name: &str| stages.iter().any(|stage| stage.name == name);
    assert!(has("agent/introduction") != has("agent/overlay"), "one or the other: {stages:?}");
    is_clone(sandbox) && has("agent/introduction")
}

/// A runtime that has both templates of small boxes.
async fn with_both(home: &PerTestBoxHome) -> BoxliteRuntime {
    let runtime = open(home);
    runtime.prepare(&options()).await.unwrap();
    let first = started(&runtime).await;
    assert!(is_clone(&first) && !was_set_up(&first));
    within(MADE, "the second template", || runtime.start_counts().templates_made == 2).await;
    runtime.remove(first.id().as_str(), true).await.unwrap();
    runtime
}

/// The directory of the one template that has a disk.
fn with_disk(home: &PerTestBoxHome) -> PathBuf {
    let (whole, rest) = templates(home);
    assert_eq!(rest, [""; 0]);
    let mut with_disk = whole.into_iter().filter(|dir| dir.join("box.qcow2").exists());
    let found = with_disk.next().expect("a template with a disk");
    assert_eq!(with_disk.next(), None);
    found
}

#[tokio::test]
async fn boxes_that_were_set_up_ahead_have_nothing_in_common_that_should_differ() {
    let home = home();
    let runtime = with_both(&home).await;
    let mut seen: Vec<BTreeSet<String>> = vec![BTreeSet::new(); 6];
    for number in 0..4 {
        let name = format!("box-{number}");
        let sandbox = runtime.create(options(), Some(name.clone())).await.unwrap();
        let told = output(&sandbox, IDENTITY).await;
        assert!(was_set_up(&sandbox), "{:?}", sandbox.info().start_stages);
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!((lines.len(), lines[4]), (seen.len(), name.as_str()), "{told}");
        for (values, line) in seen.iter_mut().zip(lines) {
            values.insert(line.to_owned());
        }
        assert_eq!(sandbox.executions().await.unwrap().len(), 1);
    }
    assert_eq!(seen.iter().map(BTreeSet::len).collect::<Vec<_>>(), [4; 6], "{seen:?}");
    runtime.shutdown(None).await.unwrap();
}

#[tokio::test]
async fn a_box_that_was_set_up_ahead_is_like_any_other() {
    let home = home();
    let runtime = with_both(&home).await;
    let limited = BoxOptions {
        pids_max: Some(20),
        cpu_millis: Some(500),
        env: vec![("COLOR".into(), "blue".into())],
        ..options()
    };
    let sandbox = runtime.create(limited, Some("like-any".into())).await.unwrap();
    sandbox.start().await.unwrap();
    let untouched = "find / -xdev -newer /etc/hostname -type f | \
        grep -v -e ^/proc -e ^/sys -e ^/dev -e ^/etc/resolv.conf -e ^/etc/machine-id; true";
    assert_eq!(output(&sandbox, untouched).await, "");
    assert!(was_set_up(&sandbox));
    let asked = "echo $COLOR; cat /etc/hostname /sys/fs/cgroup/pids.max /sys/fs/cgroup/cpu.max; ls /";
    let told = output(&sandbox, asked).await;
    assert!(told.starts_with("blue\nlike-any\n20\n50000 100000\n"), "{told}");
    let too_many = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21; do sleep 1000 & done";
    let crowd = sandbox.exec(BoxCommand::new("sh").args(["-c", too_many])).await.unwrap();
    assert_ne!(crowd.wait().await.unwrap().exit_code, 0, "more processes than the box may have");
    crowd.kill().await.unwrap();
    // What is killed still counts for a moment.
    let deadline = Instant::now() + PATIENCE;
    let count = "ps -o args | grep -c '^sleep 1000'; true";
    loop {
        let counting = sandbox.exec(BoxCommand::new("sh").args(["-c", count])).await;
        if let Ok(mut counting) = counting
            && counting.stdout().unwrap().collect::<Vec<_>>().await.concat() == "0\n"
        {
            break;
        }
        assert!(Instant::now() < deadline, "the killed stay");
    }
    // Its disk is its own, and lasts.
    assert_eq!(output(&sandbox, "echo data > /kept; rm -r /home; sync; echo done").await, "done\n");
    sandbox.stop().await.unwrap();
    let again = runtime.get("like-any").await.unwrap().unwrap();
    assert_eq!(output(&again, "cat /kept; ls -d /home 2>/dev/null; hostname").await, "data\nlike-any\n");
    assert!(is_clone(&again) && !was_set_up(&again), "a box that has run has a disk that no template knows");
    let other = started(&runtime).await;
    assert_eq!(output(&other, "ls -d /kept /home 2>/dev/null; true").await, "/home\n");
    assert!(was_set_up(&other));
    runtime.shutdown(None).await.unwrap();
}

#[tokio::test]
async fn only_boxes_of_its_image_and_disk_size_are_cloned_from_it() {
    let home = home();
    let runtime = with_both(&home).await;
    let larger = runtime.create(BoxOptions { disk_size_gb: Some(3), ..options() }, None).await.unwrap();
    larger.start().await.unwrap();
    assert!(is_clone(&larger) && !was_set_up(&larger));
    let size = output(&larger, "df -k / | tail -1 | awk '{print $2}'").await;
    assert!((2_500_000..3_200_000).contains(&size.trim().parse::<u64>().unwrap()), "{size} KiB");
    // A box that was killed at its first start has a disk already.
    let begun = runtime.create(options(), None).await.unwrap();
    let dir = home.path.join("boxes").join(begun.id().as_str());
    fs::create_dir_all(&dir).unwrap();
    fs::copy(home.path.join("boxes").join(larger.id().as_str()).join("box.qcow2"), dir.join("box.qcow2"))
        .unwrap();
    begun.start().await.unwrap();
    assert!(is_clone(&begun) && !was_set_up(&begun), "{:?}", begun.info().start_stages);
    runtime.shutdown(None).await.unwrap();
}

#[tokio::test]
async fn without_its_disk_it_is_of_no_use() {
    let home = home();
    let runtime = with_both(&home).await;
    fs::remove_file(with_disk(&home).join("box.qcow2")).unwrap();
    let sandbox = started(&runtime).await;
    assert!(is_clone(&sandbox) && !was_set_up(&sandbox), "the other template is sound");
    assert_eq!(runtime.start_counts().templates_refused, 1);
    assert_eq!(output(&sandbox, "echo fine").await, "fine\n");
    runtime.shutdown(None).await.unwrap();
}
