//! A real Debian image: the tree in its disk equals the one that `umoci unpack` makes of the same layers.
//!
//! Also read through this machine's own kernel where that may mount a disk. The image comes from
//! `scripts/make-debian-image.sh`; `BOXLITE_TEST_IMAGE` names another OCI layout.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

use boxlite::disk::layers::{
    BuildLimits, LayerCompression, LayerSource, build_directory_disk, build_image_disk,
};
use boxlite_test_utils::home::target_dir;
use boxlite_test_utils::{erofs_reader, host_tree};
use serde_json::Value;

fn layout() -> PathBuf {
    let layout = std::env::var_os("BOXLITE_TEST_IMAGE")
        .map_or_else(|| target_dir().join("test-images/debian"), PathBuf::from);
    assert!(
        layout.join("index.json").exists(),
        "{} is not there: scripts/make-debian-image.sh makes it",
        layout.display()
    );
    layout
}

fn blob(layout: &Path, digest: &Value) -> PathBuf {
    layout.join("blobs").join(digest.as_str().expect("a digest").replace(':', "/"))
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("reading")).expect("JSON")
}

fn layers(layout: &Path) -> Vec<LayerSource> {
    let index = json(&layout.join("index.json"));
    let manifest = json(&blob(layout, &index["manifests"][0]["digest"]));
    let config = json(&blob(layout, &manifest["config"]["digest"]));
    let diff_ids = config["rootfs"]["diff_ids"].as_array().expect("diff ids");
    let layers = manifest["layers"].as_array().expect("layers");
    layers
        .iter()
        .zip(diff_ids)
        .map(|(layer, diff_id)| LayerSource {
            path: blob(layout, &layer["digest"]),
            compression: match layer["mediaType"].as_str().expect("a media type") {
                kind if kind.ends_with("gzip") => LayerCompression::Gzip,
                kind if kind.ends_with("zstd") => LayerCompression::Zstd,
                _ => LayerCompression::None,
            },
            diff_id: Some(unhex(diff_id.as_str().and_then(|id| id.strip_prefix("sha256:")).expect("sha256"))),
            label: layer["digest"].as_str().expect("a digest").to_owned(),
        })
        .collect()
}

fn unhex(text: &str) -> [u8; 32] {
    std::array::from_fn(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).expect("hexadecimal"))
}

fn run(command: &mut Command) {
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?} (`make setup` installs it): {error}"));
    let words = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&words));
}

fn assert_equal(want: &[erofs_reader::Entry], found: &[erofs_reader::Entry]) {
    let lines = host_tree::differences(want, found);
    let first: Vec<&String> = lines.iter().take(30).collect();
    assert!(lines.is_empty(), "{} differences: {first:#?}", lines.len());
}

/// A loop mount of an image, gone when dropped.
struct Mount(PathBuf);

