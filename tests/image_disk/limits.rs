//! What an image may cost: bombs stop at their limit, sizes that are large but honest do not.

use std::ops::ControlFlow;
use std::process::Command;

use boxlite::BoxliteError;
use boxlite::disk::layers::{BuildLimits, LayerCompression, LayerSource, build_image_disk};
use boxlite_test_utils::erofs_reader;
use boxlite_test_utils::layers::{Item, TarBuilder, checksum, gzip, header};

use super::support::Bench;

/// A gzipped archive of one file of `size` zeros, a multiple of 64 MiB: one gzip member, again and again.
fn zeros(size: u64) -> Vec<u8> {
    let mut block = header(&Item::file("zeros", ""), 0);
    // Base 256: octal ends at 8 GiB.
    block[124..136].fill(0);
    block[124] = 0x80;
    block[128..136].copy_from_slice(&size.to_be_bytes());
    checksum(&mut block);
    let mut blob = gzip(&block);
    blob.extend(gzip(&vec![0; 64 << 20]).repeat((size >> 26) as usize));
    blob.extend(gzip(&[0; 1024]));
    blob
}

#[test]
fn a_bomb_of_zeros_stops_at_the_limit_and_below_it_costs_nothing() {
    // 4.5 GiB also have more than 32 bits of size.
    let size = (4 << 30) + (512 << 20);
    let blob = zeros(size);
    let mut bench = Bench::new();
    bench.blob(&blob, LayerCompression::Gzip, None);
    let built = bench.build();
    assert_eq!((built.get("zeros").size, built.get("zeros").stored), (size, 0));
    assert!(built.report.image_bytes < 1 << 20);

    bench.limits.max_layer_bytes = 1 << 30;
    let error = bench.fail();
    assert!(matches!(error, BoxliteError::ResourceExhausted(_)), "{error:?}");
    assert!(error.to_string().contains("more than 1073741824 bytes"), "{error}");
    assert_eq!(error.subject(), Some("layer-0"));
}

#[test]
fn a_sparse_map_cannot_make_much_of_little() {
    // 16,000 extents of 1 byte, one in each 64 MiB: little to read, a terabyte of blocks if nobody counted them.
    let extents: Vec<String> = (0..16_000_u64).map(|index| format!("{},1", index << 26)).collect();
    let mut item = Item::file("f", vec![1; 16_000]);
    let size = (16_000_u64 << 26).to_string();
    for (key, value) in [("major", "0"), ("minor", "1"), ("size", &size), ("map", &extents.join(","))] {
        item.records.push((format!("GNU.sparse.{key}").into_bytes(), value.into()));
    }
    let mut bench = Bench::new();
    bench.items(&[item]);
    let error = bench.fail();
    assert!(matches!(error, BoxliteError::ResourceExhausted(_)), "{error:?}");
}

#[test]
fn too_many_entries_are_an_error_and_not_a_full_memory() {
    let mut bench = Bench::new();
    bench.limits.max_entries = 1000;
    let items: Vec<Item> = (0..600).map(|index| Item::file(format!("f{index}"), "")).collect();
    bench.items(&items);
    assert_eq!(bench.build().report.entries, 600);
    bench.items(&items);
    let error = bench.fail();
    assert!(matches!(error, BoxliteError::ResourceExhausted(_)), "{error:?}");
    assert!(error.to_string().contains("more than 1000 entries"), "{error}");
}

#[test]
fn long_paths_and_large_attributes_cannot_fill_the_memory() {
    let deep = |index: usize| Item::dir(format!("{index}/{}", "d/".repeat(200)));
    // Long, and no two alike at the start.
    let long = |index: usize| Item::file(format!("{index:04}{}", "/name".repeat(800)), "");
    let attributed = |index: usize| {
        let mut item = Item::dir(index.to_string());
        item.xattrs.push((b"user.a".to_vec(), vec![b'v'; 50_000]));
        item
    };
    let make: [(&dyn Fn(usize) -> Item, &str); 3] =
        [(&deep, "more than 3000 names"), (&long, "bytes of memory"), (&attributed, "bytes of memory")];
    for (make, problem) in make {
        let mut bench = Bench::new();
        bench.limits.max_entries = 1000;
        let items: Vec<Item> = (0..1000).map(make).collect();
        bench.items(&items);
        let error = bench.fail();
        assert!(matches!(error, BoxliteError::ResourceExhausted(_)), "{error:?}");
        assert!(error.to_string().contains(problem), "{error}");
    }
}

