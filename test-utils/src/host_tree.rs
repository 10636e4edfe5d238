//! A directory of the host in the same terms as an image that was read back, and their comparison.
//!
//! Owns what two equal trees have in common: everything but inode numbers, and sizes and link counts of directories,
//! which are the file system's own business.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, CString};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::erofs_reader::{Entry, Kind};

/// All names below `root`, sorted by path; `root` itself comes first, its path is empty.
pub fn entries(root: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let stat = path.symlink_metadata()?;
        if stat.is_dir() {
            for child in std::fs::read_dir(&path)? {
                pending.push(child?.path());
            }
        }
        let name = path.strip_prefix(root).map_err(io::Error::other)?;
        entries.push(entry(name, &path, &stat)?);
    }
    entries.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(entries)
}

fn entry(name: &Path, path: &Path, stat: &Metadata) -> io::Result<Entry> {
    let kind = Kind::of_mode(stat.mode()).ok_or_else(|| io::Error::other("a file of unknown type"))?;
    let target = match kind {
        Kind::Symlink => std::fs::read_link(path)?.as_os_str().as_bytes().to_vec(),
        _ => Vec::new(),
    };
    let device = match kind {
        Kind::CharDevice | Kind::BlockDevice => (libc::major(stat.rdev()), libc::minor(stat.rdev())),
        _ => (0, 0),
    };
    Ok(Entry {
        path: name.as_os_str().as_bytes().to_vec(),
        kind,
        mode: stat.mode() & 0o7777,
        uid: stat.uid(),
        gid: stat.gid(),
        size: stat.len(),
        mtime: (stat.mtime(), stat.mtime_nsec() as u32),
        links: stat.nlink() as u32,
        inode: stat.ino(),
        target,
        device,
        xattrs: xattrs(path)?,
        content: if kind == Kind::File { Some(digest(path)?) } else { None },
        stored: 0,
    })
}

fn digest(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(digest.finalize().into());
        }
        digest.update(&buffer[..read]);
    }
}

/// The extended attributes of a file, of a symlink its own.
pub fn xattrs(path: &Path) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut names = vec![0; 1 << 16];
    // SAFETY: `path` ends with a NUL, and the kernel writes at most `names.len()` bytes to `names`.
    let length = unsafe { libc::llistxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
    let Ok(length) = usize::try_from(length) else {
        let error = io::Error::last_os_error();
        let none = error.raw_os_error() == Some(libc::EOPNOTSUPP);
        return if none { Ok(BTreeMap::new()) } else { Err(error) };
    };
    let mut xattrs = BTreeMap::new();
    for name in names[..length].split_inclusive(|byte| *byte == 0) {
        let name = CStr::from_bytes_with_nul(name).map_err(io::Error::other)?;
        let mut value = vec![0_u8; 1 << 16];
        // SAFETY: both strings end with a NUL, and the kernel writes at most `value.len()` bytes to `value`.
        let length =
            unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
        value.truncate(usize::try_from(length).map_err(|_| io::Error::last_os_error())?);
        xattrs.insert(name.to_bytes().to_vec(), value);
    }
    Ok(xattrs)
}

/// What differs between the tree that is wanted and the one that was found, a line for each.
pub fn differences(want: &[Entry], found: &[Entry]) -> Vec<String> {
    let mut lines = Vec::new();
    let by_path: HashMap<&[u8], &Entry> = found.iter().map(|entry| (entry.path.as_slice(), entry)).collect();
    let wanted: HashMap<&[u8], &Entry> = want.iter().map(|entry| (entry.path.as_slice(), entry)).collect();
    for entry in found.iter().filter(|entry| !wanted.contains_key(entry.path.as_slice())) {
        lines.push(format!("/{} should not be there", entry.path.escape_ascii()));
    }
    let mut there = HashMap::new();
    let mut back = HashMap::new();
    for entry in want {
        let path = entry.path.escape_ascii();
        let Some(other) = by_path.get(entry.path.as_slice()) else {
            lines.push(format!("/{path} is missing"));
            continue;
        };
        let mut field = |name: &str, want: &dyn std::fmt::Debug, found: &dyn std::fmt::Debug| {
            let (want, found) = (format!("{want:?}"), format!("{found:?}"));
            if want != found {
                lines.push(format!("/{path}: {name} is {found}, should be {want}"));
            }
        };
        field("type", &entry.kind, &other.kind);
        field("mode", &entry.mode, &other.mode);
        field("owner", &(entry.uid, entry.gid), &(other.uid, other.gid));
        field("mtime", &entry.mtime, &other.mtime);
        field("target", &entry.target, &other.target);
        field("device", &entry.device, &other.device);
        field("xattrs", &entry.xattrs, &other.xattrs);
        field("content", &entry.content, &other.content);
        if entry.kind != Kind::Directory {
            field("size", &entry.size, &other.size);
            field("links", &entry.links, &other.links);
            let same = *there.entry(entry.inode).or_insert(other.inode) == other.inode
                && *back.entry(other.inode).or_insert(entry.inode) == entry.inode;
            if !same {
                lines.push(format!("/{path} is linked to other names"));
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_told() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join("a"), "a").expect("writing");
        std::fs::hard_link(dir.path().join("a"), dir.path().join("b")).expect("linking");
        std::fs::write(dir.path().join("c"), "c").expect("writing");
        let want = entries(dir.path()).expect("walking");
        assert_eq!(differences(&want, &want), Vec::<String>::new());
        let mut found = want.clone();
        found[1].mode ^= 1;
        found[2].inode += 1;
        found[3].path = b"d".to_vec();
        let lines = differences(&want, &found);
        assert_eq!(lines.len(), 4, "{lines:#?}");
        assert!(lines[0].contains("/d should not be there"), "{lines:#?}");
        assert!(lines[1].contains("/a: mode"), "{lines:#?}");
        assert!(lines[2].contains("/b is linked to other names"), "{lines:#?}");
        assert!(lines[3].contains("/c is missing"), "{lines:#?}");
    }
}
