//! Boxes beside podman's containers, in one run: a start to the first output and the removal, a command on a running one,
//! twenty after each other, a large output; and what idle boxes cost.
//!
//! The two sides take turns, so that the machine's moods hit both. Writes every time to `bench-results/start.json`;
//! `scripts/bench-start.sh` installs podman, runs this, and makes table and plot of it. `ROUNDS` (20) and
//! `IDLE_SECONDS` (60) make it longer or shorter.

#[path = "support/figures.rs"]
mod figures;
#[path = "support/podman.rs"]
mod podman;
#[path = "support/processes.rs"]
mod processes;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use boxlite::images::ProgressSink;
use boxlite::litebox::{RunControl, RunOptions, RunOutput};
use boxlite::{BoxCommand, BoxOptions, BoxliteRuntime, LiteBox, RootfsSpec};
use boxlite_test_utils::home::{PerTestBoxHome, busybox_image, debian_image};
use figures::{median, number, record, round};
use podman::{Podman, machine};
use processes::{cpu_seconds, smaps, translations, tree};
use serde_json::{Value, json};

const STDOUT_BYTES: u64 = 256 << 20;
const TWENTY: usize = 20;
/// Commands that a shell in the guest starts to tell what one costs there.
const FORKS: usize = 50;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // `cargo test --benches` runs this without `--bench`: there is nothing to test here.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let rounds = number("ROUNDS", 20);
    let home = PerTestBoxHome::with_own_templates();
    let open = |spares| {
        let builder = BoxliteRuntime::builder().home_dir(&home.path).spares(spares);
        Ours(builder.build().expect("the home opens"))
    };
    let ours = open(0);
    let podman = Podman::new(home.path.with_file_name("podman"));
    podman.pull(&Image::Debian.reference(), Image::Debian.tag());
    let mut times = Times::default();

    // The image's disk is written and the host's clock measured; then boxes boot, for as long as there is no template.
    let cold =
        BoxliteRuntime::builder().home_dir(&home.path).template_space(0).build().expect("the home opens");
    let cold = Ours(cold);
    cold.run_and_remove().await;
    for _ in 0..rounds.div_ceil(4) {
        times.note("cold", cold.run_and_remove().await);
    }
    cold.0.shutdown(None).await.expect("the runtime shuts down");
    ours.0.prepare(&Image::Busybox.options()).await.expect("a template is made");

    // The first clones have their box set up themselves; then there is a template of their image.
    for _ in 0..rounds.div_ceil(6) {
        times.note("run_first_clones", ours.run_and_remove().await);
    }
    while ours.0.start_counts().templates_made < 2 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for _ in 0..2 {
        ours.run_and_remove().await;
        podman.run_and_remove();
    }
    let mut stages: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for _ in 0..rounds {
        times.note("run_clone", ours.run_and_note(&mut stages).await);
        times.note("run_podman", podman.run_and_remove());
    }

    let warm = open(1);
    warm.run_and_remove().await;
    let mut spare_stages: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for _ in 0..rounds {
        warm.await_spare().await;
        times.note("run_spare", warm.run_and_note(&mut spare_stages).await);
        times.note("run_podman_beside_spare", podman.run_and_remove());
    }

    // Each box takes the spare of the image before.
    let mut other_stages: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let swaps = rounds.next_multiple_of(2) + 2;
    for round in 0..swaps {
        let (image, ours_named, podmans_named) = OTHER[(round + 1) % 2];
        warm.await_spare().await;
        let took = warm.run_image_and_note(image, &mut other_stages).await;
        let podmans = podman.run_and_remove_of(image.tag());
        // The first ones find nothing in the host's page cache.
        if round < 2 {
            continue;
        }
        for (what, took) in [("run_spare_other_image", took), (ours_named, took)] {
            times.note(what, took);
        }
        for (what, took) in [("run_podman_beside_other_image", podmans), (podmans_named, podmans)] {
            times.note(what, took);
        }
    }
    assert_eq!(warm.0.start_counts().swapped, swaps as u64);

    let sandbox = ours.start(Image::Busybox).await;
    let container = podman.start();
    for round in 0..rounds * 5 {
        let (one, other) = (timed(run(&sandbox, &["true"])).await, podman.exec(&container));
        if round >= 5 {
            times.note("exec", one);
            times.note("exec_podman", other);
        }
    }
    if let Some(caller) = std::env::var_os("BENCH_C_CALLER") {
        for took in from_c(Path::new(&caller), &home.path, rounds * 5) {
            times.note("exec_from_c", took);
        }
    }
    // By turns, and many in a row on either side: after a container's command every cache holds something else.
    for _ in 0..rounds {
        times.note("fork_exec", fork_exec(&sandbox).await);
        for _ in 0..5 {
            times.note("exec_in_a_row", timed(run(&sandbox, &["true"])).await);
        }
    }
    for _ in 0..3 {
        times.note("stdout", ours.large_output(&sandbox).await);
        times.note("stdout_podman", large_output_of(&podman));
    }
    ours.remove(&sandbox).await;
    podman.remove(&container);

    let of_one_image = open(1);
    of_one_image.run_and_remove().await;
    of_one_image.await_spare().await;
    for _ in 0..3 {
        let began = Instant::now();
        for _ in 0..TWENTY {
            of_one_image.run_and_remove().await;
        }
        times.note("twenty", began.elapsed());
        let began = Instant::now();
        for _ in 0..TWENTY {
            podman.run_and_remove();
        }
        times.note("twenty_podman", began.elapsed());
    }
    drop(podman);
    of_one_image.0.shutdown(None).await.expect("the runtime shuts down");
    let of_spares = warm.0.start_counts();
    warm.0.shutdown(None).await.expect("the runtime shuts down");
    let idle = idle_cost(&ours).await;
    let counts = ours.0.start_counts();
    ours.0.shutdown(None).await.expect("the runtime shuts down");

    let results = json!({
        "rounds": rounds,
        "machine": machine(),
        "run_spare_ratio": times.ratio("run_spare", "run_podman_beside_spare"),
        "run_spare_other_image_ratio":
            times.ratio("run_spare_other_image", "run_podman_beside_other_image"),
        "run_spare_other_image_ratios": {
            "busybox after debian": times.ratio(OTHER[0].1, OTHER[0].2),
            "debian after busybox": times.ratio(OTHER[1].1, OTHER[1].2),
        },
        "run_first_clones_s": round(times.median("run_first_clones")),
        "run_clone_ratio": times.ratio("run_clone", "run_podman"),
        "exec_ratio": times.ratio("exec", "exec_podman"),
        "exec_from_c_ms": times.0.contains_key("exec_from_c").then(|| round(times.median("exec_from_c") * 1e3)),
        "exec_vs_fork_ratio": times.ratio("exec_in_a_row", "fork_exec"),
        "twenty_ratio": times.ratio("twenty", "twenty_podman"),
        "stdout_mb_s": round(STDOUT_BYTES as f64 / 1e6 / times.median("stdout")),
        "stdout_podman_mb_s": round(STDOUT_BYTES as f64 / 1e6 / times.median("stdout_podman")),
        "cold_s": round(times.median("cold")),
        "idle_private_mb": idle["private_mb"],
        "idle": idle,
        "clone_stages_ms": medians(stages),
        "spare_stages_ms": medians(spare_stages),
        "spare_other_image_stages_ms": medians(other_stages),
        "started": {
            "booted": counts.booted,
            "cloned": counts.cloned,
            "claimed": of_spares.claimed,
            "swapped": of_spares.swapped,
        },
        "times_s": times.0,
    });
    record("start.json", &results);
}

