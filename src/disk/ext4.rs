//! The empty ext4 file system under every box disk: made once per size with mke2fs, then only read.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::errors::{BoxliteError, BoxliteResult, Detail};

const GIB: u64 = 1 << 30;

/// The base of `size_gb` GiB in `bases`, made when missing. Blocking; tens of milliseconds when it has to be made.
pub(crate) fn ensure_base(bases: &Path, size_gb: u64) -> BoxliteResult<PathBuf> {
    let base = bases.join(base_name(size_gb));
    if base.exists() {
        return Ok(base);
    }
    // Several processes may make it at once: each its own, and the rename keeps exactly one.
    let draft = bases.join(format!(".ext4-{size_gb}g-{}", crate::model::id::mint_text(8)));
    let made = make(&draft, size_gb).and_then(|()| {
        fs::rename(&draft, &base).map_err(|error| BoxliteError::io("rename to", &base, &error))
    });
    if made.is_err() {
        // The draft may not exist; what counts is that none stays.
        let _ = fs::remove_file(&draft);
    }
    made.map(|()| base)
}

/// The file name of the base of `size_gb` GiB.
pub(crate) fn base_name(size_gb: u64) -> String {
    format!("ext4-{size_gb}g.raw")
}

fn make(draft: &Path, size_gb: u64) -> BoxliteResult<()> {
    File::create_new(draft)
        .and_then(|file| file.set_len(size_gb * GIB))
        .map_err(|error| BoxliteError::io("create", draft, &error))?;
    let program = find_mke2fs()?;
    let output = Command::new(&program)
        // Nothing is zeroed: the file is sparse. No blocks are reserved for root: the box's root is its user.
        .args(["-q", "-F", "-t", "ext4", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"])
        .arg(draft)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| BoxliteError::io("run", &program, &error))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(BoxliteError::Storage(
            Detail::new(format!("{} failed ({}): {said}", program.display(), output.status))
                .subject(draft.display().to_string())
                .hint("check the free space of the home's file system"),
        ));
    }
    let file = File::open(draft).map_err(|error| BoxliteError::io("open", draft, &error))?;
    file.sync_all().map_err(|error| BoxliteError::io("sync", draft, &error))
}

fn find_mke2fs() -> BoxliteResult<PathBuf> {
    // A plain user's PATH often lacks the sbin directories.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places: Vec<PathBuf> = std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into(), "/usr/local/sbin".into()])
        .collect();
    places.iter().map(|place| place.join("mke2fs")).find(|program| program.is_file()).ok_or_else(|| {
        BoxliteError::Config(
            Detail::new("mke2fs is missing (searched PATH, /usr/sbin, /sbin and /usr/local/sbin)")
                .subject("mke2fs")
                .hint("install e2fsprogs (Debian: apt-get install e2fsprogs)"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_made_once_and_is_sound() {
        let dir = tempfile::tempdir().unwrap();
        let base = ensure_base(dir.path(), 1).unwrap();
        let made = fs::metadata(&base).unwrap();
        assert_eq!(made.len(), GIB);
        assert_eq!(ensure_base(dir.path(), 1).unwrap(), base);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft stays");
        let check = Command::new("/sbin/e2fsck").args(["-f", "-n"]).arg(&base).output().unwrap();
        assert!(check.status.success(), "{check:?}");
    }
}
