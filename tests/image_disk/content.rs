//! What a single layer says comes back: every type, every attribute, every way data is laid out.

use boxlite_test_utils::erofs_reader::Kind;
use boxlite_test_utils::layers::{Item, TarBuilder, gzip, zstd};

use super::support::{Bench, Random, build, sha256, xattrs};
use boxlite::disk::layers::{IMAGE_DISK_BYTES, LayerCompression};

#[test]
fn every_type_keeps_its_attributes() {
    let mut file = Item::file("bin/su", "#!");
    file.mode = 0o4755;
    file.uid = 4_000_000_000;
    file.gid = 3_000_000_000;
    file.mtime = (1_700_000_000, 123_456_789);
    let mut dir = Item::dir("tmp/");
    dir.mode = 0o1777;
    dir.mtime = (-1, 250_000_000);
    let mut link = Item::symlink("link", "bin/su");
    link.uid = 7;
    let null = Item::device("dev/null", b'3', (1, 3));
    let disk = Item::device("dev/disk", b'4', (259, 70_000));
    let fifo = Item::fifo("pipe");
    // What overlayfs takes for a whiteout is a device all the same.
    let zero = Item::device("dev/zeroth", b'3', (0, 0));
    let built = build(&[&[Item::dir("./"), Item::dir("bin"), file, dir, link, null, disk, fifo, zero]]);

    let su = built.get("bin/su");
    assert_eq!((su.kind, su.mode, su.size), (Kind::File, 0o4755, 2));
    assert_eq!((su.uid, su.gid), (4_000_000_000, 3_000_000_000));
    assert_eq!(su.mtime, (1_700_000_000, 123_456_789));
    assert_eq!(su.content, Some(sha256(b"#!")));
    let tmp = built.get("tmp");
    assert_eq!((tmp.kind, tmp.mode, tmp.mtime), (Kind::Directory, 0o1777, (-1, 250_000_000)));
    let link = built.get("link");
    assert_eq!((link.kind, link.uid, link.target.as_slice()), (Kind::Symlink, 7, &b"bin/su"[..]));
    assert_eq!((built.get("dev/null").kind, built.get("dev/null").device), (Kind::CharDevice, (1, 3)));
    assert_eq!(
        (built.get("dev/disk").kind, built.get("dev/disk").device),
        (Kind::BlockDevice, (259, 70_000))
    );
    assert_eq!((built.get("dev/zeroth").kind, built.get("dev/zeroth").device), (Kind::CharDevice, (0, 0)));
    assert_eq!(built.get("pipe").kind, Kind::Fifo);
    let implied = built.get("dev");
    assert_eq!((implied.mode, implied.uid, implied.mtime), (0o755, 0, (0, 0)));
    assert_eq!(built.get("").links, 2 + 3);
}

#[test]
fn extended_attributes_of_all_kept_namespaces_come_back() {
    let capability = b"\x01\0\0\x02\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let acl =
        b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x04\0\x04\0\xff\xff\xff\xff\x20\0\x04\0\xff\xff\xff\xff";
    let long = vec![b'v'; 50_000];
    let all: [(&str, &[u8]); 7] = [
        ("security.capability", capability),
        ("user.empty", b""),
        ("user.binary", b"a=b\n\0\xff"),
        ("trusted.note", b"t"),
        ("system.posix_acl_access", acl),
        ("system.posix_acl_default", acl),
        ("user.long", &long),
    ];
    let mut file = Item::file("f", vec![b'x'; 5000]);
    let mut dir = Item::dir("d");
    let mut root = Item::dir(".");
    for (name, value) in all {
        for item in [&mut file, &mut dir, &mut root] {
            item.xattrs.push((name.into(), value.to_vec()));
        }
    }
    file.xattrs.push((b"trusted.overlay.opaque".to_vec(), b"y".to_vec()));
    file.xattrs.push((b"system.nfs4_acl".to_vec(), b"n".to_vec()));
    let mut bench = Bench::new();
    bench.items(&[root, file, dir]);
    let built = bench.build();
    for path in ["", "f", "d"] {
        assert_eq!(built.get(path).xattrs, xattrs(&all), "of /{path}");
    }
    assert_eq!(built.get("f").content, Some(sha256(&[b'x'; 5000])));
    assert_eq!(built.report.xattrs_dropped, 2);
    bench.fsck();
}

#[test]
fn data_of_every_length_around_a_block_comes_back() {
    let mut random = Random::new(1);
    let mut sizes: Vec<usize> = vec![0, 1, 31, 32, 33, 4031, 4032, 4033, 4095, 4096, 4097, 8191, 8192];
    sizes.extend([65_535, 65_536, 65_537, 100_000, (1 << 20) - 1, 1 << 20, (3 << 20) + 5]);
    let contents: Vec<Vec<u8>> = sizes.iter().map(|size| random.bytes(*size)).collect();
    let items: Vec<Item> = contents
        .iter()
        .enumerate()
        .flat_map(|(index, content)| {
            let plain = Item::file(format!("plain{index}"), content);
            let mut marked = Item::file(format!("xattr{index}"), content);
            marked.xattrs.push((b"user.a".to_vec(), vec![b'v'; index * 37]));
            [plain, marked]
        })
        .collect();
    let mut bench = Bench::new();
    bench.items(&items);
    let built = bench.build();
    for (index, content) in contents.iter().enumerate() {
        for name in ["plain", "xattr"] {
            let entry = built.get(&format!("{name}{index}"));
            assert_eq!((entry.size, entry.content), (content.len() as u64, Some(sha256(content))));
        }
    }
    bench.fsck();
}