/// Every time in seconds, by what was timed.
#[derive(Default)]
struct Times(BTreeMap<&'static str, Vec<f64>>);

impl Times {
    fn note(&mut self, what: &'static str, took: Duration) {
        let times = self.0.entry(what).or_default();
        times.push((took.as_secs_f64() * 1e6).round() / 1e6);
        eprintln!("{what} {}: {:.4} s", times.len(), took.as_secs_f64());
    }

    fn median(&self, what: &str) -> f64 {
        median(&mut self.0[what].clone())
    }

    fn ratio(&self, ours: &str, theirs: &str) -> f64 {
        round(self.median(ours) / self.median(theirs))
    }
}

#[derive(Clone, Copy)]
enum Image {
    Busybox,
    Debian,
}

/// The images that take turns, and what their times are called: the boxes', podman's.
const OTHER: [(Image, &str, &str); 2] = [
    (Image::Busybox, "run_spare_busybox_after_debian", "run_podman_busybox"),
    (Image::Debian, "run_spare_debian_after_busybox", "run_podman_debian"),
];

impl Image {
    fn reference(self) -> String {
        match self {
            Self::Busybox => busybox_image(),
            Self::Debian => debian_image(),
        }
    }

    /// Its name in podman's store.
    fn tag(self) -> &'static str {
        match self {
            Self::Busybox => podman::IMAGE,
            Self::Debian => "localhost/bench-debian:latest",
        }
    }

    fn options(self) -> BoxOptions {
        BoxOptions { rootfs: RootfsSpec::Image(self.reference()), ..BoxOptions::default() }
    }
}

