//! OCI layouts: what is read, what is refused, and that nothing is left behind.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use boxlite_test_utils::oci::{CONFIG, Layout, Packing, digest_of, tar_of};

use super::{assert_tidy, refusal, sample_layout, store};
use crate::errors::BoxliteError;
use crate::images::{ImageStage, ProgressSink, absolute_reference};

const QUIET: fn() -> ProgressSink = ProgressSink::none;

#[tokio::test]
async fn a_layout_becomes_an_image_and_its_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = sample_layout(dir.path());
    let store = store(dir.path());
    let reference = format!("oci:{}:v1", layout.dir().display());
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let sink = ProgressSink::new(move |progress| seen.lock().expect("the events").push(progress.clone()));

    let image = store.ensure(&reference, &sink).await.expect("an image");
    assert_eq!(image.reference, reference);
    assert_eq!((image.layers.len(), image.tag.as_deref()), (3, Some("v1")));
    assert_eq!(image.config.cmd, ["/bin/sh"]);
    let disk = store.disk(&image, &sink).await.expect("a disk");
    assert!(disk.built && disk.bytes > 0);
    let mode = fs::metadata(&disk.path).expect("the disk").permissions().mode();
    assert_eq!(mode & 0o777, 0o444);
    let again = store.disk(&image, &ProgressSink::none()).await.expect("the disk");
    assert!(!again.built && again.path == disk.path);
    assert_tidy(dir.path());

    let events = std::mem::take(&mut *events.lock().expect("the events"));
    let stages: Vec<ImageStage> = events.iter().map(|event| event.stage).collect();
    assert_eq!(stages.first(), Some(&ImageStage::Resolving));
    assert_eq!(stages.last(), Some(&ImageStage::Done));
    for layer in &image.layers {
        let last = events.iter().filter_map(|event| event.layer).rfind(|done| done.digest == layer.digest);
        assert_eq!(last.map(|done| (done.done_bytes, done.total_bytes)), Some((layer.size, layer.size)));
    }
    let listed = store.list().await.expect("a list");
    assert_eq!(listed, std::slice::from_ref(&image));
    let by_digest = store.get(&image.manifest_digest.to_string()).await.expect("a look");
    assert_eq!(by_digest.as_ref(), Some(&image));
}

#[tokio::test]
async fn a_layout_built_again_in_place_is_taken_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = sample_layout(dir.path());
    let store = store(dir.path());
    let reference = format!("oci:{}", layout.dir().display());
    let first = store.ensure(&reference, &QUIET()).await.expect("an image");
    let tar = tar_of(&[("new", b"content")]).expect("a tar");
    let manifest = layout.image(&[(&*tar, Packing::Gzip)]).expect("an image");
    layout.tags(&[("v1", &manifest)]).expect("an index");
    let second = store.ensure(&reference, &QUIET()).await.expect("an image");
    assert_eq!((first.layers.len(), second.layers.len()), (3, 1));
    assert_eq!(store.list().await, Ok(vec![second]));
}

#[tokio::test]
async fn bad_layouts_are_named_and_leave_nothing_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    let tar = tar_of(&[("file", b"content")]).expect("a tar");
    let layout = |name: &str| Layout::new(at(name)).expect("a layout");
    let layer = |layout: &Layout, media_type: &str| layout.blob(media_type, &tar).expect("a blob");
    let plain = Packing::Tar.media_type();
    let config = |diff_ids: &[String], architecture: &str| {
        serde_json::json!({ "architecture": architecture, "os": "linux", "rootfs": { "diff_ids": diff_ids } })
            .to_string()
    };
    let good = config(&[digest_of(&tar)], boxlite_test_utils::oci::host_architecture());
    let with = |name: &str, config: &str, media_type: &str| {
        let layout = layout(name);
        let config = layout.blob(CONFIG, config.as_bytes()).expect("a blob");
        let manifest = layout.manifest(&config, &[layer(&layout, media_type)]).expect("a manifest");
        layout.tags(&[("v1", &manifest)]).expect("an index");
        layout
    };
    with("json", "this is not JSON", plain);
    with("cpu", &config(&[digest_of(&tar)], "s390x"), plain);
    with("count", &config(&[], boxlite_test_utils::oci::host_architecture()), plain);
    with("type", &good, "application/vnd.example.layer.v1.squashfs");
    let digest = with("digest", &good, plain);
    fs::write(digest.path_of(&digest_of(&tar)), vec![7; tar.len()]).expect("a change");
    let short = with("short", &good, plain);
    fs::write(short.path_of(&digest_of(&tar)), &tar[..100]).expect("a change");
    let gone = with("gone", &good, plain);
    fs::remove_file(gone.path_of(&digest_of(&tar))).expect("the blob");
    fs::create_dir(at("none")).expect("a directory");
    fs::create_dir(at("words")).expect("a directory");
    fs::write(at("words/index.json"), "words").expect("a file");

    for (name, reason) in [
        ("json", "not a JSON image config"),
        ("cpu", "linux/s390x"),
        ("count", "1 layers in its manifest and 0 in its config"),
        ("type", "vnd.example.layer.v1.squashfs"),
        ("digest", "wrong digest"),
        ("short", "has 100 bytes, its manifest says"),
        ("gone", "lacks `blobs/sha256/"),
        ("none", "lacks `index.json`"),
        ("words", "not JSON"),
    ] {
        let home = at("homes").join(name);
        let error = refusal(&home, &format!("oci:{}", at(name).display())).await;
        assert!(matches!(error, BoxliteError::Image(_)), "{name}: {error}");
        assert!(error.to_string().contains(reason), "{name}: {error}");
    }
    let error = refusal(&at("homes/tag"), &format!("oci:{}:v7", at("cpu").display())).await;
    assert!(matches!(error, BoxliteError::NotFound(_)) && error.to_string().contains("v1"), "{error}");
    let error = refusal(&at("homes/path"), &format!("oci:{}", at("nowhere").display())).await;
    assert!(matches!(error, BoxliteError::NotFound(_)) && error.to_string().contains("nowhere"), "{error}");
}

#[test]
fn a_box_keeps_a_reference_that_means_the_same_anywhere() {
    let here = std::env::current_dir().expect("a directory").display().to_string();
    assert_eq!(absolute_reference("oci:some/dir:v1"), Ok(format!("oci:{here}/some/dir:v1")));
    assert_eq!(absolute_reference("docker-archive:/x.tar"), Ok("docker-archive:/x.tar".into()));
    assert_eq!(absolute_reference("alpine"), Ok("alpine".into()));
    assert!(matches!(absolute_reference("Alpine"), Err(BoxliteError::InvalidArgument(_))));
}
