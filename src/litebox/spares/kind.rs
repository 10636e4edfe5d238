//! What a spare is like: the image that it has, and what a box can't be given any more once its machine runs.

use boxlite_proto::shim::DiskCache;

use crate::litebox::spec::{BoxSpec, RawBoxExtras, Rootfs};
use crate::model::options::{BoxOptions, Engine, RootfsSpec};

/// Boxes of one kind can take each other's machine as it is. Those of another image, but otherwise alike, can take it
/// when it has been given theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// As the box names it; what that stands for may have changed since.
    rootfs: Rootfs,
    machine: Machine,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Machine {
    cpus: u8,
    memory_mib: u32,
    disk_size_gb: u64,
    disk_cache: DiskCache,
    engine: Option<Engine>,
}

impl Kind {
    pub(super) fn of(spec: &BoxSpec) -> Self {
        let machine = Machine {
            cpus: spec.cpus(),
            memory_mib: spec.memory().0,
            disk_size_gb: spec.disk_size_gb(),
            disk_cache: spec.options.disk_cache,
            engine: spec.options.engine,
        };
        Self { rootfs: spec.rootfs(), machine }
    }

    /// A box of this kind with nothing else asked for.
    pub(super) fn spec(&self) -> BoxSpec {
        let Machine { cpus, memory_mib, disk_size_gb, disk_cache, engine } = self.machine;
        let mut options = BoxOptions {
            cpus: Some(cpus),
            memory_mib: Some(memory_mib),
            disk_size_gb: Some(disk_size_gb),
            disk_cache,
            engine,
            ..BoxOptions::default()
        };
        let mut extras = RawBoxExtras::default();
        match &self.rootfs {
            Rootfs::Image(reference) => options.rootfs = RootfsSpec::Image(reference.clone()),
            Rootfs::Directory(path) => extras.rootfs_path = Some(path.clone().into_os_string().into()),
        }
        BoxSpec { options, extras }
    }

    /// Whether all but the image is the same.
    pub(super) fn has_machine_of(&self, other: &Self) -> bool {
        self.machine == other.machine
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        u64::from(self.machine.memory_mib) << 20
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_a_command_or_the_claim_decides_makes_no_kind() {
        let plain = BoxSpec { options: BoxOptions::default(), extras: RawBoxExtras::default() };
        let mut other = plain.clone();
        other.options.env.push(("A".into(), "b".into()));
        other.options.user = Some("1000".into());
        other.options.detach = true;
        other.options.pids_max = Some(9);
        other.options.cpu_millis = Some(9);
        other.options.max_open_files = Some(9);
        other.options.max_lifetime = Some(Duration::from_secs(9));
        other.options.idle_timeout = Some(Duration::from_secs(9));
        other.options.labels.insert("a".into(), "b".into());
        assert_eq!(Kind::of(&plain), Kind::of(&other));
        assert_eq!(Kind::of(&plain), Kind::of(&Kind::of(&plain).spec()));
        for change in [
            |options: &mut BoxOptions| options.cpus = Some(2),
            |options: &mut BoxOptions| options.memory_mib = Some(300),
            |options: &mut BoxOptions| options.disk_size_gb = Some(3),
            |options: &mut BoxOptions| options.disk_cache = DiskCache::Unsafe,
        ] {
            let mut other = plain.clone();
            change(&mut other.options);
            assert!(!Kind::of(&plain).has_machine_of(&Kind::of(&other)));
        }
        for rootfs in [RootfsSpec::Image("other".into()), RootfsSpec::RootfsPath("/srv".into())] {
            let mut other = plain.clone();
            other.options.rootfs = rootfs;
            let other = Kind::of(&other);
            assert_ne!(Kind::of(&plain), other);
            assert!(Kind::of(&plain).has_machine_of(&other));
            assert_eq!(Kind::of(&other.spec()), other);
        }
    }
}
