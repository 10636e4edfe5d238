//! Blobs on disk, named by their digest: a file under its final name is complete and verified.
//!
//! Owns `blobs/sha256/` and the partial files beside it; knows nothing of images, locks or networks. Callers hold
//! the blob's lock while they write.

use std::collections::hash_map::RandomState;
use std::fs::{File, OpenOptions, Permissions};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::manifest::{Descriptor, MAX_DOCUMENT_BYTES};
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::model::digest::Digest;

const COPY_BUFFER: usize = 256 << 10;

/// The blob directory and the directory for what is not complete.
#[derive(Clone, Debug)]
pub(super) struct Blobs {
    dir: PathBuf,
    tmp: PathBuf,
}

impl Blobs {
    pub(super) fn new(dir: PathBuf, tmp: PathBuf) -> Self {
        Self { dir, tmp }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(digest.hex())
    }

    /// Whether the blob is there. Its content was verified before it got its name.
    pub(super) fn has(&self, blob: &Descriptor) -> bool {
        std::fs::symlink_metadata(self.path(&blob.digest))
            .is_ok_and(|metadata| metadata.is_file() && metadata.len() == blob.size)
    }

    /// A manifest or config, verified again. `None` when it is missing, damaged or can't be read.
    pub(super) fn document(&self, digest: &Digest) -> Option<Vec<u8>> {
        self.read_document(digest).ok().flatten()
    }

    /// As [`Blobs::document`]; what can't be read is an error.
    pub(super) fn read_document(&self, digest: &Digest) -> BoxliteResult<Option<Vec<u8>>> {
        let path = self.path(digest);
        let mut content = Vec::new();
        let read =
            File::open(&path).and_then(|file| file.take(MAX_DOCUMENT_BYTES + 1).read_to_end(&mut content));
        match read {
            Ok(_) => Ok((Digest::of(&content) == *digest).then_some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(BoxliteError::io("read", &path, &error)),
        }
    }

    /// Stores a small blob that is in memory.
    pub(super) fn store_document(&self, content: &[u8]) -> BoxliteResult<Descriptor> {
        let blob = Descriptor { digest: Digest::of(content), size: content.len() as u64 };
        if self.document(&blob.digest).is_none() {
            let name = format!("store.{}", blob.digest.hex());
            write_file(&self.tmp.join(name), &self.path(&blob.digest), content)?;
        }
        Ok(blob)
    }

    pub(super) fn remove(&self, digest: &Digest) -> BoxliteResult<()> {
        remove_if_there(&self.path(digest))
    }

    /// Whether the file under a blob's name still has its content; reads it all.
    pub(super) fn is_intact(&self, digest: &Digest) -> bool {
        let hashed = File::open(self.path(digest)).and_then(|mut file| {
            let mut hasher = Sha256::new();
            io::copy(&mut file, &mut hasher)?;
            Ok(Digest::from(hasher))
        });
        hashed.is_ok_and(|found| found == *digest)
    }

    /// Starts a blob, or goes on with what an interrupted pull left.
    pub(super) fn begin(&self, blob: Descriptor) -> BoxliteResult<PartialBlob> {
        let path = self.tmp.join(format!("blob-{}.partial", blob.digest.hex()));
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(|error| BoxliteError::io("create", &path, &error))?;
        let mut hasher = Sha256::new();
        let mut written =
            io::copy(&mut file, &mut hasher).map_err(|error| BoxliteError::io("read", &path, &error))?;
        if written > blob.size {
            hasher = Sha256::new();
            written = 0;
            rewind(&mut file).map_err(|error| BoxliteError::io("truncate", &path, &error))?;
        }
        Ok(PartialBlob { file, path, target: self.path(&blob.digest), hasher, written, blob })
    }
}

fn rewind(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0)).map(drop)
}

