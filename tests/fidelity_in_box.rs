//! The tree that a box sees is the tree of its image: a Debian image with layers of oddities on top, walked from inside
//! the box and, by the same program, in what `umoci unpack` makes of the same image as root.
//!
//! Without root umoci can't keep owners, devices and most attributes: the test then says so and fails, unless
//! `BOXLITE_TEST_UNPRIVILEGED=1` asks for what can be compared all the same.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use boxlite::{BoxCommand, BoxOptions, RootfsSpec};
use boxlite_test_utils::erofs_reader::{Entry, Kind};
use boxlite_test_utils::home::{PerTestBoxHome, debian_image, target_dir};
use boxlite_test_utils::host_tree::differences;
use boxlite_test_utils::layers::{Item, TarBuilder};
use boxlite_test_utils::oci::{Blob, CONFIG, Layout, Packing, digest_of};
use boxlite_test_utils::registry::run;
use serde_json::Value;

#[path = "support/vm.rs"]
mod vm;

/// Prints a line for each name below ROOT, without crossing into another file system and without the paths given.
/// A directory's file system counts, not a file's: an overlay shows files with the device numbers of its parts.
const WALK: &str = r#"
import hashlib, os, stat, sys
root = os.fsencode(sys.argv[1])
excluded = {os.fsencode(path) for path in sys.argv[2:]}
device = os.lstat(root).st_dev
numbers = {}
def content(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
def visit(name):
    path = os.path.join(root, name)
    info = os.lstat(path)
    folder = stat.S_ISDIR(info.st_mode)
    number = numbers.setdefault((info.st_dev, info.st_ino), len(numbers))
    xattrs = []
    for xattr in sorted(os.listxattr(path, follow_symlinks=False)):
        # Those that only the host's root can see are the host's own.
        if not xattr.startswith("trusted."):
            value = os.getxattr(path, xattr, follow_symlinks=False)
            xattrs.append(os.fsencode(xattr).hex() + "=" + value.hex())
    print("/" + name.hex(), info.st_mode, info.st_uid, info.st_gid, 0 if folder else info.st_size, info.st_mtime_ns,
          0 if folder else info.st_nlink, number, os.major(info.st_rdev), os.minor(info.st_rdev),
          "/" + (os.readlink(path).hex() if stat.S_ISLNK(info.st_mode) else ""),
          "/" + ",".join(xattrs),
          content(path) if stat.S_ISREG(info.st_mode) and (os.geteuid() == 0 or info.st_mode & 0o400) else "-")
    if folder and info.st_dev == device:
        for child in os.listdir(path):
            child = os.path.join(name, child)
            if child not in excluded:
                visit(child)
sys.setrecursionlimit(10000)
visit(b"")
"#;

/// What the box itself provides, and why it differs from the image.
const EXCLUDED: [(&str, &str); 7] = [
    ("proc", "the guest's processes"),
    ("sys", "the guest's kernel"),
    ("dev", "the devices a box may use, not those an image names"),
    ("etc/hosts", "names the box"),
    ("etc/hostname", "names the box"),
    ("etc/resolv.conf", "the box's own resolver"),
    ("etc/machine-id", "of each box its own, where the image's is empty"),
];

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(byte).collect()
}

fn parse(line: &str) -> Entry {
    let fields: Vec<&str> = line.split(' ').collect();
    let number = |at: usize| -> i64 { fields[at].parse().unwrap_or_else(|_| panic!("field {at} of {line}")) };
    let small = |at| u32::try_from(number(at)).expect("32 bits");
    let xattrs = fields[11][1..].split_terminator(',').map(|pair| {
        let (name, value) = pair.split_once('=').expect("an attribute");
        (unhex(name), unhex(value))
    });
    let mtime = number(5);
    Entry {
        path: unhex(&fields[0][1..]),
        kind: Kind::of_mode(small(1)).expect("a type"),
        mode: small(1) & 0o7777,
        uid: small(2),
        gid: small(3),
        size: number(4) as u64,
        mtime: (mtime.div_euclid(1_000_000_000), mtime.rem_euclid(1_000_000_000) as u32),
        links: small(6),
        inode: number(7) as u64,
        device: (small(8), small(9)),
        target: unhex(&fields[10][1..]),
        xattrs: xattrs.collect::<BTreeMap<_, _>>(),
        content: (fields[12] != "-").then(|| unhex(fields[12]).try_into().expect("a SHA-256")),
        stored: 0,
    }
}

