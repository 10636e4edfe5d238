//! Digests of the files that a machine is made of, each read once for as long as it doesn't change.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::errors::{BoxliteError, BoxliteResult};
use crate::model::digest::Digest;
use crate::vmm::remembered;

/// What is known, in memory and in a file for later runtimes.
#[derive(Debug)]
pub(super) struct Digests {
    path: PathBuf,
    known: Mutex<HashMap<String, String>>,
}

impl Digests {
    /// Reads what earlier runtimes have found out.
    pub(super) fn at(path: PathBuf) -> Self {
        let known = fs::read(&path).ok().and_then(|json| serde_json::from_slice(&json).ok());
        Self { path, known: Mutex::new(known.unwrap_or_default()) }
    }

    /// The digest of the file, if it is known for the file as it is now.
    pub(super) fn known(&self, file: &Path) -> Option<Digest> {
        let stamp = stamp(file).ok()?;
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&stamp).and_then(|hex| Digest::from_hex(hex).ok())
    }

    /// Reads the file, unless its digest is known.
    pub(super) fn learn(&self, file: &Path) -> BoxliteResult<()> {
        if self.known(file).is_some() {
            return Ok(());
        }
        let failed = |error: &std::io::Error| BoxliteError::io("read", file, error);
        let before = stamp(file).map_err(|error| failed(&error))?;
        let digest = Digest::of_reader(File::open(file).map_err(|error| failed(&error))?)
            .map_err(|error| failed(&error))?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Of one file as it was, nothing is kept but what is asked for now and then.
        let name = name_in(&before).to_owned();
        known.retain(|stamp, _| name_in(stamp) != name);
        known.insert(before, digest.hex());
        if let Ok(json) = serde_json::to_vec(&*known) {
            remembered::keep(&self.path, &json);
        }
        Ok(())
    }
}

/// Changes with every change of the file.
fn stamp(file: &Path) -> std::io::Result<String> {
    let metadata = fs::metadata(file)?;
    Ok(format!(
        "{}:{} size {} changed {}.{:09} {}",
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        metadata.ctime(),
        metadata.ctime_nsec(),
        file.display(),
    ))
}

/// The path in a stamp.
fn name_in(stamp: &str) -> &str {
    stamp.splitn(6, ' ').nth(5).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_remembered_until_the_file_changes() {
        let dir = tempfile::tempdir().unwrap();
        let (file, kept) = (dir.path().join("a b"), dir.path().join("digests"));
        fs::write(&file, "one").unwrap();
        let digests = Digests::at(kept.clone());
        assert_eq!(digests.known(&file), None);
        digests.learn(&file).unwrap();
        assert_eq!(Digests::at(kept.clone()).known(&file), Some(Digest::of(b"one")));
        fs::remove_file(&file).unwrap();
        fs::write(&file, "another").unwrap();
        assert_eq!(digests.known(&file), None);
        digests.learn(&file).unwrap();
        let later = Digests::at(kept);
        assert_eq!(later.known(&file), Some(Digest::of(b"another")));
        assert_eq!(later.known.lock().unwrap().len(), 1, "what the file was is forgotten");
        assert!(digests.learn(&dir.path().join("missing")).is_err());
    }
}
