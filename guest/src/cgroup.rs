//! One cgroup per execution, all of them below the box's, apart from the agent's.
//!
//! Owns the layout `/agent` (the agent and the box's init), `/box` (limits of the whole box), `/box/<n>` (one
//! execution) and the files in it. Decides no policy but the default number of processes.

use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::mount::MsFlags;
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use tokio::io::Interest;

use crate::error::{AgentError, Context};
use crate::sys::mounts::mount_virtual;
use crate::sys::{lock, register};

const ROOT: &str = "/sys/fs/cgroup";
const AGENT: &str = "/sys/fs/cgroup/agent";
const BOX: &str = "/sys/fs/cgroup/box";
const CONTROLLERS: &str = "+cpu +memory +pids";
/// Memory that processes of the box can't take from the agent.
const AGENT_RESERVE: &str = "33554432";
/// Most processes and threads of a box when the host says nothing.
const DEFAULT_PIDS_MAX: u32 = 32_768;

/// Mounts the tree and takes the agent out of the box's part of it. The agent's cgroup *namespace* has the box's
/// cgroup as its root, and so has every process forked from now on: a box sees its own executions only.
pub(crate) fn prepare() -> Result<(), AgentError> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount_virtual("cgroup2", Path::new(ROOT), flags, None).step(|| format!("mount cgroup2 on {ROOT}"))?;
    put(ROOT, "cgroup.subtree_control", CONTROLLERS)?;
    fs::create_dir(AGENT).step(|| format!("make {AGENT}"))?;
    fs::create_dir(BOX).step(|| format!("make {BOX}"))?;
    put(BOX, "cgroup.procs", "0")?;
    unshare(CloneFlags::CLONE_NEWCGROUP).step(|| "unshare the cgroup namespace".into())?;
    put(AGENT, "cgroup.procs", "0")?;
    put(AGENT, "memory.min", AGENT_RESERVE)?;
    put(BOX, "cgroup.subtree_control", CONTROLLERS)
}

fn put(directory: &str, file: &str, value: &str) -> Result<(), AgentError> {
    let path = Path::new(directory).join(file);
    fs::write(&path, value).step(|| format!("write '{value}' to {}", path.display()))
}

/// The cgroup that holds all executions of the box.
#[derive(Debug)]
pub(crate) struct BoxCgroup {
    dir: Arc<OwnedFd>,
    next: AtomicU64,
    /// Made ahead, since making one is a good part of starting a process.
    spare: Mutex<Option<ExecCgroup>>,
}

/// Upper bounds for one execution; `None` is "no bound".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) pids: Option<u64>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) cpu_millis: Option<u64>,
}

impl BoxCgroup {
    /// Opens the box's cgroup and bounds its number of processes (0: the default).
    pub(crate) fn open(pids_max: u32) -> Result<Self, AgentError> {
        let pids_max = if pids_max == 0 { DEFAULT_PIDS_MAX } else { pids_max };
        put(BOX, "pids.max", &pids_max.to_string())?;
        let dir =
            open(BOX, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).step(|| format!("open {BOX}"))?;
        Ok(Self { dir: Arc::new(dir), next: AtomicU64::new(1), spare: Mutex::new(None) })
    }

    fn make(&self) -> io::Result<ExecCgroup> {
        let name = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        mkdirat(&*self.dir, name.as_str(), Mode::from_bits_retain(0o755))?;
        let dir = openat(&*self.dir, name.as_str(), OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(ExecCgroup { parent: Arc::clone(&self.dir), dir, name })
    }

    /// Makes one ahead, at a moment when nobody waits.
    pub(crate) fn prepare_spare(&self) {
        let mut spare = lock(&self.spare);
        if spare.is_none() {
            // Without one the next execution makes its own, and tells why it can't.
            *spare = self.make().ok();
        }
    }

    /// A fresh cgroup for one execution.
    pub(crate) fn create(&self, bounds: Bounds) -> io::Result<ExecCgroup> {
        let spare = lock(&self.spare).take();
        let cgroup = match spare {
            Some(spare) => spare,
            None => self.make()?,
        };
        for (file, value) in bound_files(bounds) {
            if let Err(error) = write_at(cgroup.dir.as_fd(), file, &value) {
                let _ = cgroup.remove();
                return Err(error);
            }
        }
        Ok(cgroup)
    }

    /// SIGKILL to everything in the box.
    pub(crate) fn kill(&self) -> io::Result<()> {
        write_at(self.dir.as_fd(), "cgroup.kill", "1")
    }

    /// Some process of the box is alive.
    pub(crate) fn is_populated(&self) -> bool {
        is_populated(self.dir.as_fd())
    }

    /// Returns when no process of the box is alive any more.
    pub(crate) async fn emptied(&self) -> io::Result<()> {
        emptied(self.dir.as_fd()).await
    }

    /// Processes and threads of the box.
    pub(crate) fn processes(&self) -> u64 {
        read_at(self.dir.as_fd(), "pids.current").ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }
}

/// The cgroup of one execution.
#[derive(Debug)]
pub(crate) struct ExecCgroup {
    parent: Arc<OwnedFd>,
    dir: OwnedFd,
    name: String,
}

impl ExecCgroup {
    /// The directory, to start a process in.
    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// SIGKILL to everything in it, children that called setsid included.
    pub(crate) fn kill(&self) -> io::Result<()> {
        write_at(self.dir.as_fd(), "cgroup.kill", "1")
    }

