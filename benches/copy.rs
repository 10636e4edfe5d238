//! A large file into a box and out of it, beside `podman cp` with the same image, in one run.
//!
//! The two sides take turns. Writes every time and the most memory of each process to `bench-results/copy.json`;
//! `scripts/bench-copy.sh` installs podman and runs this. `COPY_MIB` (1024) and `ROUNDS` (3) make it shorter or longer.

#[path = "support/figures.rs"]
mod figures;
#[path = "support/podman.rs"]
mod podman;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use boxlite::{BoxCommand, BoxOptions, BoxliteRuntime, CopyOptions, RootfsSpec};
use boxlite_test_utils::home::{PerTestBoxHome, busybox_image};
use figures::{median, number, record, round};
use podman::{Podman, machine};
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // `cargo test --benches` runs this without `--bench`: there is nothing to test here.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let (mib, rounds) = (number("COPY_MIB", 1024) as u64, number("ROUNDS", 3));
    let home = PerTestBoxHome::new();
    let runtime = BoxliteRuntime::builder().home_dir(&home.path).spares(0).build().expect("the home opens");
    let podman = Podman::new(home.path.with_file_name("podman"));
    let container = podman.start();
    let options = BoxOptions { rootfs: RootfsSpec::Image(busybox_image()), ..BoxOptions::default() };
    let sandbox = runtime.create(options, None).await.expect("the box is created");
    sandbox.start().await.expect("the box starts");
    let files = tempfile::tempdir_in(home.path.parent().expect("a parent")).expect("a directory");
    let (source, back) = (files.path().join("source"), files.path().join("back"));
    write_noise(&source, mib);

    let mut times = [const { Vec::new() }; 4];
    for _ in 0..rounds {
        let mut note = |index: usize, what: &str, took: Duration| {
            eprintln!(
                "{what}: {:.2} s, {:.0} MB/s",
                took.as_secs_f64(),
                mib as f64 * 1.048_576 / took.as_secs_f64()
            );
            times[index].push(took.as_secs_f64());
        };
        let began = Instant::now();
        sandbox.copy_into(&source, "/copied", CopyOptions::default()).await.expect("the copy");
        note(0, "into a box", began.elapsed());
        let began = Instant::now();
        podman.output(&["cp", &source.to_string_lossy(), &format!("{container}:/copied")]);
        note(1, "podman cp in", began.elapsed());
        let _ = fs::remove_file(&back);
        let began = Instant::now();
        sandbox.copy_out("/copied", &back, CopyOptions::default()).await.expect("the copy");
        note(2, "out of a box", began.elapsed());
        assert!(same(&source, &back), "what comes back is what was sent");
        let _ = fs::remove_file(&back);
        let began = Instant::now();
        podman.output(&["cp", &format!("{container}:/copied"), &back.to_string_lossy()]);
        note(3, "podman cp out", began.elapsed());
        let gone = sandbox.exec(BoxCommand::new("rm").arg("/copied")).await.expect("rm runs");
        assert_eq!(gone.wait().await.expect("its end").exit_code, 0);
        podman.output(&["exec", &container, "rm", "/copied"]);
    }
    let shim = sandbox.info().pid.expect("the box runs");
    let peaks = json!({ "caller_mb": peak_mb("self"), "shim_mb": peak_mb(&shim.to_string()) });
    podman.remove(&container);
    drop(podman);
    runtime.shutdown(None).await.expect("the runtime shuts down");

    let [into, podman_into, out, podman_out] = &mut times;
    let results = json!({
        "mib": mib,
        "machine": machine(),
        "in_ratio": round(median(into) / median(podman_into)),
        "out_ratio": round(median(out) / median(podman_out)),
        "in_mb_s": round(mib as f64 * 1.048_576 / median(into)),
        "out_mb_s": round(mib as f64 * 1.048_576 / median(out)),
        "peak_memory": peaks,
        "times_s": { "in": into, "in_podman": podman_into, "out": out, "out_podman": podman_out },
    });
    println!("{}", record("copy.json", &results));
}

/// A file that no step on the way can make smaller.
fn write_noise(path: &Path, mib: u64) {
    let mut random = File::open("/dev/urandom").expect("random bytes").take(mib << 20);
    let mut file = File::create(path).expect("the file");
    std::io::copy(&mut random, &mut file).expect("the file is written");
    file.flush().and_then(|()| file.sync_all()).expect("the file is kept");
}

fn same(one: &Path, other: &Path) -> bool {
    let (mut one, mut other) = (File::open(one).expect("a file"), File::open(other).expect("a file"));
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let length = one.read(&mut left).expect("its bytes");
        if other.read_exact(&mut right[..length]).is_err() || left[..length] != right[..length] {
            return false;
        }
        if length == 0 {
            return other.read(&mut right).is_ok_and(|rest| rest == 0);
        }
    }
}

/// The most memory that a process ever had.
fn peak_mb(pid: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    let kib: f64 = line.split_whitespace().next().and_then(|text| text.parse().ok()).expect("KiB");
    round(kib / 1024.0)
}
