//! What the store keeps: removal, damage, limits, directories, sharing, leftovers.

use std::fs;
use std::process::Command;
use std::time::Duration;

use boxlite_test_utils::oci::{Layout, Packing, tar_of};
use boxlite_test_utils::registry::run;

use super::{assert_tidy, files_below, sample_layout, store};
use crate::errors::BoxliteError;
use crate::images::{ImageLimits, ImageStore, ProgressSink};

const QUIET: fn() -> ProgressSink = ProgressSink::none;

#[tokio::test]
async fn removing_keeps_what_other_images_need() {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::new(dir.path().join("layout")).expect("a layout");
    let tar = |name: &str| tar_of(&[(name, name.as_bytes())]).expect("a tar");
    let (base, one, two) = (tar("base"), tar("one"), tar("two"));
    let image =
        |top: &[u8]| layout.image(&[(&*base, Packing::Gzip), (top, Packing::Gzip)]).expect("an image");
    layout.tags(&[("one", &image(&one)), ("two", &image(&two))]).expect("an index");
    let (store, path) = (store(dir.path()), layout.dir().display());
    let (one, two) = (format!("oci:{path}:one"), format!("oci:{path}:two"));
    for reference in [&one, &two] {
        let image = store.pull(reference, &QUIET()).await.expect("an image");
        store.disk(&image, &QUIET()).await.expect("a disk");
    }
    store.remove(&one).await.expect("a removal");
    let kept = store.get(&two).await.expect("a look").expect("the other image");
    assert_eq!(store.get(&one).await, Ok(None));
    // Manifest, config, two layers; one disk; one record.
    let left = files_below(&dir.path().join("images"));
    assert_eq!(left.len(), 4 + 1 + 1 + 1, "{left:?}");
    assert!(!store.disk(&kept, &QUIET()).await.expect("its disk").built);
    assert!(matches!(store.remove(&one).await, Err(BoxliteError::NotFound(_))));
    store.remove(&two).await.expect("a removal");
    assert_eq!(files_below(&dir.path().join("images")), ["boxlite-images.json"]);
}

#[tokio::test]
async fn a_layer_damaged_in_the_store_is_found_and_fetched_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = sample_layout(dir.path());
    let store = store(dir.path());
    let reference = format!("oci:{}", layout.dir().display());
    let image = store.ensure(&reference, &QUIET()).await.expect("an image");
    let layer = image.layers[2];
    let path = dir.path().join("images/blobs/sha256").join(layer.digest.hex());
    let mut content = fs::read(&path).expect("the layer");
    content[700] ^= 1;
    fs::remove_file(&path).and_then(|()| fs::write(&path, content)).expect("damage");
    let error = store.disk(&image, &QUIET()).await.expect_err("a damaged layer");
    assert!(error.to_string().contains(&layer.digest.to_string()), "{error}");
    assert_tidy(dir.path());
    assert_eq!(store.get(&reference).await, Ok(None));
    let image = store.ensure(&reference, &QUIET()).await.expect("the image again");
    assert!(store.disk(&image, &QUIET()).await.expect("a disk").built);
}

#[tokio::test]
async fn a_layer_beyond_the_limit_leaves_no_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = sample_layout(dir.path());
    let limits = ImageLimits { max_layer_bytes: 100_000, ..ImageLimits::default() };
    let store = ImageStore::open(dir.path().join("images"), Vec::new(), limits).expect("a store");
    let image = store.ensure(&format!("oci:{}", layout.dir().display()), &QUIET()).await.expect("an image");
    let error = store.disk(&image, &QUIET()).await.expect_err("a limit");
    assert!(error.to_string().contains("100000") || error.to_string().contains("limit"), "{error}");
    assert_tidy(dir.path());
    assert!(files_below(&dir.path().join("images/disks")).is_empty());
}

