//! What boxes cost: a cold start to the first output, a command on a running box, bytes through its stdout.
//!
//! Prints a table and writes `bench-results/boxes.json`. `BOXLITE_BENCH_ROUNDS` sets the cold starts (default 10).

#[path = "support/figures.rs"]
mod figures;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use boxlite::images::ProgressSink;
use boxlite::litebox::{RunControl, RunOptions, RunOutput};
use boxlite::{BoxCommand, BoxOptions, BoxliteRuntime, LiteBox, RootfsSpec};
use boxlite_test_utils::home::{PerTestBoxHome, busybox_image};
use figures::{median, number, record, round};
use serde_json::json;

const STDOUT_BYTES: u64 = 256 << 20;
const EXECS: usize = 200;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // `cargo test --benches` runs this without `--bench`: there is nothing to test here.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let rounds = number("BOXLITE_BENCH_ROUNDS", 10);
    let home = PerTestBoxHome::new();
    // Every start is a boot.
    let runtime =
        BoxliteRuntime::builder().home_dir(&home.path).template_space(0).build().expect("the home opens");

    // The first start writes the image disk and measures the host's clock; all others find them.
    cold_start(&runtime).await;
    let mut colds = Vec::new();
    let mut stages: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for _ in 0..rounds {
        let (took, sandbox) = cold_start(&runtime).await;
        colds.push(took.as_secs_f64());
        for stage in sandbox.info().start_stages {
            stages.entry(stage.name).or_default().push(stage.took.as_secs_f64() * 1e3);
        }
        runtime.remove(sandbox.id().as_str(), true).await.expect("the box is removed");
    }

    let (_, sandbox) = cold_start(&runtime).await;
    for _ in 0..20 {
        run(&sandbox, BoxCommand::new("true")).await;
    }
    let mut execs = Vec::new();
    for _ in 0..EXECS {
        let began = Instant::now();
        run(&sandbox, BoxCommand::new("true")).await;
        execs.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let mut rates = Vec::new();
    for _ in 0..5 {
        let blocks = format!("count={}", STDOUT_BYTES >> 16);
        let command = BoxCommand::new("dd").args(["if=/dev/zero", "bs=64k", &blocks]);
        let began = Instant::now();
        let output = run(&sandbox, command).await;
        assert_eq!(output.stdout_total, STDOUT_BYTES);
        rates.push(STDOUT_BYTES as f64 / 1e6 / began.elapsed().as_secs_f64());
    }
    runtime.shutdown(None).await.expect("the runtime shuts down");

    let stages: BTreeMap<&str, f64> =
        stages.iter_mut().map(|(name, times)| (name.as_str(), round(median(times)))).collect();
    let results = json!({
        "rounds": rounds,
        "cold_s": round(median(&mut colds)),
        "cold_worst_s": round(colds.last().copied().unwrap_or_default()),
        "exec_true_ms": round(median(&mut execs)),
        "exec_true_p95_ms": round(execs[execs.len() * 95 / 100]),
        "stdout_mb_s": round(median(&mut rates)),
        "stages_ms": stages,
    });
    println!("{}", record("boxes.json", &results));
}

/// Create → first output, with the image at hand and no VM prepared.
async fn cold_start(runtime: &BoxliteRuntime) -> (Duration, LiteBox) {
    let options = BoxOptions { rootfs: RootfsSpec::Image(busybox_image()), ..BoxOptions::default() };
    let began = Instant::now();
    let sandbox = runtime.create(options, None).await.expect("the box is created");
    let output = run(&sandbox, BoxCommand::new("echo").arg("hello")).await;
    assert_eq!(output.stdout, b"hello\n");
    (began.elapsed(), sandbox)
}

async fn run(sandbox: &LiteBox, command: BoxCommand) -> RunOutput {
    let (_sender, cancelled) = tokio::sync::watch::channel(false);
    let options = RunOptions { max_output: 4096, ..RunOptions::default() };
    let control = RunControl { deadline: None, cancelled };
    let output =
        sandbox.run(command, options, &ProgressSink::none(), control).await.expect("the command runs");
    assert_eq!(output.exit.exit_code, 0);
    output
}
