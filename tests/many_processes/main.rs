//! Many processes on one home at once: nothing is lost, nothing happens twice, nobody waits for ever, each error is the
//! right one. All of them are this program, started again.

mod after;
#[path = "../support/again.rs"]
mod again;
mod busy;
mod errors;
mod moment;
mod referee;
#[path = "../support/small_box.rs"]
mod small_box;
#[path = "../support/waiting.rs"]
mod waiting;
mod worker;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use again::Another;
use boxlite::runtime::options::BoxliteOptions;
use boxlite::{BoxliteResult, BoxliteRuntime, ImageRegistry};
use boxlite_test_utils::home::{PerTestBoxHome, busybox_image};
use boxlite_test_utils::oci::{Layout, Packing, tar_of};
use boxlite_test_utils::registry::Registry;
use worker::{IMAGES, Order};

const PROCESSES: u32 = 8;
/// Alone on two cores it takes about two minutes; a deadlock is told from a busy machine by this.
const DEADLINE: Duration = Duration::from_secs(1500);

fn open_if_free(home: &Path, registries: Vec<ImageRegistry>) -> BoxliteResult<BoxliteRuntime> {
    BoxliteRuntime::new(BoxliteOptions { home_dir: home.to_owned(), image_registries: registries })
}

fn open(home: &Path, registries: Vec<ImageRegistry>) -> BoxliteRuntime {
    open_if_free(home, registries).expect("a home that others use can be opened")
}

/// What another process of this program does, by its order.
#[tokio::test]
async fn as_another_process() {
    let Some(order) = again::order() else { return };
    let (role, rest) = order.split_once('|').expect("a role and its arguments");
    match role {
        "worker" => worker::work(&rest.parse().expect("a worker's order")).await,
        "stop" => busy::stop(Path::new(rest)).await,
        "lives" => moment::lives(Path::new(rest)).await,
        role => panic!("{role}"),
    }
}

fn another_process(role: &str, arguments: &str) -> Another {
    Another::start("as_another_process", &format!("{role}|{arguments}"))
}

/// A test that fails leaves no box running, also none that would outlive its processes.
struct NoBoxesLeft<'a>(&'a Path);

impl Drop for NoBoxesLeft<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (_, pid) in referee::machines_in(self.0).into_iter().chain(referee::shims_in(self.0)) {
                // SAFETY: kill takes two integers; the process works in a box of this test's home.
                unsafe { libc::kill(pid as i32, libc::SIGKILL) };
            }
        }
    }
}

fn seed() -> u64 {
    match std::env::var("BOXLITE_TEST_SEED") {
        Ok(seed) => seed.parse().expect("BOXLITE_TEST_SEED is a number"),
        Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_millis() as u64,
    }
}

/// A registry with the images that workers pull.
fn registry(dir: &Path) -> Registry {
    let registry = Registry::start().expect("a registry");
    let [busybox, small @ ..] = IMAGES;
    registry.push(&busybox_image(), busybox, &["--preserve-digests"]).expect("a push");
    let layout = Layout::new(dir.join("layout")).expect("a layout");
    for name in small {
        let layers = ["below", "above"].map(|file| tar_of(&[(file, name.as_bytes())]).expect("a tar"));
        let layers = layers.each_ref().map(|tar| (tar.as_slice(), Packing::Gzip));
        layout.tags(&[("v1", &layout.image(&layers).expect("an image"))]).expect("an index");
        let source = format!("oci:{}:v1", layout.dir().display());
        registry.push(&source, name, &["--preserve-digests"]).expect("a push");
    }
    registry
}

#[tokio::test]
async fn eight_processes_with_two_hundred_random_operations_each_share_one_home() {
    let seed = seed();
    eprintln!(
        "to repeat: BOXLITE_TEST_SEED={seed} cargo test --release --test many_processes -- eight --nocapture"
    );
    let home = PerTestBoxHome::isolated();
    let _guard = NoBoxesLeft(&home.path);
    let scratch = tempfile::tempdir().unwrap();
    let registry = registry(scratch.path());
    let began = Instant::now();
    let referee = referee::Referee::start(&home.path);
    let orders: Vec<Order> = (0..PROCESSES)
        .map(|number| Order {
            number,
            seed,
            home: home.path.clone(),
            notes: scratch.path().join(format!("notes-{number}")),
            registry: registry.host(),
        })
        .collect();
    let mut workers: Vec<Another> =
        orders.iter().map(|order| another_process("worker", &order.to_string())).collect();
    while !workers.is_empty() {
        assert!(began.elapsed() < DEADLINE, "seed {seed}: {} workers do not come to an end", workers.len());
        workers.retain_mut(|worker| match worker.ended() {
            Some(status) => {
                assert!(status.success(), "seed {seed}: a worker failed, see its message above");
                false
            }
            None => true,
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let took = began.elapsed();
    let seen = referee.end();
    assert!(seen.violations.is_empty(), "seed {seed}: {:?}", seen.violations);
    let notes: Vec<String> = orders.iter().map(|order| fs::read_to_string(&order.notes).unwrap()).collect();
    let summary = after::check(&home.path, &registry, &after::Notes::read(&notes), seed).await;
    eprintln!(
        "seed {seed}: {} s, {} starts seen, {} machines at most at once; {summary}",
        took.as_secs(),
        seen.starts,
        seen.most
    );
}
