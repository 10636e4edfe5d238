//! What a synced write of 4 KiB costs: in a box with each disk cache, in turns.
//!
//! Prints a table and writes `bench-results/disk.json`. `BOXLITE_BENCH_ROUNDS` sets the turns (default 10).

#[path = "support/figures.rs"]
mod figures;

use boxlite::litebox::OutputMode;
use boxlite::runtime::options::{BoxliteOptions, DiskCache};
use boxlite::{BoxCommand, BoxOptions, BoxliteRuntime, LiteBox, RootfsSpec};
use boxlite_test_utils::home::{PerTestBoxHome, debian_image};
use figures::{median, number, record, round};
use futures::StreamExt;
use serde_json::json;

const WRITES: usize = 100;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // `cargo test --benches` runs this without `--bench`: there is nothing to test here.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let rounds = number("BOXLITE_BENCH_ROUNDS", 10);
    let home = PerTestBoxHome::new();
    let options = BoxliteOptions { home_dir: home.path.clone(), image_registries: Vec::new() };
    let runtime = BoxliteRuntime::new(options).expect("the home opens");
    let honest = start(&runtime, DiskCache::Writeback).await;
    let throw_away = start(&runtime, DiskCache::Unsafe).await;

    let (mut in_honest, mut in_throw_away) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        in_honest.extend(times(&honest).await);
        in_throw_away.extend(times(&throw_away).await);
    }
    runtime.shutdown(Some(0)).await.expect("the runtime shuts down");

    let results = json!({
        "writes": rounds * WRITES,
        "writeback_fsync_ms": round(median(&mut in_honest)),
        "unsafe_fsync_ms": round(median(&mut in_throw_away)),
    });
    println!("{}", record("disk.json", &results));
}

async fn start(runtime: &BoxliteRuntime, disk_cache: DiskCache) -> LiteBox {
    let rootfs = RootfsSpec::Image(debian_image());
    let options = BoxOptions { rootfs, disk_cache, ..BoxOptions::default() };
    let sandbox = runtime.create(options, None).await.expect("the box is created");
    // The first of everything costs more.
    times(&sandbox).await;
    sandbox
}

/// Milliseconds of each write, as a program in the box has them.
async fn times(sandbox: &LiteBox) -> Vec<f64> {
    let script = format!(
        "import os, time\n\
         f = os.open('/data', os.O_RDWR | os.O_CREAT)\n\
         for _ in range({WRITES}):\n\
        \x20   began = time.perf_counter_ns()\n\
        \x20   os.pwrite(f, b'x' * 4096, 0)\n\
        \x20   os.fsync(f)\n\
        \x20   print(time.perf_counter_ns() - began)\n"
    );
    let command = BoxCommand::new("python3").args(["-c", &script]).stdout_mode(OutputMode::Pipe);
    let mut execution = sandbox.exec(command).await.expect("the command runs");
    let stdout: Vec<String> = execution.stdout().expect("stdout").collect().await;
    assert_eq!(execution.wait().await.expect("the end").exit_code, 0);
    stdout.concat().lines().map(|line| line.parse::<f64>().expect("a number") / 1e6).collect()
}
