//! Boxes beside podman's containers, in one run: a start to the first output and the removal, a command on a running one,
//! twenty after each other, a large output; and what idle boxes cost.
//!
//! The two sides take turns, so that the machine's moods hit both. Writes every time to `bench-results/start.json`;
//! `scripts/bench-start.sh` installs podman, runs this, and makes table and plot of it. `ROUNDS` (20) and
//! `IDLE_SECONDS` (60) make it longer or shorter.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use boxlite::images::ProgressSink;
use boxlite::litebox::{RunControl, RunOptions, RunOutput};
use boxlite::{BoxCommand, BoxOptions, BoxliteRuntime, LiteBox, RootfsSpec};
use boxlite_test_utils::home::{PerTestBoxHome, busybox_image, workspace};
use serde_json::{Value, json};

const STDOUT_BYTES: u64 = 256 << 20;
const TWENTY: usize = 20;
/// Commands that a shell in the guest starts to tell what one costs there.
const FORKS: usize = 50;
const IMAGE: &str = "localhost/bench:latest";
/// Less than any host's: podman's own defaults are more than some allow to be set.
const NOFILE: &str = "--ulimit=nofile=1024:1024";
const NPROC: &str = "--ulimit=nproc=512:512";

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

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
    ours.0.prepare(&options()).await.expect("a template is made");

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

    let sandbox = ours.start().await;
    let container = podman.start();
    for round in 0..rounds * 5 {
        let (one, other) = (timed(run(&sandbox, &["true"])).await, podman.exec(&container));
        if round >= 5 {
            times.note("exec", one);
            times.note("exec_podman", other);
        }
    }
    for _ in 0..5 {
        times.note("fork_exec", fork_exec(&sandbox).await);
    }
    for _ in 0..3 {
        times.note("stdout", ours.large_output(&sandbox).await);
        times.note("stdout_podman", podman.large_output());
    }
    ours.remove(&sandbox).await;
    podman.remove(&container);

    for _ in 0..3 {
        let began = Instant::now();
        for _ in 0..TWENTY {
            warm.run_and_remove().await;
        }
        times.note("twenty", began.elapsed());
        let began = Instant::now();
        for _ in 0..TWENTY {
            podman.run_and_remove();
        }
        times.note("twenty_podman", began.elapsed());
    }
    drop(podman);
    let claimed = warm.0.start_counts().claimed;
    warm.0.shutdown(None).await.expect("the runtime shuts down");
    let idle = idle_cost(&ours).await;
    let counts = ours.0.start_counts();
    ours.0.shutdown(None).await.expect("the runtime shuts down");

    let results = json!({
        "rounds": rounds,
        "machine": machine(),
        "run_spare_ratio": times.ratio("run_spare", "run_podman_beside_spare"),
        "run_spare_other_image_ratio": Value::Null,
        "why_null": "a spare serves boxes of its own image only; others are cloned",
        "run_clone_ratio": times.ratio("run_clone", "run_podman"),
        "exec_ratio": times.ratio("exec", "exec_podman"),
        "exec_vs_fork_ratio": times.ratio("exec", "fork_exec"),
        "twenty_ratio": times.ratio("twenty", "twenty_podman"),
        "stdout_mb_s": round(STDOUT_BYTES as f64 / 1e6 / times.median("stdout")),
        "stdout_podman_mb_s": round(STDOUT_BYTES as f64 / 1e6 / times.median("stdout_podman")),
        "cold_s": round(times.median("cold")),
        "idle_private_mb": idle["private_mb"],
        "idle": idle,
        "clone_stages_ms": stages.iter_mut().map(|(name, took)| (name.clone(), json!(round(median(took))))).collect::<serde_json::Map<_, _>>(),
        "spare_stages_ms": spare_stages.iter_mut().map(|(name, took)| (name.clone(), json!(round(median(took))))).collect::<serde_json::Map<_, _>>(),
        "started": { "booted": counts.booted, "cloned": counts.cloned, "claimed": claimed },
        "times_s": times.0,
    });
    let text = serde_json::to_string_pretty(&results).expect("numbers serialise");
    let directory = workspace().join("bench-results");
    fs::create_dir_all(&directory).expect("bench-results can be made");
    fs::write(directory.join("start.json"), text + "\n").expect("the results are written");
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

fn options() -> BoxOptions {
    BoxOptions { rootfs: RootfsSpec::Image(busybox_image()), ..BoxOptions::default() }
}