    /// The pids in it, in the agent's numbering.
    pub(crate) fn pids(&self) -> Vec<i32> {
        let text = read_at(self.dir.as_fd(), "cgroup.procs").unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect()
    }

    /// The OOM killer has taken something in it.
    pub(crate) fn was_oom_killed(&self) -> bool {
        let text = read_at(self.dir.as_fd(), "memory.events").unwrap_or_default();
        keyed(&text, "oom_kill").is_some_and(|count| count > 0)
    }

    /// Returns when nothing in it is alive any more.
    pub(crate) async fn emptied(&self) -> io::Result<()> {
        emptied(self.dir.as_fd()).await
    }

    /// Removes it; `EBUSY` while something in it is alive.
    pub(crate) fn remove(&self) -> nix::Result<()> {
        unlinkat(&*self.parent, self.name.as_str(), UnlinkatFlags::RemoveDir)
    }

    /// Removes it as soon as nothing in it is alive any more.
    pub(crate) async fn remove_when_empty(&self) {
        while self.remove() == Err(Errno::EBUSY) {
            if self.emptied().await.is_err() {
                return;
            }
        }
    }
}

fn bound_files(bounds: Bounds) -> impl Iterator<Item = (&'static str, String)> {
    /// Period over which a CPU share is granted, in microseconds.
    const PERIOD_US: u64 = 100_000;
    let cpu = |millis: u64| format!("{} {PERIOD_US}", (millis.saturating_mul(PERIOD_US) / 1000).max(1000));
    [
        ("pids.max", bounds.pids.map(|pids| pids.to_string())),
        ("memory.max", bounds.memory_bytes.map(|bytes| bytes.to_string())),
        ("cpu.max", bounds.cpu_millis.map(cpu)),
    ]
    .into_iter()
    .filter_map(|(file, value)| Some((file, value?)))
}

fn write_at(dir: BorrowedFd<'_>, file: &str, value: &str) -> io::Result<()> {
    let fd = openat(dir, file, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    nix::unistd::write(&fd, value.as_bytes())?;
    Ok(())
}

fn read_at(dir: BorrowedFd<'_>, file: &str) -> io::Result<String> {
    let fd = openat(dir, file, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut text = String::new();
    fs::File::from(fd).read_to_string(&mut text)?;
    Ok(text)
}

/// The number behind `key` in a file of "key number" lines.
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok())
}

fn is_populated(dir: BorrowedFd<'_>) -> bool {
    read_at(dir, "cgroup.events").is_ok_and(|text| keyed(&text, "populated") == Some(1))
}

/// Waits for `populated 0`; the kernel raises POLLPRI on each change, so nothing is asked twice.
async fn emptied(dir: BorrowedFd<'_>) -> io::Result<()> {
    let fd = openat(dir, "cgroup.events", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let events = register(fd, Interest::PRIORITY)?;
    loop {
        let mut buf = [0; 128];
        let n = nix::sys::uio::pread(events.get_ref(), &mut buf, 0)?;
        if keyed(&String::from_utf8_lossy(&buf[..n]), "populated") == Some(0) {
            return Ok(());
        }
        events.ready(Interest::PRIORITY).await?.clear_ready();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_whole_key() {
        let events = "low 0\noom 7\noom_kill 2\noom_group_kill 9\n";
        assert_eq!(keyed(events, "oom_kill"), Some(2));
        assert_eq!(keyed(events, "oom"), Some(7));
        assert_eq!(keyed(events, "kill"), None);
        assert_eq!(keyed("populated x\n", "populated"), None);
    }

    #[test]
    fn only_given_bounds_are_written() {
        let all = Bounds { pids: Some(5), memory_bytes: Some(4096), cpu_millis: Some(1500) };
        assert_eq!(
            bound_files(all).collect::<Vec<_>>(),
            [
                ("pids.max", "5".to_owned()),
                ("memory.max", "4096".to_owned()),
                ("cpu.max", "150000 100000".to_owned())
            ]
        );
        assert_eq!(bound_files(Bounds::default()).count(), 0);
        let tiny = Bounds { cpu_millis: Some(1), ..Bounds::default() };
        assert_eq!(bound_files(tiny).next(), Some(("cpu.max", "1000 100000".to_owned())));
    }
}
