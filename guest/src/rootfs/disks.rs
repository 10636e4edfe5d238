//! Disks by their serial, never by letter.
//!
//! Owns the search through sysfs, and the way to the transfer disk.

use std::fs::{self, File};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use boxlite_proto::{copy, serial};
use nix::fcntl::{FcntlArg, fcntl};

use crate::error::AgentError;
use crate::sys::mounts::read_line;

/// The device node of the disk that carries `serial`.
pub(crate) fn find(serial: &'static str) -> Result<PathBuf, AgentError> {
    find_in(Path::new("/sys/block"), serial).ok_or(AgentError::MissingDisk { serial })
}

/// The transfer disk, opened for one copy alone, so that its locks are that copy's; under another number than the copy
/// will have it. `None`: the machine has no such disk.
pub(crate) fn open_transfer() -> io::Result<Option<OwnedFd>> {
    // Once open it stays so: the last to close a disk has all of its cache looked through.
    static DEVICE: OnceLock<(PathBuf, File)> = OnceLock::new();
    let (device, _) = match DEVICE.get() {
        Some(found) => found,
        None => {
            let Ok(path) = find(serial::TRANSFER) else { return Ok(None) };
            let disk = File::open(&path)?;
            DEVICE.get_or_init(|| (path, disk))
        }
    };
    let disk = File::options().read(true).write(true).custom_flags(libc::O_DIRECT).open(device)?;
    let number = fcntl(&disk, FcntlArg::F_DUPFD_CLOEXEC(copy::DISK + 1))?;
    // SAFETY: the call has just made this descriptor; nobody else has it.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(number) }))
}

fn find_in(class: &Path, serial: &str) -> Option<PathBuf> {
    fs::read_dir(class)
        .ok()?
        .flatten()
        .find(|disk| read_line(&disk.path().join("serial")).is_ok_and(|found| found.trim() == serial))
        .map(|disk| Path::new("/dev").join(disk.file_name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_serial_counts() {
        let class = std::env::temp_dir().join(format!("boxlite-guest-disks-{}", std::process::id()));
        for (disk, serial) in [("vda", "guest"), ("vdb", "boxes"), ("vdc", "box\n")] {
            fs::create_dir_all(class.join(disk)).unwrap();
            fs::write(class.join(disk).join("serial"), serial).unwrap();
        }
        fs::create_dir_all(class.join("loop0")).unwrap();
        let found = (find_in(&class, "box"), find_in(&class, "image"));
        fs::remove_dir_all(&class).unwrap();
        assert_eq!(found, (Some(PathBuf::from("/dev/vdc")), None));
    }
}