async fn timed<T>(work: impl Future<Output = T>) -> Duration {
    let began = Instant::now();
    work.await;
    began.elapsed()
}

struct Ours(BoxliteRuntime);

impl Ours {
    async fn start(&self) -> LiteBox {
        let sandbox = self.0.create(options(), None).await.expect("the box is created");
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

    /// Create → first output → removed.
    async fn run_and_note(&self, stages: &mut BTreeMap<String, Vec<f64>>) -> Duration {
        let began = Instant::now();
        let sandbox = self.start().await;
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
        let sandbox = ours.start().await;
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

/// The processes that name the box: its shim and its engine.
fn tree(id: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == id.as_bytes())
    })
    .collect()
}

fn smaps(pid: u32, field: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// KiB of private pages that hold code and belong to no file: what QEMU has translated.
fn translations(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
    let (mut is_code, mut kib) = (false, 0.0);
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [range, rights, _, _, _] if range.contains('-') => is_code = rights.contains('x'),
            [range, _, _, _, _, ..] if range.contains('-') => is_code = false,
            [field, size, _] if is_code && field.starts_with("Private_") => {
                kib += size.parse::<f64>().unwrap_or_default();
            }
            _ => {}
        }
    }
    kib
}

fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: f64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|text| text.parse::<f64>().ok()).sum();
    ticks / 100.0
}

/// podman with a store of its own, which goes with it.
struct Podman {
    dir: PathBuf,
}

impl Podman {
    fn new(dir: PathBuf) -> Self {
        fs::create_dir_all(&dir).expect("a directory for podman");
        let podman = Self { dir };
        let pulled = podman.output(&["pull", "-q", &busybox_image()]);
        let id = pulled.trim().lines().last().unwrap_or_default().to_owned();
        podman.output(&["tag", &id, IMAGE]);
        podman
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command.arg("--root").arg(self.dir.join("root")).arg("--runroot").arg(self.dir.join("run"));
        // crun refuses hosts that have both versions of control groups.
        command
            .args(["--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "none"])
            .args(words);
        command
    }

    fn output(&self, words: &[&str]) -> String {
        let output = self.command(words).stderr(Stdio::inherit()).output().expect("podman runs");
        assert!(output.status.success(), "podman {words:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    fn run_and_remove(&self) -> Duration {
        let began = Instant::now();
        assert_eq!(
            self.output(&["run", "--rm", "--network=none", NOFILE, NPROC, IMAGE, "echo", "hello"]),
            "hello\n"
        );
        began.elapsed()
    }

    fn start(&self) -> String {
        self.output(&["run", "-d", "--network=none", NOFILE, NPROC, IMAGE, "sleep", "100000"])
            .trim()
            .to_owned()
    }

    fn exec(&self, container: &str) -> Duration {
        let began = Instant::now();
        self.output(&["exec", container, "true"]);
        began.elapsed()
    }

    fn remove(&self, container: &str) {
        self.output(&["rm", "-f", "-t", "0", container]);
    }

    fn large_output(&self) -> Duration {
        let blocks = format!("count={}", STDOUT_BYTES >> 16);
        let began = Instant::now();
        let words =
            ["run", "--rm", "--network=none", NOFILE, NPROC, IMAGE, "dd", "if=/dev/zero", "bs=64k", &blocks];
        let mut child =
            self.command(&words).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("podman runs");
        let mut stdout = child.stdout.take().expect("a pipe");
        let (mut total, mut buffer) = (0, vec![0; 1 << 16]);
        loop {
            match stdout.read(&mut buffer).expect("its output") {
                0 => break,
                length => total += length as u64,
            }
        }
        assert!(child.wait().expect("its end").success() && total == STDOUT_BYTES);
        began.elapsed()
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = self.command(&["rm", "-a", "-f", "-t", "0"]).output();
        let _ = self.command(&["unshare", "true"]).output();
        // Its layers may be mounted.
        let _ = Command::new("umount").args(["-R", "-q"]).arg(self.dir.join("root/overlay")).output();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn machine() -> Value {
    let first = |path: &str, name: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        line.split_once([':', '=']).map(|(_, value)| value.trim().trim_matches('"').to_owned())
    };
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").output().ok()?;
        String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned)
    };
    json!({
        "cpu": first("/proc/cpuinfo", "model name"),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "system": first("/etc/os-release", "PRETTY_NAME"),
        "kvm": Path::new("/dev/kvm").exists(),
        "qemu": version("qemu-system-x86_64"),
        "podman": version("podman"),
    })
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
