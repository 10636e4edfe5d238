//! One cgroup per execution, all of them below the box's, apart from the agent's.
//!
//! Owns the layout `/agent` (the agent and the box's init), `/box` (limits of the whole box), `/box/<n>` (one
//! execution) and the files in it. Decides no policy but the default number of processes and the period of CPU shares.

use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

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
/// Period over which a CPU share is granted, in microseconds.
const PERIOD_US: u64 = 100_000;
/// Least that the kernel grants of it.
const LEAST_QUOTA_US: u64 = 1000;

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
    /// For the next execution, since making one and removing it again takes a third as long as a process: one made
    /// ahead, or one that another has left empty.
    spare: Mutex<Option<ExecCgroup>>,
    /// What has been written.
    limits: Mutex<Option<BoxLimits>>,
}

/// Upper bounds for the box as a whole, as the host says them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BoxLimits {
    /// 0: the default.
    pub(crate) pids_max: u32,
    /// Thousandths of one CPU; 0: no bound.
    pub(crate) cpu_millis: u32,
}

/// Upper bounds for one execution; `None` is "no bound".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) pids: Option<u64>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) cpu_millis: Option<u64>,
}

impl BoxCgroup {
    /// Opens the box's cgroup and bounds it.
    pub(crate) fn open(limits: BoxLimits) -> Result<Self, AgentError> {
        let dir =
            open(BOX, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).step(|| format!("open {BOX}"))?;
        let cgroup = Self {
            dir: Arc::new(dir),
            next: AtomicU64::new(1),
            spare: Mutex::new(None),
            limits: Mutex::new(None),
        };
        cgroup.limit(limits)?;
        Ok(cgroup)
    }

    /// Bounds the box, where it is not bounded so already: most boxes have the limits of the spare that they were.
    pub(crate) fn limit(&self, limits: BoxLimits) -> Result<(), AgentError> {
        let mut written = lock(&self.limits);
        if *written == Some(limits) {
            return Ok(());
        }
        *written = None;
        for (file, value) in box_files(limits) {
            write_at(self.dir.as_fd(), file, &value)
                .step(|| format!("limit the box: write '{value}' to its {file}"))?;
        }
        *written = Some(limits);
        Ok(())
    }

