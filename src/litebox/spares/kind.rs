//! What a spare is like: all that a box can't be given any more once its machine runs.

use boxlite_proto::shim::DiskCache;

use crate::litebox::spec::{BoxSpec, RawBoxExtras, Rootfs};
use crate::model::options::{BoxOptions, Engine, RootfsSpec};

/// Boxes of one kind can take each other's machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    reference: String,
    cpus: u8,
    memory_mib: u32,
    disk_size_gb: u64,
    disk_cache: DiskCache,
    engine: Option<Engine>,
}

impl Kind {
    /// `None` for a box that no spare is made for: one from a directory, whose content may change at any time.
    pub(super) fn of(spec: &BoxSpec) -> Option<Self> {
        let Rootfs::Image(reference) = spec.rootfs() else { return None };
        Some(Self {
            reference,
            cpus: spec.cpus(),
            memory_mib: spec.memory().0,
            disk_size_gb: spec.disk_size_gb(),
            disk_cache: spec.options.disk_cache,
            engine: spec.options.engine,
        })
    }

    /// A box of this kind with nothing else asked for.
    pub(super) fn spec(&self) -> BoxSpec {
        let options = BoxOptions {
            rootfs: RootfsSpec::Image(self.reference.clone()),
            cpus: Some(self.cpus),
            memory_mib: Some(self.memory_mib),
            disk_size_gb: Some(self.disk_size_gb),
            disk_cache: self.disk_cache,
            engine: self.engine,
            ..BoxOptions::default()
        };
        BoxSpec { options, extras: RawBoxExtras::default() }
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        u64::from(self.memory_mib) << 20
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_command_or_a_name_decides_makes_no_kind() {
        let plain = BoxSpec { options: BoxOptions::default(), extras: RawBoxExtras::default() };
        let mut other = plain.clone();
        other.options.env.push(("A".into(), "b".into()));
        other.options.user = Some("1000".into());
        other.options.detach = true;
        other.options.labels.insert("a".into(), "b".into());
        assert_eq!(Kind::of(&plain), Kind::of(&other));
        assert_eq!(Kind::of(&plain), Kind::of(&Kind::of(&plain).unwrap().spec()));
        for change in [
            |options: &mut BoxOptions| options.cpus = Some(2),
            |options: &mut BoxOptions| options.memory_mib = Some(300),
            |options: &mut BoxOptions| options.disk_size_gb = Some(3),
            |options: &mut BoxOptions| options.disk_cache = DiskCache::Unsafe,
            |options: &mut BoxOptions| options.rootfs = RootfsSpec::Image("other".into()),
        ] {
            let mut other = plain.clone();
            change(&mut other.options);
            assert_ne!(Kind::of(&plain), Kind::of(&other));
        }
        let mut directory = plain;
        directory.options.rootfs = RootfsSpec::RootfsPath("/srv".into());
        assert_eq!(Kind::of(&directory), None);
    }
}
