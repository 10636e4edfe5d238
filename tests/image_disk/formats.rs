//! The forms tar archives have: GNU, PAX, ustar and V7, by hand and by the tar program.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::process::Command;

use boxlite_test_utils::erofs_reader::{Entry, Kind};
use boxlite_test_utils::layers::{Item, TarBuilder, checksum, header};

use super::support::{Bench, Built, sha256};

fn built(archive: &[u8]) -> Built {
    let mut bench = Bench::new();
    bench.layer(archive);
    bench.build()
}

#[test]
fn gnu_long_names_and_links_are_read() {
    let name = format!("{}file", "directory/".repeat(30));
    let target = "t".repeat(300);
    let mut builder = TarBuilder::new();
    builder.extension(b'L', &[name.as_bytes(), b"\0"].concat()).add(&Item::file("cut", "long"));
    builder.extension(b'K', &[target.as_bytes(), b"\0"].concat()).add(&Item::symlink("link", "cut"));
    builder.extension(b'K', &[name.as_bytes(), b"\0"].concat()).add(&Item::hard_link("hard", "cut"));
    let built = built(&builder.finish());
    assert_eq!(built.text(&name), "long");
    assert_eq!(built.get("link").target, target.as_bytes());
    assert_eq!(built.get("hard").inode, built.get(&name).inode);
}

#[test]
fn posix_prefixes_and_old_directories_are_read() {
    let mut prefixed = header(&Item::file("leaf", ""), 0);
    prefixed[345..352].copy_from_slice(b"some/di");
    checksum(&mut prefixed);
    let mut star = header(&Item::file("star", ""), 0);
    star[345..349].copy_from_slice(b"pref");
    star[476..487].copy_from_slice(b"00000000001");
    star[508..512].copy_from_slice(b"tar\0");
    checksum(&mut star);
    let mut old = header(&Item::file("old/", ""), 0);
    old[156] = 0;
    old[257..265].fill(0);
    checksum(&mut old);
    let mut signed = header(&Item::file("\u{e9}t\u{e9}", ""), 0);
    let sum: i32 = signed
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { i32::from(*byte as i8) })
        .sum();
    signed[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
    let mut builder = TarBuilder::new();
    builder.raw(&prefixed).raw(&star).raw(&old).raw(&signed);
    let built = built(&builder.finish());
    assert_eq!(
        built.paths(),
        ["old", "pref", "pref/star", "some", "some/di", "some/di/leaf", "\u{e9}t\u{e9}"]
    );
    assert_eq!(built.get("old").kind, Kind::Directory);
}

#[test]
fn numbers_in_base_256_are_read() {
    let mut block = header(&Item::file("f", ""), 0);
    block[108..116].copy_from_slice(b"\x80\0\0\0\xff\xff\xff\xfe");
    block[136..148].copy_from_slice(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x9c");
    checksum(&mut block);
    let built = built(&TarBuilder::new().raw(&block).finish());
    assert_eq!((built.get("f").uid, built.get("f").mtime), (u32::MAX - 1, (-100, 0)));
}

#[test]
fn global_records_hold_until_they_are_taken_back() {
    let record = |key: &str, value: &str| (key.as_bytes().to_vec(), value.as_bytes().to_vec());
    let mut own = Item::file("own", "");
    own.records = vec![record("uid", "7")];
    let mut builder = TarBuilder::new();
    builder.pax(b'g', &[record("uid", "5"), record("mtime", "9.5"), record("comment", "ignored")]);
    builder.add(&Item::file("a", "")).add(&own);
    builder.pax(b'g', &[record("uid", "")]).add(&Item::file("b", ""));
    let built = built(&builder.finish());
    let found = ["a", "own", "b"].map(|path| (built.get(path).uid, built.get(path).mtime));
    assert_eq!(found, [(5, (9, 500_000_000)), (7, (9, 500_000_000)), (0, (9, 500_000_000))]);
}

#[test]
fn a_pax_size_counts_and_that_of_a_link_does_not() {
    let mut sized = Item::file("sized", "");
    sized.records.push((b"size".to_vec(), b"5".to_vec()));
    let mut builder = TarBuilder::new();
    builder.add(&sized).data(b"12345").add(&Item::file("target", "x"));
    // Some writers repeat the target's size in a link that has no data.
    builder.raw(&header(&Item::hard_link("link", "target"), 1000)).add(&Item::file("after", "y"));
    let built = built(&builder.finish());
    assert_eq!([built.text("sized"), built.text("link"), built.text("after")], ["12345", "x", "y"]);
}

/// A tree on the host with what archives find hard, made without privileges.
fn tree(root: &Path) {
    let deep = root.join("a-directory-with-a-long-name/".repeat(8));
    fs::create_dir_all(&deep).expect("creating");
    fs::write(deep.join("f".repeat(120)), "deep").expect("writing");
    fs::write(root.join("plain"), "plain").expect("writing");
    fs::hard_link(root.join("plain"), root.join("hard")).expect("linking");
    symlink("t".repeat(150), root.join("long-link")).expect("linking");
    fs::write(root.join("\u{e9}\u{4e2d}"), "name").expect("writing");
    let sparse = fs::File::create(root.join("sparse")).expect("creating");
    sparse.set_len(30 << 20).expect("extending");
    // More extents than the old GNU header (4) and the block behind it (21) hold.
    for index in 0..40 {
        sparse.write_all_at(&[index + 1; 5000], u64::from(index) * 700_000).expect("writing");
    }
    let hole = fs::File::create(root.join("hole")).expect("creating");
    hole.set_len(1 << 30).expect("extending");
}

fn find<'a>(built: &'a Built, path: &Path, root: &Path) -> &'a Entry {
    built.get(path.strip_prefix(root).expect("below the root").to_str().expect("UTF-8"))
}

