//! What a process of the box sees: its root, /proc, /sys, /dev, and nothing of the agent.
//!
//! Owns the mounts of the box's mount namespace. Runs in the box's init, once, before any process of the box; after
//! it the namespace holds no way back to the agent's root. Every mount a box's root user can write to is `nodev`,
//! the nodes in /dev are mounts of their own: a device node that the box makes for itself can't be opened.

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, symlink};
use std::path::Path;

use nix::fcntl::{AT_FDCWD, OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, UtimensatFlags, umask, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{chdir, pivot_root};

use crate::error::{AgentError, Context};
use crate::rootfs::files::{BoxFile, Condition};
use crate::rootfs::layout;
use crate::sys::mounts::{attach, clone_tree, make_read_only, mount_virtual};
use crate::sys::open_in_root;

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
];

/// What containers hide of the kernel.
const MASKED: [&str; 9] = [
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// What containers may only read: uid 0 of the box has no capability that stops it from writing there.
const READ_ONLY: [&str; 6] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
    // A mount of its own by then.
    "/proc/sys/kernel/random/boot_id",
];

/// Builds the view and leaves the agent's tree for good.
pub(crate) fn build(files: &[BoxFile]) -> Result<(), AgentError> {
    umask(Mode::empty());
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .step(|| "make all mounts private".into())?;
    let devices = DEVICES
        .iter()
        .map(|name| Ok((*name, take_along(Path::new("/dev").join(name).as_path())?)))
        .collect::<Result<Vec<_>, AgentError>>()?;
    let files = files
        .iter()
        .map(|file| Ok((file, take_along(&file.source)?)))
        .collect::<Result<Vec<_>, AgentError>>()?;

    // Asked of the image itself: the place that is made for the mount stays on the box's disk.
    let brings_tmp = fs::symlink_metadata(format!("{}/tmp", layout::IMAGE)).is_ok();

    chdir(layout::ROOT).step(|| format!("enter {}", layout::ROOT))?;
    pivot_root(".", ".").step(|| "make the overlay the root".into())?;
    umount2(".", MntFlags::MNT_DETACH).step(|| "let go of the agent's root".into())?;
    chdir("/").step(|| "enter the new root".into())?;

    kernel_views()?;
    dev(&devices)?;
    if !brings_tmp {
        directory("/tmp")?;
        mount_at("tmpfs", "/tmp", MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=1777"))?;
    }
    let root = open("/", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .step(|| "open the new root".into())?;
    for (file, tree) in &files {
        bind_file(&root, file, tree)?;
    }
    restrict()
}

fn take_along(path: &Path) -> Result<OwnedFd, AgentError> {
    let step = || format!("take {} into the box", path.display());
    let name = CString::new(path.as_os_str().as_encoded_bytes()).map_err(std::io::Error::from).step(step)?;
    clone_tree(&name).step(step)
}

/// A real directory at `path`, made where the image has none; anything else there is refused.
fn directory(path: &str) -> Result<(), AgentError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(AgentError::NotADirectory { path: path.to_owned() }),
        Err(_) => keeping_time(Path::new("/"), || {
            fs::DirBuilder::new().mode(0o755).create(path).step(|| format!("make {path} in the box"))
        }),
    }
}

/// Adds something to a directory of the image without leaving a trace in its modification time.
fn keeping_time<T>(directory: &Path, add: impl FnOnce() -> Result<T, AgentError>) -> Result<T, AgentError> {
    let before = fs::metadata(directory);
    let added = add()?;
    if let Ok(before) = before {
        let modified = TimeSpec::new(before.mtime(), before.mtime_nsec());
        utimensat(AT_FDCWD, directory, &TimeSpec::UTIME_OMIT, &modified, UtimensatFlags::FollowSymlink)
            .step(|| format!("keep the time of {}", directory.display()))?;
    }
    Ok(added)
}

fn mount_at(kind: &str, path: &str, flags: MsFlags, options: Option<&str>) -> Result<(), AgentError> {
    mount_virtual(kind, Path::new(path), flags, options).step(|| format!("mount {kind} on {path} of the box"))
}

fn hardened() -> MsFlags {
    MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC
}

fn kernel_views() -> Result<(), AgentError> {
    for path in ["/proc", "/sys", "/dev", "/etc"] {
        directory(path)?;
    }
    mount_at("proc", "/proc", hardened(), None)?;
    mount_at("sysfs", "/sys", hardened() | MsFlags::MS_RDONLY, None)?;
    mount_at("cgroup2", "/sys/fs/cgroup", hardened() | MsFlags::MS_RDONLY, None)
}

fn dev(devices: &[(&str, OwnedFd)]) -> Result<(), AgentError> {
    let step = |path: &str| format!("make {path} in the box");
    mount_at("tmpfs", "/dev", MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("size=64k,mode=0755"))?;
    for (name, tree) in devices {
        let path = format!("/dev/{name}");
        let place = OpenOptions::new().write(true).create_new(true).mode(0o666).open(&path);
        attach(tree.as_fd(), place.step(|| step(&path))?.as_fd()).step(|| step(&path))?;
    }
    for (target, path) in LINKS {
        symlink(target, path).step(|| step(path))?;
    }
    for path in ["/dev/pts", "/dev/shm", "/dev/mqueue"] {
        fs::create_dir(path).step(|| step(path))?;
    }
    let terminals = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount_at("devpts", "/dev/pts", terminals, Some("newinstance,ptmxmode=0666,mode=0620,gid=5"))?;
    mount_at("tmpfs", "/dev/shm", hardened(), Some("mode=1777"))?;
    // Kernels without POSIX message queues have nothing to mount.
    let _ = mount_virtual("mqueue", Path::new("/dev/mqueue"), hardened(), None);
    Ok(())
}

fn bind_file(root: &OwnedFd, file: &BoxFile, tree: &OwnedFd) -> Result<(), AgentError> {
    let target = Path::new(file.target);
    let step = || format!("put /{} into the box", file.target);
    // The image's symbolic link is followed inside the box.
    let place = match (open_in_root(root.as_fd(), target, OFlag::O_PATH), file.condition) {
        (Ok(place), Condition::Always) => place,
        (Ok(place), Condition::WhereEmpty) => match nix::sys::stat::fstat(&place).step(step)?.st_size {
            0 => place,
            _ => return Ok(()),
        },
        (Err(_), Condition::WhereEmpty) => return Ok(()),
        (Err(_), Condition::Always) => keeping_time(Path::new("/etc"), || {
            let create = OFlag::O_WRONLY | OFlag::O_CREAT;
            open_in_root(root.as_fd(), target, create).or_else(|_| {
                // A link that leads nowhere makes room for the file.
                fs::remove_file(Path::new("/").join(target)).step(step)?;
                open_in_root(root.as_fd(), target, create).step(step)
            })
        })?,
    };
    attach(tree.as_fd(), place.as_fd()).step(step)
}

fn restrict() -> Result<(), AgentError> {
    for path in MASKED {
        let Ok(found) = fs::symlink_metadata(path) else { continue };
        if found.is_dir() {
            mount_at("tmpfs", path, hardened() | MsFlags::MS_RDONLY, Some("size=0,mode=0555"))?;
        } else {
            let hide = || format!("hide {path} from the box");
            mount(Some("/dev/null"), path, None::<&str>, MsFlags::MS_BIND, None::<&str>).step(hide)?;
        }
    }
    for path in READ_ONLY {
        if fs::symlink_metadata(path).is_ok() {
            make_read_only(Path::new(path)).step(|| format!("make {path} of the box read-only"))?;
        }
    }
    Ok(())
}
