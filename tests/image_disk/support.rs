//! Builds disks from archives in memory and reads them back.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;

use boxlite::BoxliteError;
use boxlite::disk::layers::{BuildLimits, BuildReport, LayerCompression, LayerSource, build_image_disk};
use boxlite_test_utils::erofs_reader::{self, Entry, Image};
use boxlite_test_utils::layers::{Item, TarBuilder};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// A directory with blobs and the disk made of them.
pub(super) struct Bench {
    dir: TempDir,
    layers: Vec<LayerSource>,
    pub(super) limits: BuildLimits,
}

/// A disk that was built and read back.
pub(super) struct Built {
    pub(super) report: BuildReport,
    pub(super) image: Image,
    pub(super) entries: Vec<Entry>,
}

impl Bench {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Self { dir, layers: Vec::new(), limits: BuildLimits::default() }
    }

    /// Adds a layer on top, its archive uncompressed and its diff id known.
    pub(super) fn layer(&mut self, archive: &[u8]) -> &mut Self {
        let diff_id = Sha256::digest(archive).into();
        self.blob(archive, LayerCompression::None, Some(diff_id))
    }

    /// Adds a layer on top that is made of entries.
    pub(super) fn items(&mut self, items: &[Item]) -> &mut Self {
        self.layer(&TarBuilder::archive(items))
    }

    /// Adds a blob as a layer on top.
    pub(super) fn blob(
        &mut self,
        blob: &[u8],
        compression: LayerCompression,
        diff_id: Option<[u8; 32]>,
    ) -> &mut Self {
        let label = format!("layer-{}", self.layers.len());
        let path = self.dir.path().join(&label);
        std::fs::write(&path, blob).expect("writing a blob");
        self.layers.push(LayerSource { path, compression, diff_id, label });
        self
    }

    pub(super) fn disk(&self) -> PathBuf {
        self.dir.path().join("disk.erofs")
    }

    /// Names in the working directory that are neither layers nor the disk.
    pub(super) fn leftovers(&self) -> Vec<String> {
        let names =
            std::fs::read_dir(self.dir.path()).expect("listing").map(|entry| entry.expect("an entry"));
        let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| !name.starts_with("layer-")).collect()
    }

    pub(super) fn try_build(&self) -> Result<BuildReport, BoxliteError> {
        build_image_disk(&self.layers, &self.disk(), &self.limits, &mut |_| ControlFlow::Continue(()))
    }

    pub(super) fn build(&self) -> Built {
        let report = self.try_build().expect("the disk is built");
        let image = erofs_reader::open(&self.disk()).expect("the disk is an EROFS image");
        let entries = image.entries().expect("the disk can be read back");
        Built { report, image, entries }
    }

    /// The error of a build that must fail, which must leave nothing behind.
    pub(super) fn fail(&self) -> BoxliteError {
        let error = self.try_build().expect_err("the build fails");
        assert_eq!(self.leftovers(), Vec::<String>::new(), "left behind after: {error}");
        assert!(!error.hint().is_empty());
        error
    }

    /// Runs `fsck.erofs` on the disk.
    pub(super) fn fsck(&self) {
        fsck(&self.disk());
    }
}

/// Runs `fsck.erofs`, which must accept the disk without a word.
pub(super) fn fsck(disk: &std::path::Path) {
    let output = std::process::Command::new("fsck.erofs")
        .arg(disk)
        .output()
        .expect("fsck.erofs runs (Debian package erofs-utils; `make setup` installs it)");
    let words = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&words));
    assert!(!String::from_utf8_lossy(&words).contains("<E>"), "{}", String::from_utf8_lossy(&words));
}

impl Built {
    pub(super) fn get(&self, path: &str) -> &Entry {
        self.find(path).unwrap_or_else(|| panic!("{path} is not in the disk"))
    }

    pub(super) fn find(&self, path: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.path == path.as_bytes())
    }

    pub(super) fn text(&self, path: &str) -> String {
        String::from_utf8(self.image.read(path.as_bytes()).expect("reading")).expect("text")
    }

    /// All paths but the root's.
    pub(super) fn paths(&self) -> Vec<String> {
        let paths = self.entries.iter().map(|entry| String::from_utf8_lossy(&entry.path).into_owned());
        paths.filter(|path| !path.is_empty()).collect()
    }
}

/// The result of building layers of entries, bottom layer first.
pub(super) fn build(layers: &[&[Item]]) -> Built {
    let mut bench = Bench::new();
    for items in layers {
        bench.items(items);
    }
    bench.build()
}

/// Attributes as a map.
pub(super) fn xattrs(pairs: &[(&str, &[u8])]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    pairs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect()
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// A small generator of random numbers (xorshift64*), the same for the same seed.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        ((self.next() >> 33) as usize) % limit
    }

    pub(super) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub(super) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| (self.next() >> 56) as u8).collect()
    }

    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
