//! Waits for the last machine to let go of the box's disk. A machine that was killed has lost its memory, and with it all
//! that tells whose it was, some time before its open files: QEMU locks bytes of an image that it writes to (its
//! `block/file-posix.c`), and the next QEMU refuses a disk that is still locked.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};

use super::failure::StartError;
use crate::sys;

/// A process that is being killed is gone long before.
const PATIENCE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_micros(500);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Returns when nobody holds a lock on `disk`, in the working directory, which is `box_dir`; at once when there is no disk.
pub(crate) fn wait_until_free(disk: &Path, box_dir: &Path) -> Result<(), StartError> {
    wait(disk, PATIENCE)
        .map_err(|source| StartError::Plumbing { what: "the wait for the box's disk", source })?
        .then_some(())
        .ok_or_else(|| StartError::Busy { lock: box_dir.join(disk) })
}

fn wait(disk: &Path, patience: Duration) -> io::Result<bool> {
    let file = match File::open(disk) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        opened => opened?,
    };
    let deadline = Instant::now() + patience;
    let mut pause = FIRST_PAUSE;
    while is_locked(&file)? {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    Ok(true)
}

fn is_locked(file: &File) -> io::Result<bool> {
    let mut lock = sys::whole_file();
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As QEMU does it: a shared lock on one byte, owned by the open file.
    fn lock_a_byte(file: &File) {
        let mut byte = sys::whole_file();
        (byte.l_type, byte.l_start, byte.l_len) = (libc::F_RDLCK as _, 201, 1);
        fcntl(file, FcntlArg::F_OFD_SETLK(&byte)).unwrap();
    }

    #[test]
    fn a_disk_is_free_when_its_last_user_has_closed_it() {
        let dir = std::env::temp_dir().join(format!("shim-disk-lock-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let disk = dir.join("box.qcow2");
        assert!(wait(&disk, Duration::ZERO).unwrap(), "there is none");
        File::create_new(&disk).unwrap();
        assert!(wait(&disk, Duration::ZERO).unwrap());
        let reader = File::open(&disk).unwrap();
        lock_a_byte(&reader);
        assert!(!wait(&disk, Duration::ZERO).unwrap());
        let later = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            drop(reader);
        });
        assert!(wait(&disk, Duration::from_secs(60)).unwrap());
        later.join().unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