#[test]
fn ten_million_entries_end_at_the_default_limit_in_bounded_memory() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("blob");
    // The same million of names ten times: while layers are read, duplicates cost as much as new names.
    let mut batch = Vec::with_capacity(512_000_000);
    let mut block = header(&Item::file("0000000", ""), 0);
    for index in 0..1_000_000 {
        block[..7].copy_from_slice(format!("{index:07}").as_bytes());
        checksum(&mut block);
        batch.extend_from_slice(&block);
    }
    let member = gzip(&batch);
    drop(batch);
    std::fs::write(&path, member.repeat(10)).expect("writing");
    let layer =
        LayerSource { path, compression: LayerCompression::Gzip, diff_id: None, label: "many".into() };
    let disk = dir.path().join("disk");
    let before = peak_rss_mb();
    let built =
        build_image_disk(&[layer], &disk, &BuildLimits::default(), &mut |_| ControlFlow::Continue(()));
    let error = built.expect_err("ten million entries are too many");
    assert!(error.to_string().contains("more than 4000000 entries"), "{error}");
    assert!(!disk.exists());
    let grown = peak_rss_mb() - before;
    assert!(grown < 600, "{grown} MB for four million entries");
}

#[test]
fn a_cancelled_build_leaves_nothing() {
    let mut bench = Bench::new();
    let items: Vec<Item> = (0..5000).map(|index| Item::file(format!("f{index}"), "")).collect();
    let archive = TarBuilder::archive(&items);
    bench.blob(&gzip(&archive), LayerCompression::Gzip, None);
    let layer = LayerSource {
        path: bench.disk().with_file_name("layer-0"),
        compression: LayerCompression::Gzip,
        diff_id: None,
        label: "layer-0".into(),
    };
    let mut calls = 0;
    let built = build_image_disk(&[layer], &bench.disk(), &BuildLimits::default(), &mut |progress| {
        calls += 1;
        assert!(progress.bytes_done <= progress.bytes_total);
        if progress.entries >= 2048 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(built, Err(BoxliteError::Cancelled(_))), "{built:?}");
    assert_eq!(calls, 2);
    assert_eq!(bench.leftovers(), Vec::<String>::new());
}

#[test]
fn an_image_larger_than_the_fixed_size_has_the_next_power_of_two() {
    // 9 GiB of data that is no hole, in stretches of one byte: only the file's blocks are real.
    let count = 9 * 1024_u64;
    let extents: Vec<String> = (0..count).map(|index| format!("{},1", index << 20)).collect();
    let mut item = Item::file("f", vec![1; count as usize]);
    let size = (count << 20).to_string();
    for (key, value) in [("major", "0"), ("minor", "1"), ("size", &size), ("map", &extents.join(","))] {
        item.records.push((format!("GNU.sparse.{key}").into_bytes(), value.into()));
    }
    let mut bench = Bench::new();
    bench.items(&[item]);
    let report = bench.try_build().expect("the disk is built");
    assert!(report.image_bytes > 8 << 30, "{report:?}");
    assert_eq!(report.disk_bytes, 16 << 30);
    assert_eq!(std::fs::metadata(bench.disk()).expect("metadata").len(), 16 << 30);
    assert!(erofs_reader::open(&bench.disk()).is_ok());
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing() {
    // A small file system takes a mount, and that takes root.
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not root: a full disk is not tried");
        return;
    }
    let mut bench = Bench::new();
    bench.items(&[Item::file("f", vec![1; 4 << 20])]);
    let layer = LayerSource {
        path: bench.disk().with_file_name("layer-0"),
        compression: LayerCompression::None,
        diff_id: None,
        label: "layer-0".into(),
    };
    let small = tempfile::tempdir().expect("a temporary directory");
    let mount = |program: &str, args: &[&str]| {
        let status = Command::new(program).args(args).arg(small.path()).status().expect("mounting");
        assert!(status.success(), "{program}: {status}");
    };
    mount("mount", &["-t", "tmpfs", "-o", "size=1m", "small"]);
    let disk = small.path().join("disk");
    let built =
        build_image_disk(&[layer], &disk, &BuildLimits::default(), &mut |_| ControlFlow::Continue(()));
    let left = disk.exists();
    mount("umount", &[]);
    assert!(matches!(&built, Err(BoxliteError::ResourceExhausted(_))), "{built:?}");
    assert_eq!(built.err().and_then(|error| error.os_errno()), Some(28));
    assert!(!left);
}

fn peak_rss_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("VmHWM");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).expect("a number") / 1024
}
