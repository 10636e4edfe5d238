//! Several processes on one store: an image is fetched once, a killed pull leaves something to go on with, and a
//! stopped one is named.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use boxlite_test_utils::registry::{Registry, RegistryOptions};

use super::faults::{SLOW, Scene, scene};
use super::{assert_tidy, files_below, sample_layout, store_with};
use crate::errors::BoxliteError;
use crate::images::ProgressSink;
use crate::model::registry::ImageRegistry;

const ORDER: &str = "BOXLITE_TEST_PULL";

/// What the other process does: this test binary is started again with only this test, and an order in the
/// environment. In a normal run there is no order, and nothing to do.
#[tokio::test]
async fn as_another_process() {
    let Ok(order) = std::env::var(ORDER) else { return };
    let [dir, transport, host, reference] = order.split('|').collect::<Vec<_>>()[..] else {
        panic!("{order}")
    };
    let entry = if transport == "https" { ImageRegistry::https(host) } else { ImageRegistry::http(host) };
    let store = store_with(Path::new(dir), vec![entry]);
    let image = store.ensure(reference, &ProgressSink::none()).await.expect("a pull");
    store.disk(&image, &ProgressSink::none()).await.expect("a disk");
}

fn another_process(scene: &Scene) -> Child {
    let order = format!("{}|http|{}|{}", scene.dir.path().display(), scene.proxy.host(), scene.reference());
    ordered(&order).spawn().expect("a process")
}

fn ordered(order: &str) -> Command {
    let module = module_path!().split_once("::").map_or("", |(_, path)| path);
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", &format!("{module}::as_another_process")]).env(ORDER, order);
    command.stdout(Stdio::null());
    command
}

fn send(process: &Child, signal: libc::c_int) {
    let pid = libc::pid_t::try_from(process.id()).expect("a pid");
    // SAFETY: kill has no memory effects, and the process is ours and not reaped.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

#[tokio::test]
async fn processes_that_want_the_same_image_fetch_and_build_it_once() {
    let scene = scene(2);
    scene.proxy.weather().blob_rate = Some(4 << 20);
    let mut others = [another_process(&scene), another_process(&scene)];
    let store = scene.store();
    let image = store.ensure(&scene.reference(), &ProgressSink::none()).await.expect("a pull");
    store.disk(&image, &ProgressSink::none()).await.expect("a disk");
    for other in &mut others {
        assert!(other.wait().expect("its end").success());
    }
    for layer in &image.layers {
        assert_eq!(scene.registry.downloads(&layer.digest.to_string(), 1), 1);
    }
    let disks = files_below(&scene.dir.path().join("images/disks"));
    assert_eq!(disks, [format!("{}.erofs", image.manifest_digest.hex())]);
    assert_tidy(scene.dir.path());
}

#[tokio::test]
async fn a_killed_pull_is_gone_on_with() {
    let scene = scene(1);
    scene.proxy.weather().blob_rate = Some(SLOW);
    let mut other = another_process(&scene);
    scene.in_the_middle().await;
    send(&other, libc::SIGKILL);
    other.wait().expect("its end");
    // Nothing counts as stored, and the partial blob can't be taken for a whole one.
    let store = scene.store();
    assert_eq!(store.list().await, Ok(Vec::new()));
    let left = files_below(&scene.dir.path().join("images"));
    assert!(left.iter().any(|name| name.starts_with("tmp/blob-") && name.ends_with(".partial")), "{left:?}");

    scene.proxy.weather().blob_rate = None;
    let image = store.pull(&scene.reference(), &ProgressSink::none()).await.expect("a pull");
    let bytes = scene.proxy.weather().blob_bytes;
    assert!(bytes < image.size_bytes + 300_000, "{bytes} bytes came for {}", image.size_bytes);
    store.disk(&image, &ProgressSink::none()).await.expect("a disk of the right content");
    assert_tidy(scene.dir.path());
}

#[tokio::test]
async fn a_process_that_stands_still_is_named() {
    let scene = scene(1);
    scene.proxy.weather().blob_rate = Some(SLOW);
    let mut other = another_process(&scene);
    scene.in_the_middle().await;
    send(&other, libc::SIGSTOP);
    let error = scene.store().pull(&scene.reference(), &ProgressSink::none()).await.expect_err("busy");
    assert!(matches!(error, BoxliteError::Busy(_)), "{error}");
    let text = error.to_string();
    assert!(text.contains(&format!("process {} (pulling sha256:", other.id())), "{text}");
    assert!(text.contains(&scene.reference()), "{text}");
    send(&other, libc::SIGCONT);
    assert!(other.wait().expect("its end").success());
    assert_tidy(scene.dir.path());
}

#[test]
fn a_ca_of_the_machine_is_trusted() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = RegistryOptions { tls: true, ..Default::default() };
    let registry = Registry::start_with(options).expect("a registry");
    let layout = sample_layout(dir.path());
    let source = format!("oci:{}:v1", layout.dir().display());
    registry.push(&source, "app:v1", &["--preserve-digests"]).expect("a push");
    let order = format!("{}|https|{}|{}", dir.path().display(), registry.host(), registry.image("app:v1"));
    // The variable says where a machine's trust store is; it is read by the other process only.
    let pull = |store: &Path| ordered(&order).env("SSL_CERT_FILE", store).stderr(Stdio::null()).status();
    let empty = dir.path().join("empty.pem");
    std::fs::write(&empty, "").expect("a file");
    assert!(!pull(&empty).expect("a process").success());
    assert!(pull(&registry.ca_certificate()).expect("a process").success());
    assert_tidy(dir.path());
}

/// Pulls `scene`'s image and builds its disk on a file system of `size`; what the process said, and the files left.
fn on_a_small_disk(scene: &Scene, size: &str) -> (String, Vec<String>) {
    let place = scene.dir.path().join("small");
    std::fs::create_dir_all(&place).expect("a directory");
    let order = format!("{}|http|{}|{}", place.display(), scene.proxy.host(), scene.reference());
    let inner = ordered(&order);
    let script = "mount -t tmpfs -o size=$1 none \"$2\" || exit 99; place=$2; shift 2; \"$@\"; \
                  cd \"$place\" && find . -type f -printf 'left %P\\n'";
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c", script, "sh", size])
        .arg(&place)
        .arg(inner.get_program())
        .args(inner.get_args())
        .env(ORDER, order)
        .output()
        .expect("unshare");
    assert_ne!(output.status.code(), Some(99), "this test mounts a tmpfs in a user namespace: {output:?}");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let left = text.lines().filter_map(|line| line.strip_prefix("left images/")).map(str::to_owned).collect();
    (text, left)
}

#[test]
fn a_full_disk_is_told_and_left_as_it_was() {
    let scene = scene(1);
    // Too small for the layer; then for the disk beside it; then large enough.
    for (size, full, blobs, disks) in [("1m", true, 1, 0), ("3m", true, 3, 0), ("8m", false, 3, 1)] {
        let (text, left) = on_a_small_disk(&scene, size);
        assert_eq!(text.contains("ResourceExhausted"), full, "{size}: {text}");
        assert_eq!(left.iter().filter(|name| name.starts_with("blobs/")).count(), blobs, "{size}: {left:?}");
        assert_eq!(left.iter().filter(|name| name.starts_with("disks/")).count(), disks, "{size}: {left:?}");
        let loose = |name: &&String| name.starts_with("tmp/") || name.starts_with("locks/");
        assert_eq!(left.iter().find(loose), None, "{size}");
    }
}
