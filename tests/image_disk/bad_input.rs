//! Layers that are wrong: each a named error that says which layer and entry, nothing left behind, never a panic.

use boxlite::BoxliteError;
use boxlite::disk::layers::LayerCompression;
use boxlite_test_utils::layers::{Item, TarBuilder, checksum, gzip, header, zstd};

use super::support::{Bench, Random, sha256};

/// Builds a good layer with a bad one on top, and expects an image error about the bad one.
fn refused(archive: &[u8]) -> String {
    let mut bench = Bench::new();
    bench.items(&[Item::dir("dir"), Item::file("file", "x"), Item::symlink("loop", "loop")]);
    bench.layer(archive);
    image_error(&bench, "layer-1")
}

fn image_error(bench: &Bench, subject: &str) -> String {
    let error = bench.fail();
    assert!(matches!(error, BoxliteError::Image(_)), "{error:?}");
    assert_eq!(error.subject(), Some(subject), "{error}");
    error.to_string()
}

#[track_caller]
fn refused_entry(item: Item, name: &str, problem: &str) {
    let text = refused(&TarBuilder::archive([&Item::file("fine", ""), &item]));
    assert!(text.contains(&format!("`{name}`")), "no {name:?} in: {text}");
    assert!(text.contains(problem), "no {problem:?} in: {text}");
}

#[test]
fn entries_that_cannot_be_are_refused_by_name() {
    let long_name = "n".repeat(256);
    let long_path = format!("{}x", "d/".repeat(2048));
    refused_entry(Item::file("../x", ""), "../x", "leads out of the root");
    refused_entry(Item::file("a/../../x", ""), "a/../../x", "leads out of the root");
    refused_entry(Item::file("/abs", ""), "/abs", "path is absolute");
    refused_entry(Item::dir("/abs/"), "/abs/", "path is absolute");
    refused_entry(Item::whiteout("/abs"), "/.wh.abs", "path is absolute");
    refused_entry(
        Item::hard_link("l", "../../etc/passwd"),
        "l",
        "hard link target `../../etc/passwd` leads out of the root",
    );
    refused_entry(Item::hard_link("l", "/file"), "l", "hard link target `/file` is absolute");
    refused_entry(Item::hard_link("l", "missing"), "l", "`missing` does not exist");
    refused_entry(Item::hard_link("l", "dir"), "l", "`dir` is a directory");
    refused_entry(Item::hard_link("l", "/"), "l", "`/` is a directory");
    refused_entry(Item::hard_link("file", "file"), "file", "`file` does not exist");
    refused_entry(Item::hard_link("fine", "file"), "fine", "appears twice");
    refused_entry(Item::symlink("s", ""), "s", "symlink target");
    refused_entry(Item::symlink("s", vec![b't'; 4096]), "s", "symlink target");
    refused_entry(Item::file("file/below", ""), "file/below", "not a directory");
    refused_entry(Item::file("loop/x", ""), "loop/x", "too many symbolic links");
    refused_entry(Item::file(&long_name, ""), &long_name, "longer than 255");
    refused_entry(Item::file(&long_path, ""), &long_path, "longer than 4096");
    refused_entry(Item::file(".", ""), "/", "root can only be a directory");
    refused_entry(Item::symlink("/", "x"), "/", "root can only be a directory");
    refused_entry(Item::file(".wh.", ""), ".wh.", "whiteout without a name");
    refused_entry(Item::file("dir/.wh...", ""), "dir/.wh...", "whiteout without a name");
    let mut item = Item::file("nul", "");
    item.records.push((b"path".to_vec(), b"nul\0byte".to_vec()));
    refused_entry(item, "nul\\x00byte", "NUL");
    let mut item = Item::file("much", "");
    item.xattrs.push((b"user.a".to_vec(), vec![0; 70_000]));
    refused_entry(item, "much", "extended attributes");
    let mut item = Item::device("dev", b'3', (1, 3));
    item.device = (5000, 1);
    refused_entry(item, "dev", "device number");
}

#[test]
fn symlinks_cannot_make_a_tree_deeper_than_paths_can() {
    let deep = "d/".repeat(2000);
    let items = [Item::dir(&deep), Item::symlink("s", &deep), Item::file(format!("s/{deep}x"), "")];
    let text = refused(&TarBuilder::archive(&items));
    assert!(text.contains("more than 2048 directories deep"), "{text}");
}

