//! What only root can have: a mount namespace with a `/tmp` and a `/dev/shm` of its own, and small disks in it.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Room for an image, a template, some boxes, and the databases of them.
const SMALL: u64 = 288 << 20;
const SHARED: [&str; 2] = ["/tmp", "/dev/shm"];

/// Gives this process and its children a private `/tmp` and `/dev/shm`, where everything that is left is ours. Call it
/// before any thread exists. False without the right to.
pub(crate) fn make_private(needed: &Path) -> io::Result<bool> {
    // SAFETY: unshare and geteuid take integers.
    if unsafe { libc::geteuid() } != 0 || unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Ok(false);
    }
    mount("none", Path::new("/"), None, libc::MS_REC | libc::MS_PRIVATE)?;
    for shared in SHARED {
        // A checkout below /tmp stays visible.
        if !needed.starts_with(shared) && Path::new(shared).is_dir() {
            mount("tmpfs", Path::new(shared), Some("mode=1777"), libc::MS_NOSUID | libc::MS_NODEV)?;
        }
    }
    Ok(true)
}

/// What lies in the private shared directories. Nothing of boxlite's belongs there.
pub(crate) fn left_in_shared(needed: &Path) -> Vec<PathBuf> {
    let private = SHARED.iter().filter(|shared| !needed.starts_with(shared));
    private
        .filter_map(|shared| fs::read_dir(shared).ok())
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect()
}

/// A disk that is easily filled.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// Mounts it at `at`, an empty directory.
    pub(crate) fn mount(at: &Path) -> io::Result<Self> {
        mount("tmpfs", at, Some(&format!("size={SMALL},mode=0700")), libc::MS_NOSUID | libc::MS_NODEV)?;
        Ok(Self { at: at.to_owned() })
    }

    fn filler(&self) -> PathBuf {
        self.at.join("filler")
    }

    /// Takes all there is left.
    pub(crate) fn fill(&self) {
        let Ok(file) = File::options().create(true).append(true).open(self.filler()) else { return };
        let mut size = file.metadata().map_or(0, |metadata| metadata.len());
        for chunk in [1 << 24, 1 << 20, 1 << 16, 1 << 12] {
            // SAFETY: fallocate takes an open descriptor and integers.
            while unsafe { libc::fallocate(file.as_raw_fd(), 0, size as i64, chunk) } == 0 {
                size += chunk as u64;
            }
        }
    }

    /// Gives it back.
    pub(crate) fn release(&self) {
        // Not there: nothing was taken.
        let _ = fs::remove_file(self.filler());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Ok(at) = CString::new(self.at.as_os_str().as_bytes()) {
            // SAFETY: the path is NUL-terminated. What can't be unmounted goes with the namespace.
            unsafe { libc::umount2(at.as_ptr(), libc::MNT_DETACH) };
        }
    }
}

fn mount(kind: &str, at: &Path, data: Option<&str>, flags: libc::c_ulong) -> io::Result<()> {
    let text = |bytes: &[u8]| CString::new(bytes).map_err(io::Error::from);
    let (kind, at) = (text(kind.as_bytes())?, text(at.as_os_str().as_bytes())?);
    let data = data.map(|data| text(data.as_bytes())).transpose()?;
    let data = data.as_ref().map_or(std::ptr::null(), |data| data.as_ptr().cast());
    // SAFETY: all pointers are null or to NUL-terminated text that lives through the call.
    match unsafe { libc::mount(kind.as_ptr(), at.as_ptr(), kind.as_ptr(), flags, data) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
