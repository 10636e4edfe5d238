//! A checksum of a file with holes, and the room it takes. It finds accidents, not forgeries: who may write to a home
//! may do worse.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::errors::{BoxliteError, BoxliteResult};

const BLOCK: usize = 4096;
const CHUNK: usize = 64 * BLOCK;

/// Length and checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sum {
    pub(super) bytes: u64,
    /// CRC-32C over the place and the content of each block that isn't all zeros, so that holes don't count.
    crc: u32,
}

/// Reads what the file holds, and skips its holes.
pub(super) fn of(file: &File) -> io::Result<Sum> {
    let bytes = file.metadata()?.len();
    let mut buffer = vec![0; CHUNK];
    let (mut crc, mut at) = (0, 0);
    while let Some(data) = next_data(file, at)? {
        at = data - data % BLOCK as u64;
        let size = usize::try_from(bytes - at).unwrap_or(CHUNK).min(CHUNK);
        let chunk = &mut buffer[..size];
        file.read_exact_at(chunk, at)?;
        for block in chunk.chunks(BLOCK) {
            if block.iter().any(|byte| *byte != 0) {
                crc = crc32c::crc32c_append(crc, &at.to_le_bytes());
                crc = crc32c::crc32c_append(crc, block);
            }
            at += block.len() as u64;
        }
    }
    Ok(Sum { bytes, crc })
}

/// Where the next data are, at or after `at`.
fn next_data(file: &File, at: u64) -> io::Result<Option<u64>> {
    // SAFETY: lseek takes an open descriptor and integers. Reads here name their place and don't use the one it sets.
    let data = unsafe { libc::lseek(file.as_raw_fd(), at as libc::off_t, libc::SEEK_DATA) };
    if data >= 0 {
        return Ok(Some(data as u64));
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
        error => Err(error),
    }
}

/// The bytes on disk that the files of a directory take.
pub(super) fn blocks(dir: &Path) -> BoxliteResult<u64> {
    let failed = |error: &io::Error| BoxliteError::io("read", dir, error);
    let mut taken = 0;
    for entry in fs::read_dir(dir).map_err(|error| failed(&error))? {
        let metadata = entry.and_then(|entry| entry.metadata()).map_err(|error| failed(&error))?;
        taken += metadata.blocks() * 512;
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(content: &[u8]) -> Sum {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, content).unwrap();
        of(&File::open(&path).unwrap()).unwrap()
    }

    #[test]
    fn holes_do_not_count_and_everything_else_does() {
        let mut content = vec![0; 3 * CHUNK + 5];
        content[CHUNK + 1] = 7;
        let whole = sum(&content);
        let dir = tempfile::tempdir().unwrap();
        let sparse = File::create_new(dir.path().join("f")).unwrap();
        sparse.set_len(content.len() as u64).unwrap();
        sparse.write_all_at(&[7], CHUNK as u64 + 1).unwrap();
        let sparse = File::open(dir.path().join("f")).unwrap();
        assert_eq!(of(&sparse).unwrap(), whole);
        content[CHUNK + 1] = 6;
        assert_ne!(sum(&content), whole, "a bit");
        content[CHUNK + 1] = 0;
        content[CHUNK + 1 + BLOCK] = 7;
        assert_ne!(sum(&content), whole, "the place");
        content.pop();
        assert_ne!(sum(&content).bytes, whole.bytes);
    }
}
