//! Makes an empty qcow2 overlay: the writable disk of a box, over a base that stays untouched.
//!
//! Writes version 3 of the format as QEMU's docs/interop/qcow2.txt describes it. Never reads one: the engine does.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::errors::{BoxliteError, BoxliteResult};

const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
const HEADER_LENGTH: u32 = 104;
/// Header extension "backing file format name".
const EXTENSION_BACKING_FORMAT: u32 = 0xE279_2ACA;

/// Makes `path`, `virtual_size` bytes of the raw file `base` (as seen from `path`'s directory) until written to.
pub(crate) fn create_overlay(path: &Path, base: &str, virtual_size: u64) -> BoxliteResult<()> {
    write_overlay(path, base, virtual_size)
        .map_err(|error| BoxliteError::io("create the box disk", path, &error))
}

fn write_overlay(path: &Path, base: &str, virtual_size: u64) -> io::Result<()> {
    // Header, refcount table, its one block, then the level-1 table; an L2 table maps 8192 clusters (512 MiB).
    let l1_entries = virtual_size.div_ceil(CLUSTER * (CLUSTER / 8));
    let l1_clusters = (l1_entries * 8).div_ceil(CLUSTER).max(1);
    let (refcount_table, refcount_block, l1_table) = (CLUSTER, 2 * CLUSTER, 3 * CLUSTER);
    let clusters = 3 + l1_clusters;

    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.set_len(clusters * CLUSTER)?;
    file.write_all_at(&header(base, virtual_size, l1_entries as u32, l1_table, refcount_table), 0)?;
    file.write_all_at(&refcount_block.to_be_bytes(), refcount_table)?;
    let counts: Vec<u8> = (0..clusters).flat_map(|_| 1u16.to_be_bytes()).collect();
    file.write_all_at(&counts, refcount_block)
}

fn header(base: &str, virtual_size: u64, l1_entries: u32, l1_table: u64, refcount_table: u64) -> Vec<u8> {
    let format = b"raw\0\0\0\0\0";
    // Extensions: backing format (8 + 8), end marker (8); the base's name stands behind them.
    let base_offset = u64::from(HEADER_LENGTH) + 16 + 8;
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(b"QFI\xfb");
    out.extend_from_slice(&3u32.to_be_bytes());
    out.extend_from_slice(&base_offset.to_be_bytes());
    out.extend_from_slice(&(base.len() as u32).to_be_bytes());
    out.extend_from_slice(&CLUSTER_BITS.to_be_bytes());
    out.extend_from_slice(&virtual_size.to_be_bytes());
    out.extend_from_slice(&0u32.to_be_bytes()); // no encryption
    out.extend_from_slice(&l1_entries.to_be_bytes());
    out.extend_from_slice(&l1_table.to_be_bytes());
    out.extend_from_slice(&refcount_table.to_be_bytes());
    out.extend_from_slice(&1u32.to_be_bytes()); // clusters of the refcount table
    out.extend_from_slice(&[0; 4 + 8]); // no internal snapshots
    out.extend_from_slice(&[0; 3 * 8]); // no feature bits
    out.extend_from_slice(&4u32.to_be_bytes()); // 16-bit refcounts
    out.extend_from_slice(&HEADER_LENGTH.to_be_bytes());
    out.extend_from_slice(&EXTENSION_BACKING_FORMAT.to_be_bytes());
    out.extend_from_slice(&3u32.to_be_bytes());
    out.extend_from_slice(format);
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(base.as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qemu_accepts_the_overlay() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::File::create(dir.path().join("base.raw")).unwrap().set_len(10 << 30).unwrap();
        let overlay = dir.path().join("box.qcow2");
        create_overlay(&overlay, "base.raw", 10 << 30).unwrap();
        let check = std::process::Command::new("qemu-img").arg("check").arg(&overlay).output().unwrap();
        assert!(check.status.success(), "{check:?}");
        let info = std::process::Command::new("qemu-img")
            .args(["info", "--output=json"])
            .arg(&overlay)
            .output()
            .unwrap();
        let info: serde_json::Value = serde_json::from_slice(&info.stdout).unwrap();
        assert_eq!(info["virtual-size"], 10u64 << 30);
        assert_eq!(info["backing-filename"], "base.raw");
        assert_eq!(info["backing-filename-format"], "raw");
        // Written through the overlay and read back; the base stays empty.
        let io = std::process::Command::new("qemu-io")
            .args(["-c", "write -P 7 5G 64k", "-c", "read -P 7 5G 64k", "-c", "read -P 0 9G 64k"])
            .arg(&overlay)
            .output()
            .unwrap();
        assert!(io.status.success() && !String::from_utf8_lossy(&io.stdout).contains("failed"), "{io:?}");
    }

    #[test]
    fn an_existing_disk_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let overlay = dir.path().join("box.qcow2");
        std::fs::write(&overlay, b"data").unwrap();
        assert!(create_overlay(&overlay, "base.raw", 1 << 30).is_err());
        assert_eq!(std::fs::read(&overlay).unwrap(), b"data");
    }
}
