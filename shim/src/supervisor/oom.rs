//! Whether the host's kernel has killed for want of memory: its own counters, read before a machine starts and after its end.
//!
//! Owns where they are. What a count means for the box is `exit`'s to decide. Linux counts a process that it kills for want
//! of memory in the control group of that process, whichever group, or the whole host, ran out, and before it is killed.

use std::fs;
use std::path::{Path, PathBuf};

/// Key of the count, in all three kinds of files.
const KEY: &str = "oom_kill";
/// The host's count, of all its processes: for want of a better one.
const HOST: &str = "/proc/vmstat";
const GROUPS: &str = "/proc/self/cgroup";
const MOUNTS: &str = "/proc/self/mountinfo";

/// The counts as they were at some moment.
#[derive(Debug)]
pub(crate) struct OomKills {
    /// Of this process's control group, which is its children's.
    own: Option<Count>,
    host: Option<Count>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Count {
    file: PathBuf,
    kills: u64,
}

impl OomKills {
    /// As they are now.
    pub(crate) fn now() -> Self {
        let text = |file| fs::read_to_string(file).unwrap_or_default();
        let files = files(&text(GROUPS), &text(MOUNTS));
        Self { own: files.into_iter().find_map(Count::read), host: Count::read(HOST.into()) }
    }

    /// Whether something of this process's control group has been killed for want of memory since then; where the group
    /// does not tell or is another now, whether something on this host has.
    pub(crate) fn have_risen(&self) -> bool {
        rose(self, &Self::now())
    }
}

fn rose(before: &OomKills, now: &OomKills) -> bool {
    match (&before.own, &now.own) {
        (Some(before), Some(now)) if before.file == now.file => now.kills > before.kills,
        _ => matches!((&before.host, &now.host), (Some(before), Some(now)) if now.kills > before.kills),
    }
}

impl Count {
    fn read(file: PathBuf) -> Option<Self> {
        let text = fs::read_to_string(&file).ok()?;
        let kills = text.lines().find_map(|line| line.strip_prefix(KEY)?.strip_prefix(' ')?.parse().ok())?;
        Some(Self { file, kills })
    }
}

/// Where the count of a process with these control groups may be, from what it knows of its mounts: of version 2, else of
/// version 1, whose tree for memory alone counts.
fn files(groups: &str, mounts: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (controller, kind, option, file) in
        [("", "cgroup2", None, "memory.events"), ("memory", "cgroup", Some("memory"), "memory.oom_control")]
    {
        // "4:cpu,memory:/path"; of version 2 "0::/path".
        let own = groups.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            controllers.split(',').any(|name| name == controller).then_some(path)
        });
        let Some(own) = own else { continue };
        let places = mounts.lines().filter_map(Mount::parse);
        let fitting = places.filter(|mount| {
            mount.kind == kind
                && option.is_none_or(|option| mount.options.split(',').any(|own| own == option))
        });
        found.extend(fitting.filter_map(|mount| Some(mount.at(own)?.join(file))));
    }
    found
}

/// A line of `mountinfo`, as far as it matters.
struct Mount<'a> {
    /// The directory of the file system that is mounted.
    root: &'a str,
    place: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (of_mount, of_system) = line.split_once(" - ")?;
        let mut of_mount = of_mount.split(' ').skip(3);
        let mut of_system = of_system.split(' ');
        let (root, place) = (of_mount.next()?, of_mount.next()?);
        let (kind, options) = (of_system.next()?, of_system.nth(1)?);
        Some(Self { root, place, kind, options })
    }

    /// Where the group is that the process knows by this path; `None` when it is not below what is mounted.
    fn at(&self, group: &str) -> Option<PathBuf> {
        Some(Path::new(self.place).join(Path::new(group).strip_prefix(self.root).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_in_either_version_of_control_groups() {
        let unified = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(
            files("0::/user.slice/a\n", unified),
            [Path::new("/sys/fs/cgroup/user.slice/a/memory.events")]
        );
        let split = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                     33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                     34 31 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(
            files("4:memory:/x\n1:cpu:/y\n0::/\n", split),
            [
                Path::new("/sys/fs/cgroup/unified/memory.events"),
                Path::new("/sys/fs/cgroup/memory/x/memory.oom_control")
            ]
        );
        // In a container that sees the host's paths, and its own part of the tree only.
        let part = "40 31 0:30 /docker/a /sys/fs/cgroup/memory ro - cgroup cgroup rw,hugetlb,memory\n";
        let own = [PathBuf::from("/sys/fs/cgroup/memory/b/memory.oom_control")];
        assert_eq!(files("4:hugetlb,memory:/docker/a/b\n", part), own);
        assert!(files("4:memory:/elsewhere\n", part).is_empty());
        assert!(files("", "").is_empty());
    }

    #[test]
    fn the_own_group_counts_before_the_host_as_long_as_it_is_the_same() {
        let count = |file: &str, kills| Some(Count { file: file.into(), kills });
        let counts = |own, host| OomKills { own, host };
        let before = counts(count("/a", 2), count(HOST, 5));
        assert!(!rose(&before, &counts(count("/a", 2), count(HOST, 6))), "somebody else's");
        assert!(rose(&before, &counts(count("/a", 3), count(HOST, 6))));
        assert!(rose(&before, &counts(count("/b", 0), count(HOST, 6))));
        assert!(!rose(&before, &counts(count("/b", 9), count(HOST, 5))));
        assert!(rose(&counts(None, count(HOST, 5)), &counts(None, count(HOST, 6))));
        assert!(!rose(&counts(None, None), &counts(None, count(HOST, 6))));
    }

    #[test]
    fn this_machine_counts() {
        let now = OomKills::now();
        assert!(now.own.is_some() || now.host.is_some(), "{now:?}");
    }
}
