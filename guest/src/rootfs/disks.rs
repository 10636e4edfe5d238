//! Disks by their serial, never by letter.
//!
//! Owns the search through sysfs only.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::AgentError;
use crate::sys::mounts::read_line;

/// The device node of the disk that carries `serial`.
pub(crate) fn find(serial: &'static str) -> Result<PathBuf, AgentError> {
    find_in(Path::new("/sys/block"), serial).ok_or(AgentError::MissingDisk { serial })
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
