//! The guest's clocks against the host's, with every core of the host busy.
//!
//! Times are compared as NTP does: a question, an answer with the guest's time in it, and the host's time before and
//! after. The quickest of several answers counts, so a late wake-up on a busy host does not look like a wrong clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use boxlite::litebox::{ExecStdin, ExecStdout};
use boxlite::{BoxCommand, BoxOptions, BoxliteRuntime, LiteBox, RootfsSpec};
use boxlite_test_utils::home::{PerTestBoxHome, debian_image};
use futures::StreamExt;

#[path = "support/vm.rs"]
mod vm;

/// Answers each line with the wall clock and the monotonic clock; `sleep` sleeps ten seconds and tells how long that
/// took on the monotonic clock.
const GUEST: &str = r#"
import sys, time
for line in sys.stdin:
    if line == "sleep\n":
        began = time.monotonic()
        time.sleep(10)
        print(time.monotonic() - began, flush=True)
    else:
        print(time.time(), time.monotonic(), flush=True)
"#;

/// A round trip that tells the clocks' difference exactly enough, in seconds.
const QUICK: f64 = 0.02;
/// Sleeps of which the quickest counts: who wakes late on a busy host has no slow clock.
const SLEEPS: usize = 5;
/// By how much a sleep is late that is worth another.
const LATE: f64 = 0.02;

/// Keeps every core busy until dropped.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn all_cores() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        for _ in 0..cores.max(2) {
            let stop = stop.clone();
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        Self(stop)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One comparison of clocks, in seconds; exact to half of `round_trip`.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// The guest's wall clock minus the host's.
    wall_offset: f64,
    guest: f64,
    host: f64,
    round_trip: f64,
}

/// A process in the guest that answers with its clocks.
struct Guest {
    stdin: ExecStdin,
    stdout: ExecStdout,
    origin: Instant,
}

impl Guest {
    async fn start(sandbox: &LiteBox) -> Self {
        let mut execution =
            sandbox.exec(BoxCommand::new("python3").args(["-c", GUEST])).await.expect("python3");
        let (stdin, stdout) = (execution.stdin().expect("stdin"), execution.stdout().expect("stdout"));
        Self { stdin, stdout, origin: Instant::now() }
    }

    async fn ask(&mut self, question: &str) -> Vec<f64> {
        self.stdin.write_all(format!("{question}\n").as_bytes()).await.expect("the guest reads");
        let mut line = String::new();
        while !line.ends_with('\n') {
            let more = tokio::time::timeout(Duration::from_secs(60), self.stdout.next()).await;
            line.push_str(&more.expect("an answer within a minute").expect("an answer"));
        }
        line.split_whitespace().map(|number| number.parse().expect("a number")).collect()
    }

    /// The quickest of some comparisons; of more where none is quick enough to tell anything.
    async fn compare(&mut self) -> Reading {
        let mut best: Option<Reading> = None;
        for number in 0..4000 {
            if number >= 40 && best.is_some_and(|best| best.round_trip < QUICK) {
                break;
            }
            let (wall, before) = (SystemTime::now(), self.origin.elapsed().as_secs_f64());
            let answer = self.ask("clocks").await;
            let round_trip = self.origin.elapsed().as_secs_f64() - before;
            let wall = wall.duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64() + round_trip / 2.0;
            let reading = Reading {
                wall_offset: answer[0] - wall,
                guest: answer[1],
                host: before + round_trip / 2.0,
                round_trip,
            };
            if best.is_none_or(|best| round_trip < best.round_trip) {
                best = Some(reading);
            }
        }
        best.expect("a reading")
    }
}

#[tokio::test]
async fn ten_seconds_are_ten_seconds_and_now_is_now_on_a_busy_host() {
    // A box that boots, and the clone of a machine that was frozen at another time.
    for has_templates in [false, true] {
        look_at_the_clocks(has_templates).await;
    }
}

async fn look_at_the_clocks(has_templates: bool) {
    let home = PerTestBoxHome::new();
    let runtime = if has_templates {
        vm::open(&home, Vec::new())
    } else {
        let builder = BoxliteRuntime::builder().home_dir(home.path.clone());
        builder.template_space(0).build().expect("a runtime without templates")
    };
    let options = BoxOptions { rootfs: RootfsSpec::Image(debian_image()), ..BoxOptions::default() };
    runtime.prepare(&options).await.expect("a template, where boxes have some");
    let sandbox = runtime.create(options, None).await.expect("a box");
    // Busy from before the boot on: a clock that is measured or judged by the guest's kernel goes wrong then.
    let busy = Busy::all_cores();
    let mut guest = Guest::start(&sandbox).await;
    let stages = sandbox.info().start_stages;
    let has = |name: &str| stages.iter().any(|stage| stage.name == name);
    let is_emulated = sandbox.info().engine.as_deref() == Some("qemu-tcg");
    assert_eq!(has("restore"), is_emulated && has_templates, "{stages:?}");
    let first = guest.compare().await;
    let mut slept = f64::INFINITY;
    for _ in 0..SLEEPS {
        slept = guest.ask("sleep").await[0].min(slept);
        if slept <= 10.0 + LATE {
            break;
        }
    }
    let last = guest.compare().await;
    // Called `tsc-early` for the first second or two, while the kernel looks for something to refine it by.
    let source =
        BoxCommand::new("cat").arg("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    let (code, stdout, _) = vm::run(&sandbox, source).await;
    assert_eq!((code, String::from_utf8_lossy(&stdout).trim()), (0, "tsc"));
    drop(busy);

    let rate = (last.guest - first.guest) / (last.host - first.host);
    let real = slept / rate;
    eprintln!(
        "slept {slept:.4} s of the guest's, {real:.4} s of the host's; rate {rate:.6}; {first:?} {last:?}"
    );

    for reading in [first, last] {
        let farthest = reading.wall_offset.abs() + reading.round_trip / 2.0;
        assert!(farthest <= 0.1, "the wall clocks may be {farthest:.3} s apart: {reading:?}");
    }
    assert!((rate - 1.0).abs() <= 0.005, "the guest's clock runs at {rate:.5} of the host's");
    assert!((9.95..=10.05).contains(&real), "sleep 10 took {real:.4} s");
    runtime.shutdown(Some(0)).await.expect("the end");
}