fn parse_all(output: &[u8]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = std::str::from_utf8(output).expect("ASCII").lines().map(parse).collect();
    entries.sort_by(|one, other| one.path.cmp(&other.path));
    entries
}

/// A sparse file as GNU tar writes it in PAX archives (version 1.0): data at 1 MiB and at the end, holes between.
fn sparse(path: &str) -> Item {
    let record =
        |key: &str, value: &str| (format!("GNU.sparse.{key}").into_bytes(), value.as_bytes().to_vec());
    let mut data = b"2\n1048576\n5000\n3140000\n5728\n".to_vec();
    data.resize(512, 0);
    data.resize(512 + 5000, b'a');
    data.resize(512 + 5000 + 5728, b'z');
    let mut item = Item::file("odd/GNUSparseFile.0/sparse", data);
    item.records =
        vec![record("major", "1"), record("minor", "0"), record("name", path), record("realsize", "3145728")];
    item
}

/// What Debian lacks, in three layers that change each other.
fn odd_layers() -> [Vec<Item>; 3] {
    let owned = |item: Item, uid, gid, mode| Item { uid, gid, mode, ..item };
    let with = |item: Item, xattrs: &[(&str, &[u8])]| Item {
        xattrs: xattrs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect(),
        ..item
    };
    let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    // A directory without an entry of its own has no time of its own: every writer of real layers gives it one.
    let deep: Vec<String> =
        (1..=12).map(|depth| format!("odd/{}", "a-directory-with-a-long-name/".repeat(depth))).collect();
    let mut bottom = vec![
        Item { mtime: (1_234_567_890, 123_456_789), ..Item::dir("odd") },
        Item::device("odd/char", b'3', (1, 3)),
        Item::device("odd/block", b'4', (259, 300_000)),
        owned(Item::fifo("odd/fifo"), 5, 6, 0o622),
        owned(Item::file("odd/setuid", "s"), 1000, 1001, 0o6755),
        owned(Item::dir("odd/setgid"), 0, 50, 0o2770),
        owned(Item::dir("odd/sticky"), 65534, 65534, 0o1777),
        owned(Item::file("odd/nobody-may", "x"), 3_000_000_000, 4_000_000_000, 0),
        with(Item::file("odd/capable", "c"), &[("security.capability", capability)]),
        with(
            Item::file("odd/attributes", "u"),
            &[("user.text", b"text"), ("user.binary", b"\0\xff\n"), ("user.long", &[7; 2500])],
        ),
        with(Item::dir("odd/attributed"), &[("user.of.a.directory", b"d")]),
        Item { mtime: (-86_400, 1), ..Item::file("odd/before-1970", "b") },
        Item { mtime: (4_200_000_000, 999_999_999), ..Item::file("odd/after-2100", "a") },
        owned(Item::symlink("odd/symlink", "t".repeat(1000)), 7, 8, 0o777),
        Item::symlink("odd/symlink-bytes", b"\xff\x01"),
        Item::file("odd/empty", ""),
        sparse("odd/sparse"),
        Item::file(format!("odd/{}", "n".repeat(255)), "longest name"),
        Item::file(b"odd/\xff\xfe not UTF-8", "bytes"),
        Item::file("odd/new\nline \\ \"quoted\"", "name"),
        Item::file("odd/original", "linked"),
        Item::hard_link("odd/sticky/second-name", "odd/original"),
        Item::file("odd/gone", "g"),
        Item::file("odd/gone-directory/inside", "g"),
        Item::file("odd/opaque/old", "o"),
        Item::file("odd/opaque/kept/old", "o"),
        Item::file("odd/file-then-directory", "f"),
        Item::file("odd/directory-then-symlink/inside", "d"),
        Item::file("odd/returns", "first"),
    ];
    bottom.extend(deep.iter().map(Item::dir));
    bottom.push(Item::file(format!("{}leaf", deep[11]), "deep"));
    let middle = vec![
        Item::hard_link("odd/across", "odd/original"),
        Item::whiteout("odd/gone"),
        Item::whiteout("odd/gone-directory"),
        Item::dir("odd/opaque"),
        Item::opaque("odd/opaque"),
        Item { mtime: (1_500_000_000, 1), ..Item::dir("odd/opaque/kept") },
        Item::file("odd/opaque/kept/new", "n"),
        Item::whiteout("odd/returns"),
        Item::whiteout("odd/file-then-directory"),
        Item::dir("odd/file-then-directory"),
        Item::file("odd/file-then-directory/inside", "i"),
        Item::whiteout("odd/directory-then-symlink"),
        Item::symlink("odd/directory-then-symlink", "/etc"),
        // Of Debian's own.
        Item::whiteout("etc/issue"),
        Item::hard_link("odd/of-debian", "etc/debian_version"),
    ];
    let top = vec![
        Item { mtime: (1_600_000_000, 5), ..owned(Item::dir("odd"), 3, 4, 0o751) },
        // The name goes to a new file; the other names keep the old one.
        Item::whiteout("odd/original"),
        Item::file("odd/returns", "second"),
        Item::file("etc/debian_version", "other\n"),
    ];
    [bottom, middle, top]
}

