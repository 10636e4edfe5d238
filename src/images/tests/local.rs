//! Layouts, archives and directories: what is read, what is refused, and that nothing is left behind.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use boxlite_test_utils::oci::{CONFIG, Layout, Packing, digest_of, tar_of};
use boxlite_test_utils::registry::run;

use super::{assert_tidy, files_below, sample_layout, store};
use crate::errors::BoxliteError;
use crate::images::{ImageLimits, ImageStage, ImageStore, ProgressSink};

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

/// What one archive holds, as a second way of saying the same image.
async fn assert_same_image(dir: &Path, reference: &str) {
    let store = store(&dir.join("copy"));
    let image = store.ensure(reference, &QUIET()).await.expect(reference);
    let disk = store.disk(&image, &QUIET()).await.expect(reference);
    run(Command::new("fsck.erofs").arg(&disk.path)).expect("a sound disk");
    assert_eq!(image.layers.len(), 3, "{reference}");
    assert_eq!(image.config.working_dir, "/srv", "{reference}");
    assert_tidy(&dir.join("copy"));
    // Stored: the source may go, and an unchanged archive is not read again.
    let again = store.ensure(reference, &QUIET()).await.expect(reference);
    assert_eq!(again.manifest_digest, image.manifest_digest);
}

#[tokio::test]
async fn archives_by_skopeo_are_read_packed_or_not() {
    let dir = tempfile::tempdir().expect("a directory");
    // Docker's formats have no zstd.
    let layout = Layout::new(dir.path().join("layout")).expect("a layout");
    let tars: Vec<_> = ["a", "b", "c"].iter().map(|name| tar_of(&[(*name, b"x")]).expect("a tar")).collect();
    let packings = [Packing::Gzip, Packing::Tar, Packing::Gzip];
    let layers: Vec<(&[u8], Packing)> = tars.iter().map(Vec::as_slice).zip(packings).collect();
    layout.tags(&[("v1", &layout.image(&layers).expect("an image"))]).expect("an index");
    let source = format!("oci:{}:v1", layout.dir().display());
    let at = |name: &str| dir.path().join(name).display().to_string();
    let copy = |target: &str| {
        let mut command = Command::new("skopeo");
        run(command.args(["copy", "--insecure-policy", "--quiet", &source, target])).expect("a copy");
    };
    copy(&format!("oci-archive:{}:v1", at("oci.tar")));
    copy(&format!("docker-archive:{}:registry.test:5000/app:v1", at("docker.tar")));
    for name in ["oci.tar", "docker.tar"] {
        run(Command::new("gzip").args(["-k", "-1", &at(name)])).expect("gzip");
    }
    for reference in [
        format!("oci-archive:{}:v1", at("oci.tar")),
        format!("oci-archive:{}", at("oci.tar.gz")),
        format!("docker-archive:{}", at("docker.tar")),
        format!("docker-archive:{}:registry.test:5000/app:v1", at("docker.tar")),
        format!("docker-archive:{}:v1", at("docker.tar.gz")),
    ] {
        assert_same_image(dir.path(), &reference).await;
    }
    let store = store(&dir.path().join("copy"));
    fs::remove_file(at("oci.tar")).expect("the archive");
    assert!(store.ensure(&format!("oci-archive:{}:v1", at("oci.tar")), &QUIET()).await.is_ok());
    let error = store.ensure(&format!("docker-archive:{}:v9", at("docker.tar")), &QUIET()).await;
    let error = error.expect_err("no such tag");
    assert!(matches!(error, BoxliteError::NotFound(_)) && error.to_string().contains("app:v1"), "{error}");
}

