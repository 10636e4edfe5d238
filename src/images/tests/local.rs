//! Layouts, archives and directories: what is read, what is refused, and that nothing is left behind.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::{Arc, Mutex};

use boxlite_test_utils::oci::{CONFIG, Layout, Packing, tar_of};
use boxlite_test_utils::registry::run;

use super::{assert_tidy, files_below, sample_layout, store};
use crate::errors::BoxliteError;
use crate::images::{ImageStage, ProgressSink};

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

    let events = events.lock().expect("the events");
    let stages: Vec<ImageStage> = events.iter().map(|event| event.stage).collect();
    assert_eq!(stages.first(), Some(&ImageStage::Resolving));
    assert_eq!(stages.last(), Some(&ImageStage::Done));
    for layer in &image.layers {
        let last = events.iter().filter_map(|event| event.layer).rfind(|done| done.digest == layer.digest);
        assert_eq!(last.map(|done| (done.done_bytes, done.total_bytes)), Some((layer.size, layer.size)));
    }
    let listed = store.list().await.expect("a list");
    assert_eq!(listed, [image.clone()]);
    let by_digest = store.get(&image.manifest_digest.to_string()).await.expect("a look");
    assert_eq!(by_digest.as_ref(), Some(&image));
}