/// The Debian image with the odd layers, as an OCI layout in `dir`.
fn make_image(dir: &Path) {
    let debian = debian_image();
    let debian = Path::new(debian.strip_prefix("oci:").expect("a layout"));
    run(Command::new("cp").args(["-rL"]).arg(debian).arg(dir)).expect("the Debian image");
    let layout = Layout::new(dir).expect("a layout");
    let json =
        |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).expect("reading")).expect("JSON") };
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    let index = json(&dir.join("index.json"));
    let manifest = json(&layout.path_of(&text(&index["manifests"][0]["digest"])));
    let mut config = json(&layout.path_of(&text(&manifest["config"]["digest"])));
    let mut layers: Vec<Blob> = manifest["layers"]
        .as_array()
        .expect("layers")
        .iter()
        .map(|layer| Blob {
            digest: text(&layer["digest"]),
            size: layer["size"].as_u64().expect("a size"),
            media_type: text(&layer["mediaType"]),
        })
        .collect();
    for (items, packing) in odd_layers().iter().zip([Packing::Gzip, Packing::Tar, Packing::Gzip]) {
        let tar = TarBuilder::archive(items);
        let diff_id = Value::from(digest_of(&tar));
        config["rootfs"]["diff_ids"].as_array_mut().expect("diff ids").push(diff_id);
        let packed = if packing == Packing::Gzip { boxlite_test_utils::layers::gzip(&tar) } else { tar };
        layers.push(layout.blob(packing.media_type(), &packed).expect("a layer"));
    }
    config.as_object_mut().expect("an object").remove("history");
    let config = layout.blob(CONFIG, config.to_string().as_bytes()).expect("a config");
    let manifest = layout.manifest(&config, &layers).expect("a manifest");
    layout.tags(&[("latest", &manifest)]).expect("an index");
}

/// Whether everything can be compared. Without root only when the caller knows and wants that.
fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    assert!(
        root || std::env::var_os("BOXLITE_TEST_UNPRIVILEGED").is_some_and(|value| value == "1"),
        "umoci keeps owners, devices and attributes only as root: run this test as root, or set \
         BOXLITE_TEST_UNPRIVILEGED=1 to compare without them"
    );
    root
}