impl Mount {
    /// None where the caller may not mount, or the kernel has no EROFS.
    fn of(disk: &Path, at: PathBuf) -> Option<Self> {
        fs::create_dir(&at).expect("creating");
        let known = fs::read_to_string("/proc/filesystems").is_ok_and(|known| known.contains("\terofs"));
        let mut mount = Command::new("mount");
        mount.args(["-t", "erofs", "-o", "loop,ro"]).arg(disk).arg(&at);
        let mounted = known && nix::unistd::geteuid().is_root() && Path::new("/dev/loop-control").exists();
        mounted.then(|| {
            run(&mut mount);
            Self(at)
        })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_debian_image_equals_what_umoci_unpacks() {
    let layout = layout();
    fs::create_dir_all(target_dir()).expect("creating");
    // On the target's file system: a tmpfs keeps fewer attributes.
    let temp = tempfile::tempdir_in(target_dir()).expect("a temporary directory");
    let disk = temp.path().join("disk");
    let layers = layers(&layout);
    assert!(layers.len() >= 2, "an image of one layer shows little");
    let report =
        build_image_disk(&layers, &disk, &BuildLimits::default(), &mut |_| ControlFlow::Continue(()))
            .expect("the disk is built");
    let found = erofs_reader::open(&disk).and_then(|image| image.entries()).expect("reading the disk back");
    assert_eq!(report.names as usize + 1, found.len());
    assert!(found.len() > 3000, "{} names are no Debian", found.len());
    run(Command::new("fsck.erofs").arg(&disk));

    let root = nix::unistd::geteuid().is_root();
    let bundle = temp.path().join("bundle");
    let mut umoci = Command::new("umoci");
    umoci.arg("unpack").arg("--image").arg(format!("{}:latest", layout.display()));
    if !root {
        umoci.arg("--rootless");
    }
    run(umoci.arg(&bundle));
    let mut want = host_tree::entries(&bundle.join("rootfs")).expect("walking");
    let mut compared = found.clone();
    if !root {
        // Without privileges umoci keeps neither owners nor devices, and notes what it could not do in an attribute.
        for entry in want.iter_mut().chain(&mut compared) {
            (entry.uid, entry.gid, entry.device) = (0, 0, (0, 0));
            entry.xattrs.clear();
        }
        let devices: Vec<Vec<u8>> = found
            .iter()
            .filter(|entry| {
                matches!(entry.kind, erofs_reader::Kind::CharDevice | erofs_reader::Kind::BlockDevice)
            })
            .map(|entry| entry.path.clone())
            .collect();
        want.retain(|entry| !devices.contains(&entry.path));
        compared.retain(|entry| !devices.contains(&entry.path));
    }
    assert_equal(&want, &compared);

    if let Some(mount) = Mount::of(&disk, temp.path().join("mount")) {
        assert_equal(&host_tree::entries(&mount.0).expect("walking"), &found);
    }

    // The unpacked tree as a directory gives the same disk content again.
    if root {
        let second = temp.path().join("second");
        build_directory_disk(&bundle.join("rootfs"), &second, &BuildLimits::default(), &mut |_| {
            ControlFlow::Continue(())
        })
        .expect("the disk is built");
        let second = erofs_reader::open(&second).and_then(|image| image.entries()).expect("reading back");
        assert_equal(&want, &second);
    }
}

/// What a Debian image lacks, read by this machine's kernel.
#[test]
fn the_kernel_reads_what_the_writer_writes() {
    use boxlite_test_utils::layers::{Item, TarBuilder};

    let temp = tempfile::tempdir().expect("a temporary directory");
    let mut sparse = vec![0; 3 << 20];
    sparse[1_500_000] = 1;
    let mut items = vec![
        Item::dir("."),
        Item::symlink("longest", "t".repeat(4095)),
        Item::symlink("long", vec![b't'; 4032]),
        Item::file("sparse", &sparse),
        Item::file("full", vec![1; 8192]),
        Item::file("inline", vec![2; 4000]),
        Item::file("plain", vec![3; 4050]),
        Item::file("n".repeat(255), "name"),
        Item::device("dev", b'4', (259, 300_000)),
        Item::hard_link("again", "sparse"),
    ];
    for index in 0..3000 {
        items.push(Item::file(format!("many/{}{index}", ["!", ".", "..", "x"][index % 4]), "m"));
    }
    items[0].xattrs =
        (0..20).map(|index| (format!("user.root{index}").into_bytes(), vec![b'r'; 2900])).collect();
    items[3].xattrs = vec![
        (b"user.big".to_vec(), vec![b'v'; 20_000]),
        (b"security.capability".to_vec(), b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec()),
        (b"trusted.note".to_vec(), b"t".to_vec()),
    ];
    items[4].mtime = (-7, 5);
    let path = temp.path().join("layer");
    fs::write(&path, TarBuilder::archive(&items)).expect("writing");
    let layer =
        LayerSource { path, compression: LayerCompression::None, diff_id: None, label: "layer".into() };
    let disk = temp.path().join("disk");
    build_image_disk(&[layer], &disk, &BuildLimits::default(), &mut |_| ControlFlow::Continue(()))
        .expect("the disk is built");
    let found = erofs_reader::open(&disk).and_then(|image| image.entries()).expect("reading the disk back");
    assert_eq!(found.len(), items.len() + 1);
    run(Command::new("fsck.erofs").arg(&disk));
    if let Some(mount) = Mount::of(&disk, temp.path().join("mount")) {
        assert_equal(&host_tree::entries(&mount.0).expect("walking"), &found);
        for entry in &found {
            // Looked up by name, which takes the search through sorted blocks that listing does not.
            let name = std::str::from_utf8(&entry.path).expect("UTF-8");
            assert!(mount.0.join(name).symlink_metadata().is_ok(), "{name}");
        }
    }
}
