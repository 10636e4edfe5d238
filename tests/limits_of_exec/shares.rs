//! The CPU time of a box as a whole. All is read by the box's own clock, so that a busy host changes nothing.

use boxlite::BoxOptions;

use crate::{Bench, shell};

/// A quarter of one CPU.
const MILLIS: u32 = 250;

/// Busy until three seconds have passed; says what all commands have used meanwhile and how long that was, in milliseconds.
const BUSY: &str = "
now() { IFS=' .' read -r s h _ </proc/uptime; now=$((s * 1000 + ${h#0} * 10)); }
used() { while read -r key value; do [ $key = usage_usec ] && used=$((value / 1000)); done </sys/fs/cgroup/cpu.stat; }
now; began=$now; used; before=$used
while [ $((now - began)) -lt 3000 ]; do i=0; while [ $i -lt 500 ]; do i=$((i+1)); done; now; done
used; echo $((used - before)) $((now - began))";

async fn busy(bench: &Bench) -> (u64, u64) {
    let (code, told) = bench.say(shell(BUSY)).await;
    let mut numbers = told.split_whitespace().map(|number| number.parse().expect("a number"));
    let (used, took) = (numbers.next().expect("what was used"), numbers.next().expect("how long"));
    assert_eq!((code, numbers.next()), (0, None), "{told}");
    (used, took)
}

#[tokio::test]
async fn commands_share_what_their_box_may_use() {
    let bench = Bench::with(BoxOptions { cpu_millis: Some(MILLIS), ..BoxOptions::default() }).await;
    // Two at once, each of which would take all that there is.
    let ((one, took), (other, as_well)) = tokio::join!(busy(&bench), busy(&bench));
    println!("a quarter of a CPU: {one} ms in {took}, {other} in {as_well}");
    assert!(one > 0 && one < took / 2 && other > 0 && other < as_well / 2);
    bench.end().await;
}

#[tokio::test]
async fn none_is_no_limit() {
    let bench = Bench::with(BoxOptions { cpu_millis: Some(0), ..BoxOptions::default() }).await;
    let (used, took) = busy(&bench).await;
    assert!(used > took / 2, "{used} ms in {took}");
    assert_eq!(bench.say(shell("cat /sys/fs/cgroup/cpu.max")).await.1, "max 100000\n");
    bench.end().await;
}
