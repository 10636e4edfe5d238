//! The box's file system: image below, box disk above, and the container-like view on top.
//!
//! Owns mounting and unmounting. Never looks at users or processes.

mod disks;
pub(crate) mod files;
pub(crate) mod layout;
pub(crate) mod view;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use boxlite_proto::serial;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

use crate::error::{AgentError, Context};

/// Options of the box disk. `noinit_itable`: no kernel thread zeroes inode tables, which would grow every qcow2 by
/// the size of all of them. A journal left by a crash is replayed by the mount itself.
const DISK_OPTIONS: &str = "noinit_itable,errors=remount-ro";

/// Mounts the image, read-only.
pub(crate) fn mount_image() -> Result<(), AgentError> {
    let device = disks::find(serial::IMAGE)?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NODEV;
    mount(Some(&device), layout::IMAGE, Some("erofs"), flags, None::<&str>)
        .step(|| format!("mount the image disk {} as EROFS", device.display()))
}

/// Mounts the box's disk.
pub(crate) fn mount_disk() -> Result<(), AgentError> {
    let device = disks::find(serial::BOX)?;
    mount(Some(&device), layout::DISK, Some("ext4"), MsFlags::MS_NODEV, Some(DISK_OPTIONS))
        .step(|| format!("mount the box disk {} as ext4", device.display()))
}

/// Mounts the box's root. `redirect_dir` lets directories of the image be renamed as on any file system; metadata
/// is copied up together with content (`metacopy` off), so that a file above never depends on one below. `nodev`:
/// a box may make device nodes (a capability containers have) but opens none that the agent didn't put there.
pub(crate) fn mount_root() -> Result<(), AgentError> {
    let (upper, work) = (format!("{}/upper", layout::DISK), format!("{}/work", layout::DISK));
    prepare_upper(Path::new(&upper), Path::new(&work))?;
    let options = format!(
        "lowerdir={},upperdir={upper},workdir={work},redirect_dir=on,metacopy=off,index=off",
        layout::IMAGE
    );
    mount(Some("overlay"), layout::ROOT, Some("overlay"), MsFlags::MS_NODEV, Some(options.as_str()))
        .step(|| "mount the overlay of image and box disk".into())
}

/// Makes the writable layer at the box's first start; its root looks like the image's.
fn prepare_upper(upper: &Path, work: &Path) -> Result<(), AgentError> {
    if upper.exists() {
        return Ok(());
    }
    let step = || format!("make the writable layer {}", upper.display());
    if !work.exists() {
        fs::create_dir(work).step(step)?;
    }
    let image = fs::metadata(layout::IMAGE).step(step)?;
    // Made aside and renamed, so that a start cut off here begins anew.
    let fresh = upper.with_extension("new");
    if !fresh.exists() {
        fs::create_dir(&fresh).step(step)?;
    }
    std::os::unix::fs::chown(&fresh, Some(image.uid()), Some(image.gid())).step(step)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(image.mode())).step(step)?;
    let modified = TimeSpec::new(image.mtime(), image.mtime_nsec());
    utimensat(nix::fcntl::AT_FDCWD, &fresh, &modified, &modified, UtimensatFlags::FollowSymlink)
        .step(step)?;
    fs::rename(&fresh, upper).step(step)
}

/// Writes back and unmounts everything of the box.
///
/// A disk that refuses what it is given (the host's is full) must stay as a crash would leave it: the journal then makes
/// it whole at the next start. Unmounted, it could be marked as clean: Linux 6.12 does that after the journal's last
/// writes have failed, and what they held is lost. A file system that is read-only by then is never marked.
pub(crate) fn unmount_all() {
    nix::unistd::sync();
    unmount(layout::ROOT);
    match write_back(layout::DISK) {
        Ok(()) => unmount(layout::DISK),
        Err(error) => {
            crate::console::say(&format!(
                "{}: {error}; its journal is left for the next start",
                layout::DISK
            ));
        }
    }
    unmount(layout::IMAGE);
}

fn unmount(path: &str) {
    match umount2(path, MntFlags::empty()) {
        Ok(()) | Err(Errno::EINVAL) => {}
        // The end is near, and what is written is on the disk: there is nothing better to do with an error.
        Err(error) => crate::console::say(&format!("unmount {path}: {error}")),
    }
}

/// Writes everything to the disk mounted at `path`, and takes no more.
fn write_back(path: &str) -> nix::Result<()> {
    let disk =
        nix::fcntl::open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    nix::unistd::syncfs(&disk)?;
    drop(disk);
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    match mount(None::<&str>, path, None::<&str>, flags, None::<&str>) {
        // Nothing is mounted there yet.
        Err(Errno::EINVAL) => Ok(()),
        done => done,
    }
}
