//! Makes an empty qcow2 overlay: the writable disk of a box, over a base that stays untouched. Tells one that was cut off
//! or overwritten before an engine is started on it.
//!
//! Writes version 3 of the format as QEMU's docs/interop/qcow2.txt describes it. Reads no more than header and tables,
//! and never changes an overlay: what is in it is the engine's.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::errors::{BoxliteError, BoxliteResult, Detail};

const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
const HEADER_LENGTH: u32 = 104;
const MAGIC: &[u8; 4] = b"QFI\xfb";
/// As the engine has it.
const LARGEST_TABLE: u64 = 32 << 20;
/// Of a table's entry, the bits that are an offset in the file.
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
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

/// Refuses a file that can't be the overlay of a box any more: another header than [`create_overlay`] wrote, or tables
/// that point behind its end. Errors name the file and say what can be done.
pub(crate) fn check_overlay(path: &Path) -> BoxliteResult<()> {
    match find_damage(path) {
        Ok(None) => Ok(()),
        Ok(Some(what)) => Err(BoxliteError::Storage(
            Detail::new(format!("the box's disk {} is damaged: {what}", path.display()))
                .subject(path.display().to_string())
                .hint(
                    "the file is kept as it is: look at it with `qemu-img check`, put a backup in its place, or remove the \
                     box",
                ),
        )),
        Err(error) => Err(BoxliteError::io("read the box's disk", path, &error)),
    }
}

fn find_damage(path: &Path) -> io::Result<Option<String>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut header = [0; HEADER_LENGTH as usize];
    match file.read_exact_at(&mut header, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Ok(Some(format!("it ends after {length} bytes, inside its header")));
        }
        read => read?,
    }
    let u32_at = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let u64_at = |at: usize| (u64::from(u32_at(at)) << 32) | u64::from(u32_at(at + 4));
    if !header.starts_with(MAGIC) || u32_at(4) != 3 || u32_at(20) != CLUSTER_BITS {
        return Ok(Some("it doesn't begin as a qcow2 file of ours does".to_owned()));
    }
    let l1_bytes = u64::from(u32_at(36)) * 8;
    let tables = [("level-1 table", u64_at(40), l1_bytes), ("refcount table", u64_at(48), CLUSTER)];
    for (name, at, bytes) in tables {
        if at % CLUSTER != 0
            || at == 0
            || bytes > LARGEST_TABLE
            || at.checked_add(bytes).is_none_or(|end| end > length)
        {
            return Ok(Some(format!("its {name} lies outside of its {length} bytes")));
        }
    }
    let mut l1_table = vec![0; usize::try_from(l1_bytes).unwrap_or_default()];
    file.read_exact_at(&mut l1_table, u64_at(40))?;
    let beyond = |entry: &[u8]| {
        let entry = entry.iter().fold(0, |value, byte| (value << 8) | u64::from(*byte));
        entry & OFFSET_MASK >= length
    };
    let damaged = l1_table.chunks_exact(8).any(beyond);
    Ok(damaged.then(|| format!("its level-1 table points behind its end at {length} bytes")))
}

fn header(base: &str, virtual_size: u64, l1_entries: u32, l1_table: u64, refcount_table: u64) -> Vec<u8> {
    let format = b"raw\0\0\0\0\0";
    // Extensions: backing format (8 + 8), end marker (8); the base's name stands behind them.
    let base_offset = u64::from(HEADER_LENGTH) + 16 + 8;
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(MAGIC);
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
    fn a_damaged_overlay_is_refused_by_name_and_a_used_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        File::create(dir.path().join("base.raw")).unwrap().set_len(10 << 30).unwrap();
        let overlay = dir.path().join("box.qcow2");
        create_overlay(&overlay, "base.raw", 10 << 30).unwrap();
        check_overlay(&overlay).unwrap();
        let written = std::process::Command::new("qemu-io")
            .args(["-c", "write -P 7 0 64k", "-c", "write -P 7 9G 1k"])
            .arg(&overlay)
            .output()
            .unwrap();
        assert!(written.status.success(), "{written:?}");
        check_overlay(&overlay).unwrap();
        let whole = std::fs::read(&overlay).unwrap();
        let mut garbage = whole.clone();
        garbage[..4096].fill(0x5a);
        let mut far_table = whole.clone();
        far_table[40] = 0x7f;
        let damages: [(&str, &[u8]); 6] = [
            ("inside its header", b""),
            ("inside its header", &whole[..100]),
            ("outside of its", &whole[..4096]),
            ("level-1 table points", &whole[..5 * CLUSTER as usize]),
            ("doesn't begin", &garbage),
            ("outside of its", &far_table),
        ];
        for (what, content) in damages {
            std::fs::write(&overlay, content).unwrap();
            let error = check_overlay(&overlay).unwrap_err();
            assert!(matches!(&error, BoxliteError::Storage(text) if text.contains(what)), "{what}: {error}");
            assert!(error.subject() == overlay.to_str() && error.hint().contains("qemu-img check"));
            assert_eq!(std::fs::read(&overlay).unwrap(), content);
        }
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
