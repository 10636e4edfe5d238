//! Tests of the kernel maker, on small libraries compiled here and, where set-up fetched it, on the real one.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::elf::{KernelImage, pvh_entry, wrap_header};
use super::{KernelError, make_kernel};

/// A directory of this test's own, removed at drop.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("boxlite-kernel-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// A shared library from C source.
    fn library(&self, name: &str, source: &str) -> PathBuf {
        let (input, output) = (self.path("source.c"), self.path(name));
        std::fs::write(&input, source).unwrap();
        let status =
            Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&output, &input]).status().unwrap();
        assert!(status.success());
        std::fs::remove_file(&input).unwrap();
        output
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A library that hands out a 64 KiB "kernel" at 16 MiB with a PVH note, a banner and a salt.
fn toy_source(salt: u8) -> String {
    format!(
        r#"
        #include <stddef.h>
        #include <stdint.h>
        static struct {{ uint32_t pad[4], note[6]; char banner[32]; unsigned char salt[65536]; }} kernel
            __attribute__((aligned(4096))) = {{
            {{0}}, {{4, 8, 18, 0x006e6558, 0x1000040, 0}}, "Linux version 6.12.1-toy (x)", {{{salt}}} }};
        char *krunfw_get_kernel(uint64_t *load, uint64_t *entry, size_t *size) {{
            *load = 0x1000000; *entry = 0x1000000; *size = 65536;
            return (char *)&kernel;
        }}"#
    )
}

#[test]
fn kernel_is_made_cached_and_remade_for_another_library() {
    let scratch = Scratch::new("cache");
    let lib = scratch.library("lib.so", &toy_source(1));
    let out = scratch.path("kernel.elf");
    let first = make_kernel(&lib, &out).unwrap();
    assert_eq!(first.linux, "6.12.1-toy");
    assert_eq!(first.pvh_entry, 0x100_0040);
    let file = std::fs::read(&out).unwrap();
    assert_eq!(file.len() as u64, first.file_bytes);
    assert_eq!(file.len(), 4096 + 65536);

    // A second call leaves the file alone: a mark made in it survives.
    let mut marked = file.clone();
    marked[100] ^= 0xff;
    std::fs::write(&out, &marked).unwrap();
    assert_eq!(make_kernel(&lib, &out).unwrap(), first);
    assert_eq!(std::fs::read(&out).unwrap(), marked);

    // A cut file and another library both lead to a new one.
    std::fs::write(&out, &file[..5000]).unwrap();
    make_kernel(&lib, &out).unwrap();
    assert_eq!(std::fs::read(&out).unwrap(), file);
    let other = scratch.library("other.so", &toy_source(2));
    let second = make_kernel(&other, &out).unwrap();
    assert_ne!(second.libkrunfw_sha256, first.libkrunfw_sha256);
    assert_ne!(std::fs::read(&out).unwrap(), file);
    assert_eq!(scratch.names(), ["kernel.elf", "kernel.json", "lib.so", "other.so"]);
}

#[test]
fn unfit_libraries_are_refused_by_name_and_leave_nothing() {
    let scratch = Scratch::new("unfit");
    let out = scratch.path("kernel.elf");
    let good = std::fs::read(scratch.library("good.so", &toy_source(1))).unwrap();
    let refused = |bytes: &[u8]| {
        let path = scratch.path("bad.so");
        std::fs::write(&path, bytes).unwrap();
        let error = make_kernel(&path, &out).unwrap_err();
        assert!(error.to_string().contains("bad.so"), "{error}");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(scratch.names(), ["good.so"]);
        error
    };
    let missing = make_kernel(Path::new("/nowhere/libkrunfw.so.5"), &out).unwrap_err();
    assert!(matches!(missing, KernelError::Missing { .. }), "{missing}");
    assert!(missing.to_string().contains("make setup"), "{missing}");
    assert!(matches!(refused(b""), KernelError::NotElf { .. }));
    assert!(matches!(refused(b"#!/bin/sh\n"), KernelError::NotElf { .. }));
    for cut in [10, 40, 70, 200, good.len() / 2, good.len() - 1] {
        let error = refused(&good[..cut]);
        assert!(matches!(error, KernelError::Truncated { .. }), "cut at {cut}: {error}");
    }
    let mut foreign = good.clone();
    foreign[18] = 183; // AArch64
    assert!(matches!(refused(&foreign), KernelError::WrongMachine { machine: 183, .. }));
}

