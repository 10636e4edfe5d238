//! A cheap fingerprint of a directory tree: names and what `stat` says, never contents.
//!
//! Owns the walk; any write, rename, chmod or touch in the tree changes the result (by ctime at least). Blocking.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::errors::{BoxliteError, BoxliteResult};
use crate::model::digest::Digest;

/// The fingerprint of the tree at `root`, which is an absolute path without symlinks.
pub(super) fn directory_stamp(root: &Path) -> BoxliteResult<Digest> {
    let mut hasher = Sha256::new();
    hasher.update(root.as_os_str().as_bytes());
    add(&mut hasher, root, b"")?;
    let mut waiting = vec![PathBuf::new()];
    while let Some(relative) = waiting.pop() {
        let dir = root.join(&relative);
        let unreadable = |error: std::io::Error| BoxliteError::io("read", &dir, &error);
        let mut names: Vec<(OsString, bool)> = Vec::new();
        for entry in std::fs::read_dir(&dir).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let is_dir = entry.file_type().map_err(unreadable)?.is_dir();
            names.push((entry.file_name(), is_dir));
        }
        names.sort_unstable();
        for (name, is_dir) in names {
            let path = relative.join(&name);
            add(&mut hasher, &root.join(&path), path.as_os_str().as_bytes())?;
            if is_dir {
                waiting.push(path);
            }
        }
    }
    Ok(Digest::from(hasher))
}

fn add(hasher: &mut Sha256, path: &Path, name: &[u8]) -> BoxliteResult<()> {
    let metadata = std::fs::symlink_metadata(path).map_err(|error| BoxliteError::io("read", path, &error))?;
    hasher.update(name);
    hasher.update([0]);
    for number in [
        metadata.ino(),
        u64::from(metadata.mode()),
        u64::from(metadata.uid()),
        u64::from(metadata.gid()),
        metadata.rdev(),
        metadata.len(),
    ] {
        hasher.update(number.to_le_bytes());
    }
    for number in [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()] {
        hasher.update(number.to_le_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_is_seen_and_reading_is_none() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("sub/file");
        std::fs::create_dir(dir.path().join("sub")).expect("a directory");
        std::fs::write(&file, "one").expect("a file");
        let stamp = || directory_stamp(dir.path()).expect("a stamp");
        let first = stamp();
        let _ = std::fs::read(&file).expect("the file");
        assert_eq!(stamp(), first);
        std::fs::write(&file, "two").expect("the same length");
        let second = stamp();
        assert_ne!(second, first);
        std::fs::rename(&file, dir.path().join("sub/other")).expect("a rename");
        assert_ne!(stamp(), second);
    }
}