fn compare(built: &Built, root: &Path, whole_times: bool) {
    let mut pending = vec![root.to_owned()];
    let mut count = 0;
    while let Some(path) = pending.pop() {
        let stat = path.symlink_metadata().expect("examining");
        let entry = find(built, &path, root);
        count += 1;
        assert_eq!((entry.mode, entry.uid), (stat.mode() & 0o7777, stat.uid()), "{}", path.display());
        assert_eq!(entry.mtime.0, stat.mtime(), "{}", path.display());
        if !whole_times {
            assert_eq!(i64::from(entry.mtime.1), stat.mtime_nsec(), "{}", path.display());
        }
        if stat.is_dir() {
            pending
                .extend(fs::read_dir(&path).expect("listing").map(|entry| entry.expect("an entry").path()));
        } else {
            assert_eq!(
                (entry.size, u64::from(entry.links)),
                (stat.len(), stat.nlink()),
                "{}",
                path.display()
            );
        }
        if stat.is_symlink() {
            let target = fs::read_link(&path).expect("reading");
            assert_eq!(entry.target, target.to_str().expect("UTF-8").as_bytes());
        } else if stat.is_file() && stat.len() < 1 << 29 {
            let content = fs::read(&path).expect("reading");
            assert_eq!(entry.content, Some(sha256(&content)), "{}", path.display());
        }
    }
    assert_eq!(count, built.entries.len());
}

#[test]
fn what_tar_writes_in_each_of_its_formats_is_read() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let root = dir.path().join("tree");
    fs::create_dir(&root).expect("creating");
    tree(&root);
    for format in [
        &["--format=gnu", "--sparse"][..],
        &["--format=oldgnu", "--sparse"],
        &["--format=posix", "--sparse", "--sparse-version=0.0"],
        &["--format=posix", "--sparse", "--sparse-version=0.1"],
        &["--format=posix", "--sparse", "--sparse-version=1.0"],
        &["--format=posix"],
        &["--format=gnu"],
    ] {
        let archive = dir.path().join("archive.tar");
        let sparse = format.contains(&"--sparse");
        if !sparse {
            // A gigabyte of zeros is for those who know holes.
            let _ = fs::remove_file(root.join("hole"));
        }
        let mut tar = Command::new("tar");
        tar.args(format).arg("-cf").arg(&archive).arg("-C").arg(&root).arg(".");
        assert!(tar.status().expect("tar runs").success());
        let mut bench = Bench::new();
        bench.layer(&fs::read(&archive).expect("reading"));
        let built = bench.build();
        compare(&built, &root, format[0] != "--format=posix");
        if sparse {
            let hole = built.get("hole");
            assert_eq!((hole.size, hole.stored), (1 << 30, 0), "{format:?}");
        }
        let sparse = built.get("sparse");
        assert!(sparse.stored < 40 * 2 * 65_536, "{format:?}: {} bytes stored", sparse.stored);
        bench.fsck();
    }
}
