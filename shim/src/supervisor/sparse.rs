//! Files with holes: gives back what is written but zero.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::unistd::{Whence, lseek64};

/// What a hole can be made of.
const BLOCK: usize = 4096;
/// Looked at together.
const CHUNK: usize = 256 * BLOCK;

/// Makes holes of the blocks that hold zeros only; tells how many bytes that gave back.
pub(crate) fn punch_zeros(file: &File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut buffer = vec![0; CHUNK];
    let (mut at, mut punched) = (0, 0);
    while let Some(data) = next_data(file, at)? {
        at = data - data % BLOCK as u64;
        let size = usize::try_from(length - at).unwrap_or(CHUNK).min(CHUNK);
        let chunk = &mut buffer[..size];
        file.read_exact_at(chunk, at)?;
        for (offset, count) in zero_runs(chunk) {
            let mode = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
            match fallocate(file, mode, (at + offset as u64) as i64, count as i64) {
                Ok(()) => punched += count as u64,
                // A file system without holes keeps the zeros.
                Err(Errno::EOPNOTSUPP) => return Ok(punched),
                Err(errno) => return Err(errno.into()),
            }
        }
        at += size as u64;
    }
    Ok(punched)
}

/// Where the next data are, at or after `at`.
fn next_data(file: &File, at: u64) -> io::Result<Option<u64>> {
    match lseek64(file, at as i64, Whence::SeekData) {
        Ok(data) => Ok(Some(data as u64)),
        Err(Errno::ENXIO) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Runs of whole blocks of zeros: offset and length.
fn zero_runs(chunk: &[u8]) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (index, block) in chunk.chunks(BLOCK).enumerate() {
        if block.iter().any(|byte| *byte != 0) {
            continue;
        }
        match runs.last_mut() {
            Some((offset, count)) if *offset + *count == index * BLOCK => *count += block.len(),
            _ => runs.push((index * BLOCK, block.len())),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn zeros_go_and_content_stays() {
        let path = std::env::temp_dir().join(format!("shim-sparse-{}", std::process::id()));
        let mut content = vec![0; 3 * CHUNK];
        content[5 * BLOCK] = 1;
        content[CHUNK + 7] = 2;
        std::fs::write(&path, &content).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        file.sync_all().unwrap();
        let before = file.metadata().unwrap().blocks();
        let punched = punch_zeros(&file).unwrap();
        let (after, kept) = (file.metadata().unwrap().blocks(), std::fs::read(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(kept, content);
        assert!(punched >= 2 * CHUNK as u64 && after < before, "{punched} bytes, {before} to {after} blocks");
    }

    #[test]
    fn runs_are_of_whole_blocks() {
        let mut chunk = vec![0; 4 * BLOCK];
        chunk[BLOCK] = 1;
        assert_eq!(zero_runs(&chunk), [(0, BLOCK), (2 * BLOCK, 2 * BLOCK)]);
    }
}
