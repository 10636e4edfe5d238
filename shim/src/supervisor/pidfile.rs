//! `shim.pid` (pid and start time, there while the box runs) and `shim.lock` (held while the shim lives).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use boxlite_proto::shim::files;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

use super::failure::StartError;
use crate::sys;

/// The box's lock. A process-owned `fcntl` lock: a forked child doesn't have it, and it ends with the process.
/// This descriptor must be the only one that the shim ever opens on the file: closing any drops the lock.
pub(crate) struct BoxLock {
    _file: File,
}

impl BoxLock {
    /// Takes the lock in the working directory, or says that another process has it.
    pub(crate) fn take(box_dir: &Path) -> Result<Self, StartError> {
        let plumbing = |source| StartError::Plumbing { what: "the box's lock", source };
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(files::LOCK)
            .map_err(plumbing)?;
        match fcntl(&file, FcntlArg::F_SETLK(&sys::whole_file())) {
            Ok(_) => Ok(Self { _file: file }),
            Err(Errno::EAGAIN | Errno::EACCES) => Err(StartError::Busy { lock: box_dir.join(files::LOCK) }),
            Err(errno) => Err(plumbing(errno.into())),
        }
    }
}

/// Writes the pid file in the working directory.
pub(crate) fn write() -> io::Result<()> {
    replace(Path::new(files::PID), own_record()?.as_bytes())
}

/// Deletes the pid file if it still names this process.
pub(crate) fn remove() -> io::Result<()> {
    match fs::read_to_string(files::PID) {
        Ok(content) if content == own_record()? => fs::remove_file(files::PID),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn own_record() -> io::Result<String> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let start = start_time(&stat).ok_or(io::ErrorKind::InvalidData)?;
    Ok(format!("{}\n{start}\n", std::process::id()))
}

/// Field 22 of a `/proc/PID/stat`. The name in field 2 may hold spaces and parentheses.
fn start_time(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Gives `path` this content in one step; a failure leaves no temporary file.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let written = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(content))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The first failure is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 11 12";
        assert_eq!(start_time(stat), Some(98765));
        assert_eq!(start_time("42 (a"), None);
        assert_eq!(start_time("42 (a) S 1"), None);
        assert!(own_record().unwrap().starts_with(&format!("{}\n", std::process::id())));
    }

    #[test]
    fn replacing_leaves_one_file() {
        let dir = std::env::temp_dir().join(format!("shim-replace-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let path = dir.join("f");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        // A directory can't be replaced by a file: the temporary file must be gone all the same.
        fs::create_dir(dir.join("d")).unwrap();
        assert!(replace(&dir.join("d"), b"x").is_err());
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 2);
        fs::remove_dir_all(&dir).unwrap();
    }
}