/// A blob being written. Dropping it keeps the file for a later resume; a bad one deletes itself.
#[derive(Debug)]
pub(super) struct PartialBlob {
    file: File,
    path: PathBuf,
    target: PathBuf,
    hasher: Sha256,
    written: u64,
    blob: Descriptor,
}

impl PartialBlob {
    /// Bytes present.
    pub(super) fn len(&self) -> u64 {
        self.written
    }

    /// Adds what comes next.
    pub(super) fn write(&mut self, bytes: &[u8]) -> BoxliteResult<()> {
        if self.blob.size - self.written < bytes.len() as u64 {
            return Err(self.discard(format!(
                "blob {} is longer than the {} bytes its manifest says",
                self.blob.digest, self.blob.size
            )));
        }
        if let Err(error) = self.file.write_all(bytes) {
            // Also on a full disk: nothing is left behind that would keep it full.
            let _ = std::fs::remove_file(&self.path);
            return Err(BoxliteError::io("write", &self.path, &error));
        }
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Forgets what is there.
    pub(super) fn restart(&mut self) -> BoxliteResult<()> {
        rewind(&mut self.file).map_err(|error| BoxliteError::io("truncate", &self.path, &error))?;
        self.hasher = Sha256::new();
        self.written = 0;
        Ok(())
    }

    /// Copies all of `source` into a blob that was begun empty, telling `report` the bytes done.
    pub(super) fn copy_from(
        &mut self,
        source: &mut dyn Read,
        report: &mut dyn FnMut(u64) -> BoxliteResult<()>,
    ) -> BoxliteResult<()> {
        let mut buffer = vec![0; COPY_BUFFER];
        loop {
            match source.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    self.write(&buffer[..count])?;
                    report(self.written)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(self.discard(format!("blob {} cannot be read: {error}", self.blob.digest)));
                }
            }
        }
    }

    /// Verifies size and digest and gives the blob its name; what fails is deleted.
    pub(super) fn commit(mut self) -> BoxliteResult<()> {
        if self.written != self.blob.size {
            return Err(self.discard(format!(
                "blob {} has {} bytes, its manifest says {}",
                self.blob.digest, self.written, self.blob.size
            )));
        }
        let found = Digest::from(std::mem::take(&mut self.hasher));
        if found != self.blob.digest {
            return Err(self
                .discard(format!("blob {} has the wrong digest: its content is {found}", self.blob.digest)));
        }
        let finished = self
            .file
            .set_permissions(Permissions::from_mode(0o444))
            .and_then(|()| self.file.sync_all())
            .and_then(|()| std::fs::rename(&self.path, &self.target))
            .and_then(|()| sync_parent(&self.target));
        finished.map_err(|error| {
            let _ = std::fs::remove_file(&self.path);
            BoxliteError::io("finish", &self.target, &error)
        })
    }

    /// Gives up without a trace.
    pub(super) fn delete(self) {
        let _ = std::fs::remove_file(&self.path);
    }

    fn discard(&self, reason: String) -> BoxliteError {
        let _ = std::fs::remove_file(&self.path);
        BoxliteError::Image(
            Detail::new(reason)
                .subject(self.blob.digest.to_string())
                .hint("the image's source is damaged: push or build the image again, then pull it again"),
        )
    }
}

/// A number that no other process has: the standard library seeds each hasher of this kind anew.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Makes a rename into `path`'s directory durable.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Writes a small file whole or not at all. The caller holds the lock that `temporary` is named after.
pub(super) fn write_file(temporary: &Path, target: &Path, content: &[u8]) -> BoxliteResult<()> {
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .custom_flags(libc::O_NOFOLLOW)
            .open(temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(temporary, target)?;
        sync_parent(target)
    };
    write().map_err(|error| {
        let _ = std::fs::remove_file(temporary);
        BoxliteError::io("write", target, &error)
    })
}

/// Removes a file; that it is already gone is fine.
pub(super) fn remove_if_there(path: &Path) -> BoxliteResult<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(BoxliteError::io("remove", path, &error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "tests/blobs.rs"]
mod tests;