/// Of steps, in milliseconds.
fn medians(mut steps: BTreeMap<String, Vec<f64>>) -> Value {
    steps.iter_mut().map(|(name, took)| (name.clone(), json!(round(median(took))))).collect()
}

async fn timed<T>(work: impl Future<Output = T>) -> Duration {
    let began = Instant::now();
    work.await;
    began.elapsed()
}

struct Ours(BoxliteRuntime);

impl Ours {
    async fn start(&self, image: Image) -> LiteBox {
        let sandbox = self.0.create(image.options(), None).await.expect("the box is created");
        assert_eq!(run(&sandbox, &["echo", "hello"]).await.stdout, b"hello\n");
        sandbox
    }

    async fn await_spare(&self) {
        while self.0.start_counts().spares_ready == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // The spare's machine has just been busy.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    async fn remove(&self, sandbox: &LiteBox) {
        self.0.remove(sandbox.id().as_str(), true).await.expect("the box is removed");
    }

    async fn run_and_remove(&self) -> Duration {
        self.run_and_note(&mut BTreeMap::new()).await
    }

    async fn run_and_note(&self, stages: &mut BTreeMap<String, Vec<f64>>) -> Duration {
        self.run_image_and_note(Image::Busybox, stages).await
    }

    /// Create → first output → removed.
    async fn run_image_and_note(&self, image: Image, stages: &mut BTreeMap<String, Vec<f64>>) -> Duration {
        let began = Instant::now();
        let sandbox = self.start(image).await;
        let first_output = began.elapsed();
        // A box that is gone has no steps to tell of.
        let steps = sandbox.info().start_stages;
        self.remove(&sandbox).await;
        let took = began.elapsed();
        for stage in steps {
            stages.entry(stage.name).or_default().push(stage.took.as_secs_f64() * 1e3);
        }
        stages.entry("(first output)".into()).or_default().push(first_output.as_secs_f64() * 1e3);
        stages.entry("(removed)".into()).or_default().push((took - first_output).as_secs_f64() * 1e3);
        took
    }

    async fn large_output(&self, sandbox: &LiteBox) -> Duration {
        let blocks = format!("count={}", STDOUT_BYTES >> 16);
        let began = Instant::now();
        let output = run(sandbox, &["dd", "if=/dev/zero", "bs=64k", &blocks]).await;
        assert_eq!(output.stdout_total, STDOUT_BYTES);
        began.elapsed()
    }
}

