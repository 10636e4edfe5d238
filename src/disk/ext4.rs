//! The empty ext4 file system under every box disk: made once per size with mke2fs, then only read.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
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
    let mut child = Command::new(&program)
        // Nothing is zeroed: the file is sparse. No blocks are reserved for root: the box's root is its user.
        .args(["-q", "-F", "-t", "ext4", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"])
        .arg(draft)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| BoxliteError::io("run", &program, &error))?;
    let mut said = Vec::new();
    if let Some(mut stderr) = child.stderr.take() {
        // What it has said by the end is what there is.
        let _ = stderr.read_to_end(&mut said);
    }
    let outcome = match child.wait() {
        Ok(status) if status.success() => None,
        Ok(status) => Some(status.to_string()),
        // A host that ignores SIGCHLD, or waits for any child, has taken the status.
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => {
            (!has_superblock(draft)).then(|| "its exit status is lost".to_owned())
        }
        Err(error) => return Err(BoxliteError::io("wait for", &program, &error)),
    };
    if let Some(outcome) = outcome {
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        return Err(BoxliteError::Storage(
            Detail::new(format!("{} failed ({outcome}): {said}", program.display()))
                .subject(draft.display().to_string())
                .hint("check the free space of the home's file system"),
        ));
    }
    let file = File::open(draft).map_err(|error| BoxliteError::io("open", draft, &error))?;
    file.sync_all().map_err(|error| BoxliteError::io("sync", draft, &error))
}

/// Whether there is a superblock: mke2fs writes it last.
fn has_superblock(path: &Path) -> bool {
    let mut magic = [0; 2];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut magic, 1024 + 0x38));
    read.is_ok() && magic == 0xEF53u16.to_le_bytes()
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
        assert!(has_superblock(&base) && !has_superblock(Path::new("/dev/zero")));
        let made = fs::metadata(&base).unwrap();
        assert_eq!(made.len(), GIB);
        assert_eq!(ensure_base(dir.path(), 1).unwrap(), base);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft stays");
        let check = Command::new("/sbin/e2fsck").args(["-f", "-n"]).arg(&base).output().unwrap();
        assert!(check.status.success(), "{check:?}");
    }
}
