//! Pruning: what boxes need stays, what is deleted is what was announced.

use std::fs;

use boxlite_test_utils::oci::{Layout, Packing, tar_of};

use super::{assert_tidy, files_below, store};
use crate::images::{ImageStore, ImageUser, ProgressSink, PrunedItem, PrunedKind};

const QUIET: fn() -> ProgressSink = ProgressSink::none;

async fn pruned(store: &ImageStore, users: Vec<ImageUser>, dry_run: bool) -> Vec<PrunedItem> {
    store.prune(move || Ok(users), dry_run).await.expect("a report")
}

fn user(reference: Option<&str>) -> ImageUser {
    ImageUser { name: "box".into(), reference: reference.map(str::to_owned), disk: None }
}

#[tokio::test]
async fn what_boxes_need_stays_and_the_rest_goes() {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::new(dir.path().join("layout")).expect("a layout");
    let tar = |name: &str| tar_of(&[(name, &[7; 50_000])]).expect("a tar");
    let (base, one, two) = (tar("base"), tar("one"), tar("two"));
    let image = |top: &[u8]| layout.image(&[(&*base, Packing::Tar), (top, Packing::Tar)]).expect("an image");
    layout.tags(&[("one", &image(&one)), ("two", &image(&two))]).expect("an index");
    let (store, images) = (store(dir.path()), dir.path().join("images"));
    let (one, two) =
        (format!("oci:{}:one", layout.dir().display()), format!("oci:{}:two", layout.dir().display()));
    for reference in [&one, &two] {
        let image = store.pull(reference, &QUIET()).await.expect("an image");
        store.disk(&image, &QUIET()).await.expect("a disk");
    }
    let everything = files_below(&images);

    // Both are needed: one by name, for a first start, the other as the disk of a box that has run.
    let kept = store.get(&two).await.expect("a look").expect("the image").manifest_digest;
    let started = ImageUser { disk: Some(kept), ..user(Some(&one)) };
    assert_eq!(pruned(&store, vec![user(Some(&one)), started.clone()], false).await, []);
    assert_eq!(files_below(&images), everything);

    // A box that has run needs what it ran with, whatever its reference stands for now.
    let users = || vec![started.clone()];
    let announced = pruned(&store, users(), true).await;
    assert_eq!(files_below(&images), everything, "a dry run deletes nothing");
    assert_eq!(announced.len(), 1);
    assert_eq!((announced[0].kind, &*announced[0].name), (PrunedKind::Image, &*one));
    // Its own layer and its disk, not the base, which the other needs.
    assert!((50_000..400_000).contains(&announced[0].bytes), "{announced:?}");
    assert_eq!(pruned(&store, users(), false).await, announced);
    assert_eq!(store.get(&one).await, Ok(None));
    let image = store.get(&two).await.expect("a look").expect("the other");
    assert!(!store.disk(&image, &QUIET()).await.expect("its disk").built);

    assert_eq!(pruned(&store, Vec::new(), false).await.len(), 1);
    assert_eq!(files_below(&images), ["boxlite-images.json"]);
}

#[tokio::test]
async fn what_belongs_to_no_image_goes_unless_somebody_works_on_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, images) = (store(dir.path()), dir.path().join("images"));
    let root = dir.path().join("root");
    fs::create_dir(&root).expect("a directory");
    let disk = store.ensure_rootfs_dir(&root, &QUIET()).await.expect("a disk");
    let orphan = "aa".repeat(32);
    fs::write(images.join("blobs/sha256").join(&orphan), "x").expect("a blob");
    fs::write(images.join("tmp/blob-11.partial"), "x").expect("a part");
    fs::write(images.join("tmp/blob-22.partial"), "x").expect("a part");
    let held = store.0.locks.try_acquire("blob-22", "fetching").expect("an answer").expect("the lock");

    let kinds = |items: Vec<PrunedItem>| -> Vec<(PrunedKind, String)> {
        items.into_iter().map(|item| (item.kind, item.name)).collect()
    };
    let blobs = [(PrunedKind::Blob, orphan), (PrunedKind::Blob, "blob-11.partial".to_owned())];
    // A box of a directory, not started yet: nobody knows which disk it will want.
    assert_eq!(kinds(pruned(&store, vec![user(None)], true).await), blobs);
    let started = ImageUser { disk: Some(disk.manifest_digest), ..user(None) };
    assert_eq!(kinds(pruned(&store, vec![started], false).await), blobs);
    assert!(disk.path.is_file());
    let last = kinds(pruned(&store, Vec::new(), false).await);
    assert_eq!(last.len(), 1);
    assert_eq!(last[0].0, PrunedKind::Disk);
    assert!(!disk.path.exists());
    assert_eq!(files_below(&images.join("tmp")), ["blob-22.partial"]);
    drop(held);
    assert_eq!(pruned(&store, Vec::new(), false).await.len(), 1);
    assert_tidy(dir.path());
}