#[test]
fn libraries_with_a_wrong_kernel_are_refused() {
    let scratch = Scratch::new("wrong");
    let out = scratch.path("kernel.elf");
    let attempt = |source: &str| make_kernel(&scratch.library("lib.so", source), &out).unwrap_err();
    let toy = toy_source(1);
    assert!(matches!(attempt("int other;"), KernelError::NotKrunFw { .. }));
    assert!(matches!(attempt(&toy.replace("18,", "17,")), KernelError::NoPvhEntry { .. }));
    let entry_outside = toy.replace("0x1000040", "0x2000000");
    assert!(matches!(attempt(&entry_outside), KernelError::NoPvhEntry { .. }));
    let oversized = toy.replace("*size = 65536", "*size = 1UL << 40");
    assert!(matches!(attempt(&oversized), KernelError::BadRange { .. }));
    let null = toy.replace("return (char *)&kernel", "return NULL");
    assert!(matches!(attempt(&null), KernelError::BadRange { .. }));
    assert_eq!(scratch.names(), ["lib.so"]);
}

#[test]
fn unwritable_output_is_named() {
    let scratch = Scratch::new("unwritable");
    let lib = scratch.library("lib.so", &toy_source(1));
    let error = make_kernel(&lib, &scratch.path("no/such/kernel.elf")).unwrap_err();
    assert!(matches!(error, KernelError::Write { .. }), "{error}");
    assert!(error.to_string().contains("no/such/kernel.elf"), "{error}");
}

#[test]
fn pvh_note_is_found_only_whole_and_aligned() {
    let note: Vec<u8> =
        [4, 4, 18, 0x006e_6558, 0x1000].iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
    let at = |offset: usize| [vec![0; offset], note.clone(), vec![0; 4096]].concat();
    assert_eq!(pvh_entry(&at(0), 0x1000), Some(0x1000));
    assert_eq!(pvh_entry(&at(400), 0x1000), Some(0x1000));
    assert_eq!(pvh_entry(&at(2), 0x1000), None);
    assert_eq!(pvh_entry(&note[..16], 0x1000), None);
    assert_eq!(pvh_entry(&at(0), 0x1001), None);
    assert_eq!(pvh_entry(&at(0), u64::MAX), None);
}

#[test]
fn readelf_accepts_the_header() {
    let scratch = Scratch::new("readelf");
    let image = [7_u8; 8192];
    let kernel = KernelImage { image: &image, load_address: 0x100_0000, entry: 0x100_0100 };
    let path = scratch.path("kernel.elf");
    std::fs::write(&path, [&wrap_header(&kernel, 0x100_0200)[..], &image].concat()).unwrap();
    let output = Command::new("readelf").args(["-W", "-h", "-l", "-n"]).arg(&path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("0x1000100"), "{text}");
    assert!(text.contains("LOAD           0x001000 0x0000000001000000"), "{text}");
    assert!(text.contains("Xen"), "{text}");
}

#[test]
fn a_library_goes_by_its_own_name_and_no_other() {
    use super::library::KrunFw;
    let scratch = Scratch::new("soname");
    let library = |name: &str, flag: &str| {
        let path = scratch.library(name, &toy_source(3));
        let source = scratch.path("named.c");
        std::fs::write(&source, toy_source(3)).unwrap();
        let status =
            Command::new("cc").args(["-shared", "-fPIC", flag, "-o"]).args([&path, &source]).status();
        assert!(status.unwrap().success());
        KrunFw::open(&path).unwrap()
    };
    let known = library("a.so", "-Wl,-soname,libkrunfw-toy.so.5");
    assert!(known.is_known_as(c"libkrunfw-toy.so.5"));
    assert!(!known.is_known_as(c"libkrunfw-other.so.5"));
    let other = library("b.so", "-Wl,-soname,libkrunfw-toy.so.4");
    assert!(!other.is_known_as(c"libkrunfw-toy.so.5"), "another library has the name");
}