#[tokio::test]
async fn an_old_docker_archive_with_links_and_a_packed_layer() {
    let dir = tempfile::tempdir().expect("a directory");
    let tar = tar_of(&[("file", b"content")]).expect("a tar");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, &tar).expect("gzip");
    let packed = packed.finish().expect("gzip");
    let config = serde_json::json!({
        "architecture": boxlite_test_utils::oci::host_architecture(), "os": "linux",
        "config": { "WorkingDir": "/srv" },
        "rootfs": { "diff_ids": [digest_of(&tar), digest_of(&tar), digest_of(&tar)] },
    });
    let manifest = serde_json::json!([{
        "Config": "0a.json", "RepoTags": null, "Layers": ["1/layer.tar", "2/layer.tar", "3/layer.tar"],
    }]);
    let (config, manifest) = (config.to_string(), manifest.to_string());
    let write = |name: &str, target: &str| {
        let mut builder = tar::Builder::new(fs::File::create(dir.path().join(name)).expect("a file"));
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        builder.append_link(&mut link, "2/layer.tar", target).expect("a link");
        for (name, content) in [
            ("1/layer.tar", &tar[..]),
            ("3/layer.tar", &packed),
            ("0a.json", config.as_bytes()),
            ("manifest.json", manifest.as_bytes()),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, name, content).expect("a member");
        }
        builder.finish().expect("a tar");
        format!("docker-archive:{}", dir.path().join(name).display())
    };
    assert_same_image(dir.path(), &write("good.tar", "../1/layer.tar")).await;
    let home = dir.path().join("home");
    let error = refusal(&home, &write("escape.tar", "../../../etc/passwd")).await;
    assert!(error.to_string().contains("outside of it"), "{error}");
    let error = refusal(&home, &write("loop.tar", "../2/layer.tar")).await;
    assert!(error.to_string().contains("loop of links"), "{error}");
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

async fn refusal(dir: &Path, reference: &str) -> BoxliteError {
    let error = store(dir).ensure(reference, &QUIET()).await.expect_err(reference);
    assert_tidy(dir);
    assert_eq!(store(dir).list().await, Ok(Vec::new()), "{reference}");
    assert!(!error.hint().is_empty());
    error
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

#[tokio::test]
async fn bad_archives_are_named_and_leave_nothing_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    let config = serde_json::json!({
        "architecture": boxlite_test_utils::oci::host_architecture(), "os": "linux",
        "rootfs": { "diff_ids": [digest_of(b"x")] },
    });
    let config = config.to_string();
    let saved = |config: &str, layer: &str| {
        serde_json::json!([{ "Config": config, "RepoTags": ["app:v1"], "Layers": [layer] }]).to_string()
    };
    let write = |name: &str, manifest: &str| {
        let files = [("manifest.json", manifest.as_bytes()), ("config", config.as_bytes())];
        fs::write(at(name), tar_of(&files).expect("a tar")).expect("an archive");
    };
    write("escape", &saved("config", "../../../../etc/passwd"));
    write("escape-config", &saved("../config", "config"));
    write("lacks", &saved("config", "no-such-layer"));
    write("words", "words");
    fs::write(at("empty"), tar_of(&[]).expect("a tar")).expect("an archive");
    fs::write(at("noise"), [42; 2000]).expect("a file");
    let whole = tar_of(&[("manifest.json", &[b' '; 5000])]).expect("a tar");
    fs::write(at("cut"), &whole[..1024]).expect("an archive");
    fs::write(at("cut.gz"), [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 2]).expect("a file");
    for (name, reason) in [
        ("escape", "`../../../../etc/passwd`, outside of it"),
        ("escape-config", "`../config`, outside of it"),
        ("lacks", "lacks `no-such-layer`"),
        ("words", "not JSON"),
        ("empty", "lacks `manifest.json`"),
        ("noise", "no intact tar"),
        ("cut", "is cut off"),
        ("cut.gz", "cannot be unpacked"),
    ] {
        let home = at("homes").join(name);
        let error = refusal(&home, &format!("docker-archive:{}", at(name).display())).await;
        assert!(matches!(error, BoxliteError::Image(_)), "{name}: {error}");
        assert!(error.to_string().contains(reason), "{name}: {error}");
    }
}

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
}