#[test]
fn headers_that_are_wrong_are_refused_with_their_place() {
    let mut block = header(&Item::file("f", ""), 0);
    block[0] = b'g';
    let text = refused(&TarBuilder::new().add(&Item::file("a", "")).raw(&block).finish());
    assert!(text.contains("at byte 512: the checksum"), "{text}");

    for (range, value, problem) in [
        (124..136, &b"99999999999\0"[..], "`size`"),
        (124..136, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "`size`"),
        (108..116, b"\xff\xff\xff\xff\xff\xff\xff\xff", "`uid`"),
        (116..124, b"\x80\0\0\x01\0\0\0\0", "`gid`"),
        (136..148, b"nonsense!!!!", "`mtime`"),
        (156..157, b"V", "type `V`"),
        (156..157, b"M", "type `M`"),
        (156..157, b"\xff", "type `\\xff`"),
    ] {
        let mut block = header(&Item::file("f", ""), 0);
        block[range].copy_from_slice(value);
        checksum(&mut block);
        let text = refused(&TarBuilder::new().raw(&block).finish());
        assert!(text.contains(problem), "no {problem:?} in: {text}");
    }
}

#[test]
fn extended_headers_that_are_wrong_are_refused() {
    let file = Item::file("f", "");
    for body in [&b"5 x\n"[..], b"999 path=x\n", b"14 mtime=abcd\n", b"12 uid=12345", b"no length\n"] {
        let text = refused(&TarBuilder::new().extension(b'x', body).add(&file).finish());
        assert!(text.contains("record"), "{}: {text}", body.escape_ascii());
    }
    let text = refused(&TarBuilder::new().extension(b'x', &vec![b'1'; (1 << 20) + 1]).add(&file).finish());
    assert!(text.contains("larger than 1 MiB"), "{text}");
    let text = refused(&TarBuilder::new().extension(b'L', b"name").finish());
    assert!(text.contains("has no entry"), "{text}");
    for map in ["0,10,5,10", "0,1", "10,18446744073709551615", "0,5,1"] {
        let mut item = Item::file("f", "0123456789");
        for (key, value) in [("major", "0"), ("minor", "1"), ("size", "10"), ("map", map)] {
            item.records.push((format!("GNU.sparse.{key}").into_bytes(), value.into()));
        }
        let text = refused(&TarBuilder::archive([&item]));
        assert!(text.contains("map is malformed"), "{map}: {text}");
    }
}

/// An archive that needs no diff id to be found incomplete.
fn sample() -> Vec<u8> {
    let mut random = Random::new(9);
    let items: Vec<Item> = (0..60)
        .map(|index| Item::file(format!("d{}/f{index}", index % 7), random.bytes(index * 90)))
        .collect();
    TarBuilder::archive(&items)
}

#[test]
fn truncated_layers_are_refused_in_every_compression() {
    let archive = sample();
    for (blob, compression) in [
        (archive.clone(), LayerCompression::None),
        (gzip(&archive), LayerCompression::Gzip),
        (zstd(&archive), LayerCompression::Zstd),
    ] {
        for keep in
            [10, 100, 511, 512, 513, blob.len() / 2, blob.len() - 1025, blob.len() - 9, blob.len() - 1]
        {
            let mut bench = Bench::new();
            bench.blob(&blob[..keep], compression, None);
            let text = image_error(&bench, "layer-0");
            assert!(
                text.contains("ends too early") || text.contains("damaged"),
                "{compression} {keep}: {text}"
            );
        }
    }
}

#[test]
fn what_follows_the_layers_end_is_refused_unless_it_is_padding() {
    let archive = sample();
    let garbage = [&gzip(&archive)[..], b"garbage"].concat();
    let mut bench = Bench::new();
    bench.blob(&garbage, LayerCompression::Gzip, None);
    assert!(image_error(&bench, "layer-0").contains("no gzip member"));

    let garbage = [&zstd(&archive)[..], b"garbage"].concat();
    let mut bench = Bench::new();
    bench.blob(&garbage, LayerCompression::Zstd, None);
    assert!(image_error(&bench, "layer-0").contains("zstd data is damaged"));

    let mut bench = Bench::new();
    bench.blob(&[&archive[..], b"garbage"].concat(), LayerCompression::None, None);
    assert!(image_error(&bench, "layer-0").contains("followed by more data"));

    let mut bench = Bench::new();
    bench.blob(&[&archive[..], &[0; 9000]].concat(), LayerCompression::None, None);
    assert_eq!(bench.build().report.files_written, 60);
}

