//! The box's file system: image below, box disk above, and the container-like view on top.
//!
//! Owns mounting and unmounting. Never looks at users or processes.

pub(crate) mod disks;
pub(crate) mod files;
pub(crate) mod layer;
pub(crate) mod layout;
pub(crate) mod view;

use std::path::Path;

use boxlite_proto::serial;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;

use crate::error::{AgentError, Context};
use layer::Layer;

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
    let layer = layer();
    layer.make(Path::new(layout::IMAGE))?;
    let options = format!(
        "lowerdir={},upperdir={},workdir={},redirect_dir=on,metacopy=off,index=off",
        layout::IMAGE,
        layer.upper.display(),
        layer.work.display()
    );
    mount(Some("overlay"), layout::ROOT, Some("overlay"), MsFlags::MS_NODEV, Some(options.as_str()))
        .step(|| "mount the overlay of image and box disk".into())
}

/// The writable layer on the box's disk.
pub(crate) fn layer() -> Layer {
    Layer::on(Path::new(layout::DISK))
}

/// Lets go of the image, so that another disk can take its place: nothing of the box may run any more. What was written
/// above it goes with it.
pub(crate) fn leave_image() -> Result<(), AgentError> {
    let device = disks::find(serial::IMAGE)?;
    for path in [layout::ROOT, layout::IMAGE] {
        umount2(path, MntFlags::empty()).step(|| format!("unmount {path}"))?;
    }
    // Refused while anything is mounted from it, wherever: what the kernel holds of its content would stay. The last
    // close of a device forgets that.
    let alone = OFlag::O_RDONLY | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    drop(nix::fcntl::open(&device, alone, Mode::empty()).step(|| format!("let go of {}", device.display()))?);
    layer().delete()
}

/// Unmounts the box's root and empties its layer, so that both can be made anew: nothing of the box may run any more.
pub(crate) fn empty_root() -> Result<(), AgentError> {
    umount2(layout::ROOT, MntFlags::empty()).step(|| format!("unmount {}", layout::ROOT))?;
    layer().empty()
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
