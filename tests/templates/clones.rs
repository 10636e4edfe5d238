//! Boxes that are clones of one template.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use boxlite::BoxOptions;

use crate::{bare_templates, home, is_clone, open, options, output, started, templates};

/// What must differ between any two boxes, one a line: the kernel's random numbers, its boot id, the UUIDs it gives, what
/// a new process finds in its auxiliary vector (AT_RANDOM, type 25), stack and library addresses, the machine id.
pub(crate) const IDENTITY: &str = "
dd if=/dev/urandom bs=16 count=1 2>/dev/null | od -An -tx1 | tr -d ' \n'; echo
cat /proc/sys/kernel/random/boot_id
cat /proc/sys/kernel/random/uuid
cat /etc/machine-id 2>/dev/null || hostname
hostname
grep -m1 stack /proc/self/maps
";

/// `CLONES=100` compares as many.
pub(crate) fn how_many() -> usize {
    std::env::var("CLONES").ok().and_then(|count| count.parse().ok()).unwrap_or(6)
}

#[tokio::test]
async fn clones_of_one_template_have_nothing_in_common_that_should_differ() {
    let home = home();
    let runtime = open(&home);
    runtime.prepare(&options()).await.unwrap();
    assert_eq!((templates(&home).0.len(), runtime.start_counts().templates_made), (1, 1));
    let mut seen: Vec<BTreeSet<String>> = vec![BTreeSet::new(); 6];
    let count = how_many();
    for _ in 0..count {
        let sandbox = started(&runtime).await;
        assert!(is_clone(&sandbox));
        let told = output(&sandbox, IDENTITY).await;
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines.len(), seen.len(), "{told}");
        for (values, line) in seen.iter_mut().zip(lines) {
            assert!(!line.is_empty(), "{told}");
            values.insert(line.to_owned());
        }
        runtime.remove(sandbox.id().as_str(), true).await.unwrap();
    }
    let distinct: Vec<usize> = seen.iter().map(BTreeSet::len).collect();
    assert_eq!(distinct, [count; 6], "{seen:?}");
    let counts = runtime.start_counts();
    assert_eq!((counts.booted, counts.cloned, counts.templates_refused), (0, count as u64, 0));
    runtime.shutdown(None).await.unwrap();
}

#[tokio::test]
async fn a_clone_keeps_its_disk_and_tells_the_time() {
    let home = home();
    let runtime = open(&home);
    runtime.prepare(&options()).await.unwrap();
    let larger = BoxOptions { disk_size_gb: Some(3), ..options() };
    let sandbox = runtime.create(larger, Some("kept".into())).await.unwrap();
    assert_eq!(output(&sandbox, "echo data > /file; sync; uname -n").await, "kept\n");
    assert!(is_clone(&sandbox), "the disk's size makes no other machine");
    let size = output(&sandbox, "df -k / | tail -1 | awk '{print $2}'").await;
    let kib: u64 = size.trim().parse().unwrap();
    assert!((2_500_000..3_200_000).contains(&kib), "{kib} KiB");
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let before = now();
    let told = output(
        &sandbox,
        "date +%s; sleep 3; date +%s; cat /sys/devices/system/clocksource/clocksource0/current_clocksource",
    )
    .await;
    let after = now();
    let lines: Vec<&str> = told.lines().collect();
    let times: Vec<u64> = lines[..2].iter().map(|line| line.parse().unwrap()).collect();
    let is_now = times.iter().all(|time| (before - 1..=after + 1).contains(time));
    assert!(is_now, "{told} between {before} and {after}");
    assert!(times[1] - times[0] >= 3 && after - before >= 3, "{told} between {before} and {after}");
    assert_eq!(lines[2], "tsc");
    sandbox.stop().await.unwrap();
    let again = runtime.get("kept").await.unwrap().unwrap();
    assert_eq!(output(&again, "cat /file").await, "data\n");
    assert!(is_clone(&again));
    runtime.remove("kept", true).await.unwrap();
    runtime.shutdown(None).await.unwrap();
}

#[tokio::test]
async fn a_template_that_is_replaced_or_deleted_is_not_missed_by_its_clones() {
    let home = home();
    let runtime = open(&home);
    runtime.prepare(&options()).await.unwrap();
    let sandbox = started(&runtime).await;
    std::fs::remove_dir_all(&bare_templates(&home)[0]).unwrap();
    // Pages that the clone has not touched yet come from the file that is gone.
    assert_eq!(
        output(
            &sandbox,
            "find /usr /bin /lib -type f 2>/dev/null | head -200 | xargs cat | wc -c >/dev/null; echo fine"
        )
        .await,
        "fine\n"
    );
    runtime.prepare(&options()).await.unwrap();
    assert_eq!(bare_templates(&home).len(), 1);
    assert_eq!(output(&sandbox, "echo fine").await, "fine\n");
    runtime.shutdown(None).await.unwrap();
}
