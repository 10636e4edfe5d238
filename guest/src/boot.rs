//! The first moments of the VM: the agent's own mounts, the kernel's settings, the cgroup tree.
//!
//! Owns everything that needs no word from the host. Never touches the image, the box's disk or randomness.

use std::fs;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::sys::resource::{Resource, setrlimit};

use crate::cgroup;
use crate::error::{AgentError, Context};
use crate::exec::child::drop_bounding_set;
use crate::rootfs::layout;
use crate::sys::mounts::mount_virtual;

/// Kernel settings, each with what it is for.
const SETTINGS: [(&str, &str); 8] = [
    // The kernel's default of 4096 is too few for a busy box; a small kernel (CONFIG_BASE_SMALL) allows no more than this.
    ("/proc/sys/kernel/pid_max", "32768"),
    // Links planted in shared directories are followed by their owners only.
    ("/proc/sys/fs/protected_hardlinks", "1"),
    ("/proc/sys/fs/protected_symlinks", "1"),
    // The kernel's log and bpf are the agent's, not the box's.
    ("/proc/sys/kernel/dmesg_restrict", "1"),
    ("/proc/sys/kernel/unprivileged_bpf_disabled", "1"),
    // A user namespace would give any process of the box a full set of capabilities in it, as containers refuse.
    ("/proc/sys/user/max_user_namespaces", "0"),
    // As in containers: no port and no ping needs a capability, since all of the network is the box's own.
    ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"),
    ("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"),
];

/// Largest number of open files that processes of the box may ask for; each starts with a soft limit of 1024.
pub(crate) const OPEN_FILES_MAX: u64 = 1_048_576;

/// Prepares the VM up to the point where only the host's word is missing.
pub(crate) fn prepare() -> Result<(), AgentError> {
    let hardened = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount_early("devtmpfs", "/dev", MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, None)?;
    mount_early("proc", "/proc", hardened, None)?;
    mount_early("sysfs", "/sys", hardened, None)?;
    // The box's /etc/hosts and the like live here, writable by its root: small, so that it can't eat the memory.
    mount_early("tmpfs", layout::RUN, hardened, Some("size=4m,mode=0755"))?;
    for directory in [layout::IMAGE, layout::DISK, layout::ROOT, layout::FILES] {
        fs::create_dir(directory).step(|| format!("make {directory}"))?;
    }
    for (path, value) in SETTINGS {
        // A kernel built without one of these has nothing to protect there.
        let _ = fs::write(path, value);
    }
    setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES_MAX, OPEN_FILES_MAX)
        .step(|| "raise RLIMIT_NOFILE".into())?;
    drop_bounding_set().step(|| "give up what no process of the box may have".into())?;
    // A stream ring is made and freed with every execution: keep such blocks out of the heap, so that the pages
    // go back to the kernel at once instead of staying with the agent.
    // SAFETY: sets a parameter of malloc; the process has one thread.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, 64 * 1024) };
    cgroup::prepare()
}

/// Mounts, unless the kernel or the engine has done it before us.
fn mount_early(kind: &str, at: &str, flags: MsFlags, options: Option<&str>) -> Result<(), AgentError> {
    match mount_virtual(kind, Path::new(at), flags, options) {
        Ok(()) | Err(Errno::EBUSY) => Ok(()),
        Err(error) => Err(error).step(|| format!("mount {kind} on {at}")),
    }
}