#[test]
fn stretches_of_zeros_take_no_blocks() {
    let mut content = vec![0; 1 << 20];
    content[300_000] = 1;
    content[800_000..800_010].fill(2);
    let mut ends_in_data = vec![0; 200_000];
    ends_in_data[199_999] = 3;
    let mut starts_with_data = vec![0; 200_001];
    starts_with_data[0] = 3;
    let empty = vec![0; 10 << 20];
    let all = [&content, &ends_in_data, &starts_with_data, &empty];
    let items: Vec<Item> =
        all.iter().enumerate().map(|(index, content)| Item::file(index.to_string(), content)).collect();
    let mut bench = Bench::new();
    bench.items(&items);
    let built = bench.build();
    for (index, content) in all.iter().enumerate() {
        let entry = built.get(&index.to_string());
        assert_eq!((entry.size, entry.content), (content.len() as u64, Some(sha256(content))));
    }
    assert_eq!(built.get("0").stored, 2 * 65_536);
    assert_eq!(built.get("3").stored, 0);
    assert!(built.report.image_bytes < 1 << 20, "{} bytes", built.report.image_bytes);
    bench.fsck();
}

#[test]
fn long_symlinks_and_names_come_back() {
    let targets: Vec<Vec<u8>> = [1, 60, 100, 255, 4031, 4032, 4033, 4095].map(|size| vec![b't'; size]).into();
    let name = "n".repeat(255);
    let mut items: Vec<Item> = targets
        .iter()
        .enumerate()
        .map(|(index, target)| Item::symlink(format!("link{index}"), target))
        .collect();
    items.push(Item::file(&name, "long"));
    items.push(Item::file(b"bytes \xff\n\t", "any"));
    let deep = format!("{}leaf", "d/".repeat(2000));
    items.push(Item::file(&deep, "deep"));
    let mut bench = Bench::new();
    bench.items(&items);
    let built = bench.build();
    for (index, target) in targets.iter().enumerate() {
        let entry = built.get(&format!("link{index}"));
        assert_eq!((entry.size, &entry.target), (target.len() as u64, target));
    }
    assert_eq!(built.text(&name), "long");
    assert_eq!(built.text(&deep), "deep");
    assert_eq!(built.image.read(b"bytes \xff\n\t").expect("reading"), b"any");
}

#[test]
fn a_directory_of_100_000_entries_is_sorted_and_complete() {
    let mut random = Random::new(2);
    let mut items = vec![Item::dir("big")];
    let long = "x".repeat(60);
    items.extend((0..100_000).map(|index| {
        // Names before and after `.` and `..` in the order of bytes, and of many lengths.
        let start = ["!", "-", ".a", "..b", "A", "\u{ff}"][index % 6];
        Item::file(format!("big/{start}{}{index}", &long[..random.below(60)]), "")
    }));
    let mut bench = Bench::new();
    bench.items(&items);
    let built = bench.build();
    let mut want: Vec<Vec<u8>> = items[1..].iter().map(|item| item.path.clone()).collect();
    want.sort();
    let found: Vec<Vec<u8>> = built
        .entries
        .iter()
        .filter(|entry| entry.path.starts_with(b"big/"))
        .map(|e| e.path.clone())
        .collect();
    assert_eq!(found, want);
    bench.fsck();
}

#[test]
fn all_compressions_give_the_same_disk_every_time() {
    let mut random = Random::new(3);
    let items: Vec<Item> =
        (0..200).map(|index| Item::file(format!("f{index}"), random.bytes(index * 100))).collect();
    let archive = TarBuilder::archive(&items);
    let (first, second) = archive.split_at(70_000);
    let blobs = [
        (archive.clone(), LayerCompression::None),
        (gzip(&archive), LayerCompression::Gzip),
        ([gzip(first), gzip(b""), gzip(second)].concat(), LayerCompression::Gzip),
        (zstd(&archive), LayerCompression::Zstd),
        ([zstd(first), zstd(second)].concat(), LayerCompression::Zstd),
    ];
    let mut digests = Vec::new();
    for (blob, compression) in blobs {
        let mut bench = Bench::new();
        bench.blob(&blob, compression, Some(sha256(&archive)));
        let built = bench.build();
        let disk = std::fs::File::open(bench.disk()).expect("opening");
        assert_eq!(disk.metadata().expect("metadata").len(), IMAGE_DISK_BYTES);
        let mut bytes = vec![0; built.report.image_bytes as usize];
        std::os::unix::fs::FileExt::read_exact_at(&disk, &mut bytes, 0).expect("reading");
        assert_eq!(built.report.image_bytes, built.image.blocks() * 4096);
        digests.push((sha256(&bytes), built.image.uuid()));
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
    let other = build(&[&[Item::file("other", "")]]);
    assert_ne!(other.image.uuid(), digests[0].1);
}

#[test]
fn an_image_without_layers_is_an_empty_root() {
    let bench = Bench::new();
    let built = bench.build();
    assert_eq!(built.entries.len(), 1);
    assert_eq!((built.get("").mode, built.get("").links), (0o755, 2));
    bench.fsck();
}
