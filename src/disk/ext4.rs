//! The empty ext4 file system under every box disk: made once per size with mke2fs, then only read.
//!
//! Owns `ext4-*` in the directory of bases, which several homes may share: so its locks lie there, too.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::lock::Locks;

const GIB: u64 = 1 << 30;
/// Making one takes a moment: who has not made it in this time stands still.
const PATIENCE: Duration = Duration::from_secs(30);

/// The base of `size_gb` GiB in `bases`, made when missing. Blocking; tens of milliseconds when it has to be made.
pub(crate) fn ensure_base(bases: &Path, size_gb: u64) -> BoxliteResult<PathBuf> {
    let base = bases.join(base_name(size_gb));
    if base.exists() {
        return Ok(base);
    }
    let name = stem(size_gb);
    let _lock = locks(bases)?.acquire_blocking(&name, "making an empty disk")?;
    if base.exists() {
        return Ok(base);
    }
    clear_drafts(bases, &name);
    // Each has its own: the mke2fs of a maker that was killed may still be at work.
    let draft = bases.join(format!("{}{}", drafts_of(&name), crate::model::id::mint_text(8)));
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
    format!("{}.raw", stem(size_gb))
}

/// Deletes what killed makers have left: their locks, and beside these their drafts. What can't be deleted is met again.
pub(crate) fn sweep_drafts(bases: &Path) {
    let Ok(locks) = locks(bases) else { return };
    for name in locks.names().unwrap_or_default() {
        if let Ok(Some(_lock)) = locks.try_acquire(&name, "sweep") {
            clear_drafts(bases, &name);
        }
    }
}

fn locks(bases: &Path) -> BoxliteResult<Locks> {
    Locks::open(bases.to_owned(), PATIENCE)
}

fn stem(size_gb: u64) -> String {
    format!("ext4-{size_gb}g")
}

/// Begins the names of bases that aren't whole yet.
fn drafts_of(name: &str) -> String {
    format!(".{name}-")
}

/// For who has the lock: nobody else makes this base now. A draft that can't be deleted costs its place only.
fn clear_drafts(bases: &Path, name: &str) {
    let Ok(entries) = fs::read_dir(bases) else { return };
    let drafts = drafts_of(name);
    for entry in entries.flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(drafts.as_bytes()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn make(draft: &Path, size_gb: u64) -> BoxliteResult<()> {
    let file = File::create_new(draft).map_err(|error| BoxliteError::io("create", draft, &error))?;
    file.set_len(size_gb * GIB).map_err(|error| BoxliteError::io("create", draft, &error))?;
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
    use std::collections::BTreeSet;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_base_is_made_once_and_is_sound() {
        let dir = tempfile::tempdir().unwrap();
        let base = ensure_base(dir.path(), 1).unwrap();
        assert!(has_superblock(&base) && !has_superblock(Path::new("/dev/zero")));
        let made = fs::metadata(&base).unwrap();
        assert_eq!(made.len(), GIB);
        assert_eq!(ensure_base(dir.path(), 1).unwrap(), base);
        assert_eq!(names(dir.path()), ["ext4-1g.raw"], "no draft and no lock stays");
        let check = Command::new("/sbin/e2fsck").args(["-f", "-n"]).arg(&base).output().unwrap();
        assert!(check.status.success(), "{check:?}");
    }

    #[test]
    fn what_a_killed_maker_left_goes_and_what_is_being_made_stays() {
        let dir = tempfile::tempdir().unwrap();
        for name in [".ext4-1g-left", "ext4-1g.lock", ".ext4-2g-made", "ext4-3g.raw"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        let making = locks(dir.path()).unwrap().try_acquire("ext4-2g", "testing").unwrap().unwrap();
        sweep_drafts(dir.path());
        assert_eq!(names(dir.path()), [".ext4-2g-made", "ext4-2g.lock", "ext4-3g.raw"]);
        drop(making);
        // The next maker clears away what no sweep has met.
        ensure_base(dir.path(), 2).unwrap();
        assert_eq!(names(dir.path()), ["ext4-2g.raw", "ext4-3g.raw"]);
    }

    #[test]
    fn makers_wait_for_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let makers: Vec<_> = (0..4)
            .map(|_| {
                let bases = dir.path().to_owned();
                std::thread::spawn(move || {
                    let base = ensure_base(&bases, 1).unwrap();
                    fs::metadata(base).unwrap().ino()
                })
            })
            .collect();
        let made: BTreeSet<u64> = makers.into_iter().map(|maker| maker.join().unwrap()).collect();
        assert_eq!(made.len(), 1, "it was made once");
        assert_eq!(names(dir.path()), ["ext4-1g.raw"]);
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}
