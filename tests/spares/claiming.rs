//! What a claimed box is like, and which boxes are claimed.

use std::collections::BTreeSet;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use boxlite::{BoxCommand, BoxOptions};
use boxlite_test_utils::home::PerTestBoxHome;

use crate::processes::processes_naming;
use crate::small_box::small_box;
use crate::{open, output, ready, spares, was_claimed, with_spare};

/// As `templates` compares clones: what no two boxes may share, one a line.
const IDENTITY: &str = "
dd if=/dev/urandom bs=16 count=1 2>/dev/null | od -An -tx1 | tr -d ' \n'; echo
cat /proc/sys/kernel/random/boot_id
cat /proc/sys/kernel/random/uuid
hostname
cat /etc/hostname
grep -m1 stack /proc/self/maps
";

#[tokio::test]
async fn claimed_boxes_have_nothing_in_common_that_should_differ() {
    let home = PerTestBoxHome::new();
    let runtime = with_spare(&home).await;
    let mut seen: Vec<BTreeSet<String>> = vec![BTreeSet::new(); 6];
    for number in 0..3_u64 {
        ready(&runtime).await;
        let sandbox = runtime.create(small_box(), Some(format!("box-{number}"))).await.unwrap();
        let told = output(&sandbox, IDENTITY).await;
        assert!(was_claimed(&sandbox), "{:?}", sandbox.info().start_stages);
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines.len(), seen.len(), "{told}");
        assert_eq!(lines[3..5], [format!("box-{number}"), format!("box-{number}")]);
        for (values, line) in seen.iter_mut().zip(lines) {
            values.insert(line.to_owned());
        }
        assert_eq!(sandbox.executions().await.unwrap().len(), 1, "the warm-up is forgotten");
        assert_eq!(runtime.start_counts().claimed, number + 1);
    }
    assert_eq!(seen.iter().map(BTreeSet::len).collect::<Vec<_>>(), [3; 6], "{seen:?}");
    runtime.shutdown(None).await.unwrap();
}

#[tokio::test]
async fn a_claimed_box_is_like_any_other() {
    let home = PerTestBoxHome::new();
    let runtime = with_spare(&home).await;
    let options = BoxOptions {
        env: vec![("COLOR".into(), "blue".into())],
        user: Some("7".into()),
        labels: [("a".to_owned(), "b".to_owned())].into(),
        ..small_box()
    };
    let sandbox = runtime.create(options, Some("like-any".into())).await.unwrap();
    assert_eq!(spares(&home), [sandbox.id().to_string()], "the box has its spare's id");
    assert_eq!(sandbox.info().pid, None, "and nothing of it is seen before the start");
    let untouched = "find / -xdev -newer /etc/hostname -type f | \
        grep -v -e ^/proc -e ^/sys -e ^/dev -e ^/etc/resolv.conf -e ^/etc/machine-id; true";
    assert_eq!(output(&sandbox, untouched).await, "");
    assert!(was_claimed(&sandbox));
    assert!(!spares(&home).contains(&sandbox.id().to_string()));
    assert_eq!(output(&sandbox, "echo $COLOR; id -u").await, "blue\n7\n");
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let before = now();
    let told: u64 = output(&sandbox, "date +%s").await.trim().parse().unwrap();
    let after = now();
    assert!((before - 1..=after + 1).contains(&told), "{told} in the box, {before} to {after} here");
    let write = BoxCommand::new("sh").args(["-c", "echo data > /kept; sync"]).user("0");
    assert_eq!(sandbox.exec(write).await.unwrap().wait().await.unwrap().exit_code, 0);
    sandbox.stop().await.unwrap();
    assert_eq!(processes_naming(sandbox.id().as_str()), [0; 0]);
    let again = runtime.get("like-any").await.unwrap().unwrap();
    assert_eq!(output(&again, "cat /kept; hostname").await, "data\nlike-any\n");
    assert!(!was_claimed(&again));
    runtime.remove("like-any", true).await.unwrap();
    runtime.shutdown(None).await.unwrap();
}

#[tokio::test]
async fn only_boxes_of_its_kind_get_a_spare() {
    let home = PerTestBoxHome::new();
    let runtime = with_spare(&home).await;
    let larger = BoxOptions { disk_size_gb: Some(3), ..small_box() };
    let sandbox = runtime.create(larger, None).await.unwrap();
    sandbox.start().await.unwrap();
    assert!(!was_claimed(&sandbox));
    let size: u64 = output(&sandbox, "df -m / | tail -1 | awk '{print $2}'").await.trim().parse().unwrap();
    assert!((2500..3200).contains(&size), "{size}");
    assert_eq!(runtime.start_counts().claimed, 0);
    runtime.shutdown(None).await.unwrap();
}

#[tokio::test]
async fn a_spare_that_can_not_be_used_costs_nothing_but_its_speed() {
    let home = PerTestBoxHome::new();
    let runtime = with_spare(&home).await;
    // Its machine dies while it is kept for a box.
    let sandbox = runtime.create(small_box(), None).await.unwrap();
    let engine = processes_naming(sandbox.id().as_str());
    assert!(!engine.is_empty());
    for pid in engine {
        let qemu = fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with(b"qemu"));
        if qemu {
            // SAFETY: kill takes two integers.
            unsafe { libc::kill(i32::try_from(pid).unwrap(), libc::SIGKILL) };
        }
    }
    assert_eq!(output(&sandbox, "echo fine").await, "fine\n");
    assert!(!was_claimed(&sandbox));
    // Something is in the way of its directory.
    ready(&runtime).await;
    let sandbox = runtime.create(small_box(), None).await.unwrap();
    let place = home.path.join("boxes").join(sandbox.id().as_str());
    fs::create_dir(&place).unwrap();
    fs::write(place.join("something"), "").unwrap();
    assert_eq!(output(&sandbox, "echo fine").await, "fine\n");
    assert!(!was_claimed(&sandbox));
    assert_eq!(runtime.start_counts().spares_refused, 2);
    runtime.shutdown(None).await.unwrap();
}

#[tokio::test]
async fn none_is_made_where_none_is_wanted() {
    let home = PerTestBoxHome::new();
    let runtime = open(&home.path, 0);
    for _ in 0..2 {
        let sandbox = runtime.create(small_box(), None).await.unwrap();
        sandbox.start().await.unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    }
    assert_eq!((runtime.start_counts().spares_made, spares(&home)), (0, Vec::new()));
    runtime.shutdown(None).await.unwrap();
}