#[tokio::test]
async fn a_directory_has_a_disk_until_something_in_it_changes() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("etc")).expect("a directory");
    fs::write(root.join("etc/motd"), "one").expect("a file");
    let store = store(dir.path());
    let disk = || async { store.ensure_rootfs_dir(&root, &QUIET()).await.expect("a disk") };
    let first = disk().await;
    assert!(first.built);
    run(Command::new("fsck.erofs").arg(&first.path)).expect("a sound disk");
    let same = disk().await;
    assert!(!same.built && same.path == first.path);
    std::thread::sleep(Duration::from_millis(20));
    fs::write(root.join("etc/motd"), "two").expect("a change");
    let second = disk().await;
    assert!(second.built && second.path != first.path && first.path.exists());
    assert_tidy(dir.path());

    let error = store.ensure_rootfs_dir(&dir.path().join("none"), &QUIET()).await.expect_err("nothing there");
    assert!(matches!(error, BoxliteError::NotFound(_)), "{error}");
    let error = store.ensure_rootfs_dir(dir.path(), &QUIET()).await.expect_err("the store is inside");
    assert!(matches!(error, BoxliteError::InvalidArgument(_)), "{error}");
}

#[tokio::test]
async fn two_stores_on_one_directory_share_it_through_a_symlink() {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = sample_layout(dir.path());
    let (one, two) = (store(dir.path()), dir.path().join("other"));
    fs::create_dir(&two).expect("a directory");
    std::os::unix::fs::symlink(dir.path().join("images"), two.join("images")).expect("a link");
    let two = store(&two);
    let reference = format!("oci:{}", layout.dir().display());
    let (sink_a, sink_b) = (QUIET(), QUIET());
    let (a, b) = tokio::join!(one.ensure(&reference, &sink_a), two.ensure(&reference, &sink_b));
    let (a, b) = (a.expect("an image"), b.expect("an image"));
    let (a, b) = tokio::join!(one.disk(&a, &sink_a), two.disk(&b, &sink_b));
    let (a, b) = (a.expect("a disk"), b.expect("a disk"));
    assert!(a.built != b.built, "it is built by exactly one of them");
    assert_tidy(dir.path());
}

#[test]
fn a_store_of_a_later_format_is_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(store(dir.path()));
    let path = dir.path().join("images/boxlite-images.json");
    fs::write(&path, r#"{"format":2}"#).expect("a file");
    let opened = ImageStore::open(dir.path().join("images"), Vec::new(), ImageLimits::default());
    assert!(matches!(opened, Err(BoxliteError::Storage(_))), "{opened:?}");
    let file = dir.path().join("file");
    fs::write(&file, "").expect("a file");
    let opened = ImageStore::open(file.clone(), Vec::new(), ImageLimits::default());
    let error = opened.expect_err("a file is no directory");
    assert!(error.to_string().contains(&file.display().to_string()), "{error}");
}

#[test]
fn what_a_killed_process_left_is_swept() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(store(dir.path()));
    let tmp = dir.path().join("images/tmp");
    fs::write(dir.path().join("images/locks/disk-00.lock"), "1\nbuilding\n").expect("a dead owner's lock");
    for name in ["disk-00.tmp", "store.11", "blob-22.partial", "blob-33.partial", "disk-44.tmp"] {
        fs::write(tmp.join(name), "x").expect("a leftover");
    }
    let old = std::time::SystemTime::now() - Duration::from_secs(48 * 3600);
    fs::File::open(tmp.join("blob-33.partial")).and_then(|file| file.set_modified(old)).expect("an old file");
    let locks = &store(dir.path()).0.locks.clone();
    fs::write(tmp.join("disk-44.tmp"), "x").expect("a file in the making");
    let held = locks.try_acquire("disk-44", "building").expect("an answer").expect("the lock");
    drop(store(dir.path()));
    drop(held);
    // A young partial blob is something to go on with; what somebody works on is left alone.
    assert_eq!(files_below(&tmp), ["blob-22.partial", "disk-44.tmp"]);
    assert!(files_below(&dir.path().join("images/locks")).is_empty());
}
