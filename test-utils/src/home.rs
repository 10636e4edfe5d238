//! Homes for tests: each in a directory of its own, gone afterwards, and none may leave a process behind.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// What a runtime that ends leaves to the boxes' own processes is done by then: those have ten seconds, which a busy machine
/// may lengthen.
const GONE: Duration = Duration::from_secs(30);

/// A home for one test. Dropping it deletes it, and fails the test when a process of one of its boxes is left.
#[derive(Debug)]
pub struct PerTestBoxHome {
    /// The home directory.
    pub path: PathBuf,
    _dir: TempDir,
}

impl PerTestBoxHome {
    /// A home that shares images, empty disks and templates with the other tests, so that each is made once.
    pub fn new() -> Self {
        Self::new_in(std::env::temp_dir())
    }

    /// The same, in `dir`.
    pub fn new_in(dir: impl AsRef<Path>) -> Self {
        Self::isolated_in(dir).sharing(&["images", "bases", "templates"])
    }

    /// The same, with templates of its own.
    pub fn with_own_templates() -> Self {
        Self::isolated().sharing(&["images", "bases"])
    }

    fn sharing(self, names: &[&str]) -> Self {
        for shared in names {
            let cache = cache_dir().join(shared);
            fs::create_dir_all(&cache).expect("the tests' cache can be made");
            symlink(&cache, self.path.join(shared)).expect("a link to the tests' cache can be made");
        }
        self
    }

    /// A home that shares nothing.
    pub fn isolated() -> Self {
        Self::isolated_in(std::env::temp_dir())
    }

    /// The same, in `dir`.
    pub fn isolated_in(dir: impl AsRef<Path>) -> Self {
        let dir = tempfile::Builder::new().prefix("boxlite-").tempdir_in(dir).expect("a home can be made");
        let path = dir.path().join("home");
        fs::create_dir(&path).expect("a home can be made");
        Self { path, _dir: dir }
    }
}

impl Default for PerTestBoxHome {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for PerTestBoxHome {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let deadline = Instant::now() + GONE;
        loop {
            let left = processes_below(&self.path);
            if left.is_empty() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "processes of boxes in {} are left: {left:?}",
                self.path.display()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Where tests keep what many of them need: below the workspace's target directory.
pub fn cache_dir() -> PathBuf {
    target_dir().join("test-cache")
}

/// The workspace's target directory.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// The workspace's root.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in the workspace").to_owned()
}

/// The busybox image that `make test` builds, as an image reference.
pub fn busybox_image() -> String {
    test_image("busybox", "scripts/make-busybox-image.sh")
}

/// The Debian image with python3 that `make test` builds, as an image reference.
pub fn debian_image() -> String {
    test_image("debian", "scripts/make-debian-image.sh")
}

fn test_image(name: &str, script: &str) -> String {
    let dir = target_dir().join("test-images").join(name);
    assert!(dir.join("index.json").is_file(), "{} is missing: run {script}", dir.display());
    format!("oci:{}", dir.display())
}

/// Processes that work in a box or a spare of `home`, with their working directories: a shim's is its box's.
pub fn processes_below(home: &Path) -> Vec<(u32, PathBuf)> {
    let home = fs::canonicalize(home).unwrap_or_else(|_| home.to_owned());
    let places = [home.join("boxes"), home.join("spares")];
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let cwd = fs::read_link(entry.path().join("cwd")).ok()?;
            places.iter().any(|place| cwd.starts_with(place)).then_some((pid, cwd))
        })
        .collect()
}