/// The image as umoci unpacks it, walked by the same program.
fn unpacked(image: &Path, bundle: PathBuf, root: bool) -> Vec<Entry> {
    let mut umoci = Command::new("umoci");
    umoci.arg("unpack").arg("--image").arg(format!("{}:latest", image.display()));
    if !root {
        umoci.arg("--rootless");
    }
    run(umoci.arg(&bundle)).expect("umoci");
    let tree = bundle.join("rootfs");
    let mut walk = Command::new(if root { "chroot" } else { "python3" });
    if root {
        walk.arg(&tree).arg("/usr/bin/python3");
    }
    walk.args(["-B", "-I", "-c", WALK]).arg(if root { OsStr::new("/") } else { tree.as_os_str() });
    walk.args(EXCLUDED.map(|(path, _)| path)).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    parse_all(&run(&mut walk).expect("the walk").stdout)
}

#[tokio::test]
async fn a_box_sees_what_umoci_unpacks() {
    let root = is_root();
    let temp = tempfile::tempdir_in(target_dir()).expect("a temporary directory");
    let image = temp.path().join("image");
    make_image(&image);

    let home = PerTestBoxHome::new();
    let runtime = vm::open(&home, Vec::new());
    let rootfs = RootfsSpec::Image(format!("oci:{}", image.display()));
    let sandbox = runtime.create(BoxOptions { rootfs, ..BoxOptions::default() }, None).await.expect("a box");
    let walk = BoxCommand::new("/usr/bin/python3")
        .args(["-B", "-I", "-c", WALK, "/"])
        .args(EXCLUDED.map(|(path, _)| path));
    let (code, stdout, stderr) = vm::run(&sandbox, walk).await;
    assert_eq!((code, String::from_utf8_lossy(&stderr).as_ref()), (0, ""));
    let mut found = parse_all(&stdout);
    runtime.shutdown(Some(0)).await.expect("the end");

    let mut want = unpacked(&image, temp.path().join("bundle"), root);
    assert_the_oddities_are_there(&want, root);
    if !root {
        for entry in want.iter_mut().chain(&mut found) {
            (entry.uid, entry.gid, entry.device) = (0, 0, (0, 0));
            entry.xattrs.clear();
            if entry.mode & 0o400 == 0 {
                entry.content = None;
            }
        }
        let device = |entry: &Entry| matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice);
        let devices: Vec<Vec<u8>> =
            found.iter().filter(|entry| device(entry)).map(|entry| entry.path.clone()).collect();
        want.retain(|entry| !devices.contains(&entry.path));
        found.retain(|entry| !devices.contains(&entry.path));
    }
    let lines = differences(&want, &found);
    let first: Vec<&String> = lines.iter().take(40).collect();
    assert!(lines.is_empty(), "{} differences: {first:#?}", lines.len());
    eprintln!("{} names are equal; not compared: {EXCLUDED:#?}", found.len());
}

/// The comparison is worth something: what was put into the image arrived in the tree to compare with.
fn assert_the_oddities_are_there(want: &[Entry], root: bool) {
    let find = |path: &[u8]| want.iter().find(|entry| entry.path == path);
    let get = |path: &str| find(path.as_bytes()).unwrap_or_else(|| panic!("umoci has no {path}"));
    assert!(want.len() > 4000, "{} names are no Debian", want.len());
    assert_eq!(get("odd/sparse").size, 3_145_728);
    assert_eq!(get("odd/setuid").mode, 0o6755);
    assert_eq!(get("odd/before-1970").mtime, (-86_400, 1));
    assert_eq!((get("odd/across").links, get("odd/of-debian").links), (2, 1));
    assert_eq!(get("odd/across").inode, get("odd/sticky/second-name").inode);
    assert!(find(b"odd/\xff\xfe not UTF-8").is_some());
    for gone in ["odd/gone", "odd/gone-directory", "odd/opaque/old", "odd/original", "etc/issue"] {
        assert!(find(gone.as_bytes()).is_none(), "{gone} is still there");
    }
    if root {
        assert_eq!(get("odd/block").device, (259, 300_000));
        assert!(get("odd/capable").xattrs.contains_key(b"security.capability".as_slice()));
        assert_eq!(get("odd/nobody-may").uid, 3_000_000_000);
    }
}
