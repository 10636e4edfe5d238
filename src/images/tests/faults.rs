//! Pulls over a bad network: retries, resumes, and giving up in time.

use std::path::Path;
use std::time::Duration;

use boxlite_test_utils::oci::{Layout, Packing, tar_of};
use boxlite_test_utils::registry::Registry;

use super::proxy::Proxy;
use super::{assert_tidy, store_with};
use crate::errors::BoxliteError;
use crate::images::{ImageStore, ProgressSink};
use crate::model::registry::ImageRegistry;

const LAYER: usize = 2 << 20;
/// Bytes per second at which a layer is under way long enough to be met there, however busy the machine is.
pub(super) const SLOW: u64 = 256 << 10;

/// A registry behind a bad network, holding `app:v1` with `layers` layers of 2 MiB that don't compress.
pub(super) struct Scene {
    pub registry: Registry,
    pub proxy: Proxy,
    pub dir: tempfile::TempDir,
}

pub(super) fn scene(layers: u64) -> Scene {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::new(dir.path().join("layout")).expect("a layout");
    let tars: Vec<Vec<u8>> =
        (0..layers).map(|seed| tar_of(&[("noise", &noise(seed + 1))]).expect("a tar")).collect();
    let packed: Vec<(&[u8], Packing)> = tars.iter().map(|tar| (&**tar, Packing::Tar)).collect();
    layout.tags(&[("v1", &layout.image(&packed).expect("an image"))]).expect("an index");
    let registry = Registry::start().expect("a registry");
    let source = format!("oci:{}:v1", layout.dir().display());
    registry.push(&source, "app:v1", &["--preserve-digests"]).expect("a push");
    let proxy = Proxy::start(&registry.host());
    Scene { registry, proxy, dir }
}

fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(LAYER).collect()
}

impl Scene {
    pub(super) fn reference(&self) -> String {
        format!("{}/app:v1", self.proxy.host())
    }

    /// Until a transfer has come some way.
    pub(super) async fn in_the_middle(&self) {
        for _ in 0..6000 {
            if self.proxy.weather().blob_bytes > 400_000 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no transfer began");
    }

    pub(super) fn store(&self) -> ImageStore {
        self.store_in(self.dir.path())
    }

    pub(super) fn store_in(&self, dir: &Path) -> ImageStore {
        store_with(dir, vec![ImageRegistry::http(self.proxy.host())])
    }
}

#[tokio::test]
async fn a_transfer_that_breaks_off_goes_on_where_it_was() {
    let scene = scene(1);
    // More breaks than attempts: each one got something, so none counts as standing still.
    scene.proxy.weather().cuts = (6, 300_000);
    let store = scene.store();
    let image = store.pull(&scene.reference(), &ProgressSink::none()).await.expect("a pull");
    assert_eq!(image.layers.len(), 1);
    let bytes = scene.proxy.weather().blob_bytes;
    let once = LAYER as u64 + 64_000;
    assert!(bytes < once + 6 * 64_000, "{bytes} bytes came for a layer of {LAYER}");
    assert!(scene.registry.downloads(&image.layers[0].digest.to_string(), 6) >= 6);
    assert_tidy(scene.dir.path());
}

#[tokio::test]
async fn without_ranges_it_starts_again() {
    let scene = scene(1);
    {
        // The config is a blob too, too short to be broken off.
        let mut weather = scene.proxy.weather();
        weather.cuts = (2, 300_000);
        weather.no_ranges = true;
    }
    let store = scene.store();
    let image = store.pull(&scene.reference(), &ProgressSink::none()).await.expect("a pull");
    let disk = store.disk(&image, &ProgressSink::none()).await.expect("a disk of the right content");
    assert!(disk.built);
    assert!(scene.proxy.weather().blob_bytes > LAYER as u64 + 300_000);
    assert_tidy(scene.dir.path());
}

#[tokio::test]
async fn what_passes_is_tried_again_and_what_stays_is_told() {
    let scene = scene(1);
    let store = scene.store();
    for status in ["503 Service Unavailable", "429 Too Many Requests"] {
        scene.proxy.weather().refusals = (2, status);
        let pulled = store.pull(&scene.reference(), &ProgressSink::none()).await;
        assert!(pulled.is_ok(), "{status}: {pulled:?}");
    }
    scene.proxy.weather().refusals = (usize::MAX, "500 Internal Server Error");
    let before = scene.proxy.weather().requests;
    let error = store.pull(&scene.reference(), &ProgressSink::none()).await.expect_err("an outage");
    assert!(matches!(error, BoxliteError::Network(_)) && error.to_string().contains("500"), "{error}");
    // Three attempts of at most two requests each (the ping before a login, and the manifest).
    assert!(scene.proxy.weather().requests - before <= 8, "{}", scene.proxy.weather().requests);
    assert_tidy(scene.dir.path());
}

#[tokio::test]
async fn layers_come_side_by_side_but_not_all_at_once() {
    let scene = scene(7);
    // Slow enough that none is there before all that may have begun.
    scene.proxy.weather().blob_rate = Some(1 << 20);
    let pulled = scene.store().pull(&scene.reference(), &ProgressSink::none()).await;
    assert_eq!(pulled.map(|image| image.layers.len()), Ok(7));
    assert_eq!(scene.proxy.weather().under_way.1, 4);
}

#[tokio::test]
async fn a_caller_that_leaves_keeps_nobody_waiting_and_what_it_got() {
    let scene = scene(1);
    scene.proxy.weather().blob_rate = Some(SLOW);
    let (store, reference) = (scene.store(), scene.reference());
    let start = || {
        let (store, reference) = (store.clone(), reference.clone());
        tokio::spawn(async move { store.pull(&reference, &ProgressSink::none()).await })
    };
    // Alone: its leaving ends the transfer, and the partial blob stays for the next one.
    let only = start();
    scene.in_the_middle().await;
    only.abort();
    assert!(only.await.is_err_and(|error| error.is_cancelled()));
    for _ in 0..6000 {
        if scene.proxy.weather().under_way.0 == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(scene.proxy.weather().under_way.0, 0, "nobody waits, nothing is transferred");
    let after = scene.proxy.weather().blob_bytes;
    assert!(after > 300_000 && after < LAYER as u64, "{after}");

    // Together: one leaves, the other gets the image from the same transfer, from where the first one was.
    let (leaver, stayer) = (start(), start());
    tokio::time::sleep(Duration::from_millis(200)).await;
    leaver.abort();
    let image = stayer.await.expect("no panic").expect("an image");
    assert_eq!(scene.registry.downloads(&image.layers[0].digest.to_string(), 2), 2);
    let bytes = scene.proxy.weather().blob_bytes;
    assert!(bytes < LAYER as u64 + 500_000, "{bytes}");
    assert_tidy(scene.dir.path());
}