    fn make(&self) -> io::Result<ExecCgroup> {
        let name = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        mkdirat(&*self.dir, name.as_str(), Mode::from_bits_retain(0o755))?;
        let dir = openat(&*self.dir, name.as_str(), OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        let events = openat(&dir, "cgroup.events", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        let parent = Arc::clone(&self.dir);
        let was_killed = AtomicBool::new(false);
        Ok(ExecCgroup { parent, dir, events, name, has_run: None, is_bounded: false, was_killed })
    }

    /// Makes one ahead, at a moment when nobody waits.
    pub(crate) fn prepare_spare(&self) {
        let mut spare = lock(&self.spare);
        if spare.is_none() {
            // Without one the next execution makes its own, and tells why it can't.
            *spare = self.make().ok();
        }
    }

    /// An empty cgroup for one execution. Where there are bounds nothing has run in it: what is charged to a cgroup
    /// outlives the processes.
    pub(crate) fn create(&self, bounds: Bounds) -> io::Result<ExecCgroup> {
        let is_bounded = bounds != Bounds::default();
        let spare = lock(&self.spare).take_if(|spare| !is_bounded || spare.has_run.is_none());
        let mut cgroup = match spare {
            Some(spare) => spare,
            None => self.make()?,
        };
        cgroup.is_bounded = is_bounded;
        for (file, value) in bound_files(bounds) {
            if let Err(error) = write_at(cgroup.dir.as_fd(), file, &value) {
                let _ = cgroup.remove();
                return Err(error);
            }
        }
        Ok(cgroup)
    }

    /// Keeps a cgroup in which nothing is alive for another execution, or removes it.
    pub(crate) fn take_back(&self, mut cgroup: ExecCgroup) {
        let mut spare = lock(&self.spare);
        let is_as_new = !cgroup.is_bounded && !cgroup.was_killed.load(Ordering::Relaxed);
        if spare.is_none() && is_as_new && cgroup.remember().is_ok() {
            *spare = Some(cgroup);
        } else {
            // One that is never removed does no harm.
            let _ = cgroup.remove();
        }
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

    /// The pids in it, in the agent's numbering.
    pub(crate) fn pids(&self) -> Vec<i32> {
        let here = format!("/proc/self/fd/{}", self.dir.as_raw_fd());
        let entries = fs::read_dir(here).into_iter().flatten();
        // One per execution; the box's own has no processes.
        let executions = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        executions.flat_map(|name| pids_in(self.dir.as_fd(), &format!("{name}/cgroup.procs"))).collect()
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
    events: OwnedFd,
    name: String,
    /// Of the executions before.
    has_run: Option<Past>,
    is_bounded: bool,
    /// Linux 6.12 may kill what starts in it later, too.
    was_killed: AtomicBool,
}

/// What a cgroup remembers of those that ran in it.
#[derive(Debug)]
struct Past {
    memory_events: OwnedFd,
    oom_kills: u64,
}

impl ExecCgroup {
    /// The directory, to start a process in.
    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// SIGKILL to everything in it, children that called setsid included.
    pub(crate) fn kill(&self) -> io::Result<()> {
        self.was_killed.store(true, Ordering::Relaxed);
        write_at(self.dir.as_fd(), "cgroup.kill", "1")
    }

    /// The OOM killer has taken something in it.
    pub(crate) fn was_oom_killed(&self) -> bool {
        let text = read_at(self.dir.as_fd(), "memory.events").unwrap_or_default();
        let before = self.has_run.as_ref().map_or(0, |past| past.oom_kills);
        keyed(&text, "oom_kill").is_some_and(|count| count > before)
    }

    /// Remembers what another execution must not take for its own.
    fn remember(&mut self) -> io::Result<()> {
        let memory_events = match self.has_run.take() {
            Some(past) => past.memory_events,
            None => openat(&self.dir, "memory.events", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?,
        };
        let oom_kills = number_in(memory_events.as_fd(), "oom_kill")?.unwrap_or(0);
        self.has_run = Some(Past { memory_events, oom_kills });
        Ok(())
    }

    /// Returns when nothing in it is alive any more.
    pub(crate) async fn emptied(&self) -> io::Result<()> {
        match number_in(self.events.as_fd(), "populated")? {
            Some(0) => Ok(()),
            _ => emptied(self.dir.as_fd()).await,
        }
    }

    /// Removes it; `EBUSY` while something in it is alive.
    pub(crate) fn remove(&self) -> nix::Result<()> {
        unlinkat(&*self.parent, self.name.as_str(), UnlinkatFlags::RemoveDir)
    }
}

fn pids_in(dir: BorrowedFd<'_>, file: &str) -> Vec<i32> {
    let text = read_at(dir, file).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect()
}

fn box_files(limits: BoxLimits) -> [(&'static str, String); 2] {
    let pids = if limits.pids_max == 0 { DEFAULT_PIDS_MAX } else { limits.pids_max };
    let cpu = if limits.cpu_millis == 0 { "max".to_owned() } else { quota(limits.cpu_millis.into()) };
    [("pids.max", pids.to_string()), ("cpu.max", cpu)]
}

/// So many thousandths of one CPU, as `cpu.max` has it.
fn quota(millis: u64) -> String {
    format!("{} {PERIOD_US}", (millis.saturating_mul(PERIOD_US) / 1000).max(LEAST_QUOTA_US))
}

fn bound_files(bounds: Bounds) -> impl Iterator<Item = (&'static str, String)> {
    [
        ("pids.max", bounds.pids.map(|pids| pids.to_string())),
        ("memory.max", bounds.memory_bytes.map(|bytes| bytes.to_string())),
        ("cpu.max", bounds.cpu_millis.map(quota)),
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

/// The number behind `key` in a short file of "key number" lines, as of now.
fn number_in(file: BorrowedFd<'_>, key: &str) -> io::Result<Option<u64>> {
    let mut buf = [0; 256];
    let n = nix::sys::uio::pread(file, &mut buf, 0)?;
    Ok(std::str::from_utf8(&buf[..n]).ok().and_then(|text| keyed(text, key)))
}

/// The number behind `key` in a text of "key number" lines.
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
        if number_in(events.get_ref().as_fd(), "populated")? == Some(0) {
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

    #[test]
    fn a_box_without_limits_loses_those_it_had() {
        let files =
            |pids_max, cpu_millis| box_files(BoxLimits { pids_max, cpu_millis }).map(|(_, value)| value);
        assert_eq!(files(0, 0), ["32768", "max"]);
        assert_eq!(files(7, 250), ["7", "25000 100000"]);
        assert_eq!(files(0, 256_000), ["32768", "25600000 100000"]);
    }
}
