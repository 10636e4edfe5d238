//! Boxes with limits take spares like any other, and are held to them from the claim on.

use std::time::{Duration, Instant};

use boxlite::litebox::EndReason;
use boxlite::{BoxOptions, RootfsSpec};
use boxlite_test_utils::home::{PerTestBoxHome, debian_image};

use crate::processes::processes_naming;
use crate::small_box::small_box;
use crate::{PATIENCE, open, output, ready, was_claimed, with_spare, within};

const KEPT: &str = "cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/cpu.max; ulimit -n";

fn limited() -> BoxOptions {
    BoxOptions { pids_max: Some(20), cpu_millis: Some(250), max_open_files: Some(99), ..small_box() }
}

#[tokio::test]
async fn a_claim_brings_the_agents_limits() {
    let home = PerTestBoxHome::new();
    let runtime = with_spare(&home).await;
    let sandbox = runtime.create(limited(), Some("limited".into())).await.unwrap();
    assert_eq!(output(&sandbox, KEPT).await, "20\n25000 100000\n99\n");
    assert!(was_claimed(&sandbox), "{:?}", sandbox.info().start_stages);
    // A shell that can't fork ends.
    let many =
        "(i=0; while [ $i -lt 30 ]; do sleep 60 & i=$((i + 1)); done) 2>&1; trap '' TERM; kill 0; exit 0";
    assert!(output(&sandbox, many).await.contains("fork"));

    // The next start is no claim, and has them, too.
    sandbox.stop().await.unwrap();
    let again = runtime.get("limited").await.unwrap().unwrap();
    assert_eq!(output(&again, KEPT).await, "20\n25000 100000\n99\n");
    assert!(!was_claimed(&again));

    // A spare that gets another image.
    ready(&runtime).await;
    let debian = BoxOptions { rootfs: RootfsSpec::Image(debian_image()), ..limited() };
    let sandbox = runtime.create(debian, None).await.unwrap();
    assert_eq!(output(&sandbox, KEPT).await, "20\n25000 100000\n99\n");
    assert!(was_claimed(&sandbox));
    assert_eq!(runtime.start_counts().swapped, 1);

    // One that was made after boxes with limits has none.
    ready(&runtime).await;
    let sandbox = runtime.create(small_box(), None).await.unwrap();
    assert_eq!(output(&sandbox, KEPT).await, "32768\nmax 100000\n1024\n");
    assert!(was_claimed(&sandbox));
    runtime.shutdown(None).await.unwrap();
}

#[tokio::test]
async fn a_claimed_box_lives_as_long_as_it_may_counted_from_its_claim() {
    const LIFETIME: Duration = Duration::from_secs(6);
    let home = PerTestBoxHome::new();
    let runtime = with_spare(&home).await;
    // The spare is older than the box may get.
    tokio::time::sleep(LIFETIME).await;
    let mayfly = BoxOptions { max_lifetime: Some(LIFETIME), ..small_box() };
    let sandbox = runtime.create(mayfly, None).await.unwrap();
    let began = Instant::now();
    sandbox.start().await.unwrap();
    assert!(was_claimed(&sandbox));
    let end = sandbox.wait().await.unwrap();
    assert_eq!(end.reason, EndReason::LifetimeOver, "{}", end.message);
    assert!(began.elapsed() >= LIFETIME, "{:?}", began.elapsed());
    runtime.shutdown(None).await.unwrap();
}

#[tokio::test]
async fn a_claimed_box_is_idle_as_long_as_it_may_counted_from_its_claim() {
    const IDLE: Duration = Duration::from_secs(5);
    let home = PerTestBoxHome::new();
    let runtime = with_spare(&home).await;
    tokio::time::sleep(IDLE).await;
    let idler = BoxOptions { idle_timeout: Some(IDLE), ..small_box() };
    let sandbox = runtime.create(idler, None).await.unwrap();
    assert_eq!(output(&sandbox, "sleep 7; echo busy").await, "busy\n");
    assert!(was_claimed(&sandbox));
    let end = sandbox.wait().await.unwrap();
    assert_eq!(end.reason, EndReason::Idle, "{}", end.message);
    runtime.shutdown(None).await.unwrap();
}

#[tokio::test]
async fn a_detached_box_that_was_a_spare_keeps_its_limits_without_an_owner() {
    let home = PerTestBoxHome::new();
    let runtime = with_spare(&home).await;
    let options = BoxOptions { detach: true, max_lifetime: Some(Duration::from_secs(8)), ..limited() };
    let sandbox = runtime.create(options, Some("left".into())).await.unwrap();
    sandbox.start().await.unwrap();
    assert!(was_claimed(&sandbox));
    let id = sandbox.id().to_string();
    drop((sandbox, runtime));
    assert!(!processes_naming(&id).is_empty());
    let runtime = open(&home.path, 0);
    let sandbox = runtime.get("left").await.unwrap().unwrap();
    assert_eq!(output(&sandbox, KEPT).await, "20\n25000 100000\n99\n");
    drop((sandbox, runtime));
    within(PATIENCE, "its own process ends it", || processes_naming(&id).is_empty()).await;
    let runtime = open(&home.path, 0);
    let end = runtime.get("left").await.unwrap().unwrap().wait().await.unwrap();
    assert_eq!(end.reason, EndReason::LifetimeOver, "{}", end.message);
    runtime.remove("left", true).await.unwrap();
    runtime.shutdown(None).await.unwrap();
}