async fn run(sandbox: &LiteBox, words: &[&str]) -> RunOutput {
    let (_sender, cancelled) = tokio::sync::watch::channel(false);
    let options = RunOptions { max_output: 4096, ..RunOptions::default() };
    let control = RunControl { deadline: None, cancelled };
    let command = BoxCommand::new(words[0]).args(&words[1..]);
    let output =
        sandbox.run(command, options, &ProgressSink::none(), control).await.expect("the command runs");
    assert_eq!(output.exit.exit_code, 0);
    output
}

fn large_output_of(podman: &Podman) -> Duration {
    let blocks = format!("count={}", STDOUT_BYTES >> 16);
    let began = Instant::now();
    assert_eq!(podman.piped(&["dd", "if=/dev/zero", "bs=64k", &blocks]), STDOUT_BYTES);
    began.elapsed()
}

/// The calls of a C program that runs `true` in a box of its own.
fn from_c(caller: &Path, home: &Path, rounds: usize) -> Vec<Duration> {
    let mut command = Command::new(caller);
    let output =
        command.arg(home).arg(busybox_image()).arg(rounds.to_string()).stderr(Stdio::inherit()).output();
    let output = output.expect("the C program runs");
    assert!(output.status.success(), "the C program fails");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(|line| Duration::from_secs_f64(line.parse().expect("seconds"))).collect()
}

/// What one fork, exec and wait take in the guest: a shell's many, less its none.
async fn fork_exec(sandbox: &LiteBox) -> Duration {
    let mut took = [Duration::ZERO; 2];
    for (took, count) in took.iter_mut().zip([0, FORKS]) {
        let script = format!("i=0; while [ $i -lt {count} ]; do /bin/true; i=$((i+1)); done");
        *took = timed(run(sandbox, &["sh", "-c", &script])).await;
    }
    took[1].saturating_sub(took[0]) / FORKS as u32
}

/// Memory and CPU time of twenty boxes that do nothing, after a command each.
async fn idle_cost(ours: &Ours) -> Value {
    let mut boxes = Vec::new();
    for _ in 0..TWENTY {
        let sandbox = ours.start(Image::Busybox).await;
        run(&sandbox, &["true"]).await;
        boxes.push(sandbox);
    }
    // What a template's pages or a disk's still have to be written back counts as nobody's afterwards.
    nix::unistd::sync();
    let trees: Vec<Vec<u32>> = boxes.iter().map(|sandbox| tree(sandbox.id().as_str())).collect();
    let before: Vec<f64> = trees.iter().map(|tree| tree.iter().map(|pid| cpu_seconds(*pid)).sum()).collect();
    let idle = number("IDLE_SECONDS", 60);
    tokio::time::sleep(Duration::from_secs(idle as u64)).await;
    let mut percent = Vec::new();
    for (tree, before) in trees.iter().zip(before) {
        let after: f64 = tree.iter().map(|pid| cpu_seconds(*pid)).sum();
        percent.push((after - before) / idle.max(1) as f64 * 100.0);
    }
    let sum = |tree: &Vec<u32>, field: &str| tree.iter().map(|pid| smaps(*pid, field)).sum::<f64>();
    let mut private: Vec<f64> = trees
        .iter()
        .map(|tree| sum(tree, "Private_Clean") + sum(tree, "Private_Dirty"))
        .map(|kib| kib / 1024.0)
        .collect();
    let mut code: Vec<f64> =
        trees.iter().map(|tree| tree.iter().map(|pid| translations(*pid)).sum::<f64>() / 1024.0).collect();
    for sandbox in &boxes {
        ours.remove(sandbox).await;
    }
    json!({
        "boxes": TWENTY,
        "private_mb": round(median(&mut private)),
        "of_that_translated_code_mb": round(median(&mut code)),
        "cpu_percent_of_a_core": round(median(&mut percent)),
        "cpu_percent_worst": round(percent.last().copied().unwrap_or_default()),
    })
}