#[test]
fn damage_inside_compressed_data_is_found() {
    let archive = sample();
    let mut blob = gzip(&archive);
    let end = blob.len() - 6;
    blob[end] ^= 1;
    let mut bench = Bench::new();
    bench.blob(&blob, LayerCompression::Gzip, None);
    assert!(image_error(&bench, "layer-0").contains("gzip data is damaged"));
}

#[test]
fn a_wrong_diff_id_is_refused_with_both_digests() {
    let archive = sample();
    let mut bench = Bench::new();
    bench.blob(&gzip(&archive), LayerCompression::Gzip, Some([0xab; 32]));
    let text = image_error(&bench, "layer-0");
    let found: String = sha256(&archive).iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(text.contains(&"ab".repeat(32)) && text.contains(&found), "{text}");
}

#[test]
fn a_media_type_that_lies_is_refused() {
    let archive = sample();
    for (blob, declared, said) in [
        (gzip(&archive), LayerCompression::Zstd, "declared as zstd but its data is gzip"),
        (zstd(&archive), LayerCompression::None, "declared as uncompressed tar but its data is zstd"),
        (archive.clone(), LayerCompression::Gzip, "declared as gzip but its data is uncompressed tar"),
    ] {
        let mut bench = Bench::new();
        bench.blob(&blob, declared, None);
        let text = image_error(&bench, "layer-0");
        assert!(text.contains(said), "{text}");
    }
}

#[test]
fn a_missing_blob_is_a_storage_error() {
    let mut bench = Bench::new();
    bench.items(&[]);
    std::fs::remove_file(bench.disk().with_file_name("layer-0")).expect("removing");
    let error = bench.fail();
    assert!(matches!(error, BoxliteError::Storage(_)), "{error:?}");
    assert_eq!(error.os_errno(), Some(2));
}

#[test]
fn random_damage_never_panics_and_leaves_a_good_disk_or_none() {
    let mut items = vec![
        Item::dir("./"),
        Item::symlink("link", "d0"),
        Item::file("link/through", "x"),
        Item::hard_link("hard", "link/through"),
        Item::device("null", b'3', (1, 3)),
        Item::whiteout("d0/f"),
        Item::opaque("d1"),
        Item::file("p".repeat(150), "long"),
    ];
    items[2].xattrs.push((b"user.a".to_vec(), b"v".to_vec()));
    items[2].mtime = (5, 5);
    let mut builder = TarBuilder::new();
    for item in &items {
        builder.add(item);
    }
    builder.extension(b'L', &[b'l'; 120]).add(&Item::file("short", "data"));
    let good = builder.finish();
    let mut random = Random::new(7);
    let mut built = 0;
    for round in 0..1500 {
        let mut archive = good.clone();
        for _ in 0..=random.below(3) {
            // Mostly in headers: damaged content is found by nothing but the diff id.
            let block = random.below(archive.len() / 512) * 512;
            let at = block + random.below(if round % 2 == 0 { 512 } else { 160 });
            archive[at] = (random.next() >> 40) as u8;
            if round % 3 != 0
                && let Ok(header) = <&mut [u8; 512]>::try_from(&mut archive[block..block + 512])
            {
                checksum(header);
            }
        }
        if random.one_in(4) {
            archive.truncate(random.below(archive.len()));
        }
        let mut bench = Bench::new();
        bench.blob(&archive, LayerCompression::of(&archive), None);
        match bench.try_build() {
            Ok(_) => {
                bench.build();
                built += 1;
            }
            Err(_) => assert_eq!(bench.leftovers(), Vec::<String>::new()),
        }
    }
    assert!(built > 50, "only {built} damaged archives were still archives");
}

/// What the media type of a damaged archive would have to say.
trait OfStart {
    fn of(archive: &[u8]) -> Self;
}

impl OfStart for LayerCompression {
    fn of(archive: &[u8]) -> Self {
        match archive {
            [0x1f, 0x8b, ..] => Self::Gzip,
            _ => Self::None,
        }
    }
}
