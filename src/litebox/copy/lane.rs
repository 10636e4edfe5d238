//! One copy's lane of a box's transfer disk, on the host's side.
//!
//! Owns the lock on it and its file. Without a lane, because all are taken or there is no room for one, a copy goes by
//! stream, so only its use can fail.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use boxlite_archive::PlaceError;
use boxlite_proto::transfer::{LANE_BYTES, LANES, slot_offset};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

use crate::litebox::core::Core;
use crate::lock::LockGuard;
use crate::model::id::BoxID;

/// The disk, for messages.
const PLACE: &str = "the box's transfer disk";

/// A lane that no other copy uses, on this side.
#[derive(Debug)]
pub(super) struct Lane {
    disk: File,
    number: u32,
    _lock: LockGuard,
}

impl Lane {
    /// A lane of the box, if there is a free one and room for it on the host: a full disk is noticed here, and not by a
    /// machine. Blocking, but short.
    pub(super) fn claim(core: &Core, id: &BoxID) -> Option<Self> {
        let path = core.layout.of_box(id).transfer_disk();
        let disk = File::options().read(true).write(true).open(path).ok()?;
        (0..LANES)
            .find_map(|number| {
                let lock = core.locks.try_acquire(&format!("{id}-copy-{number}"), "copy").ok()??;
                Some((number, lock))
            })
            .map(|(number, lock)| Self { disk, number, _lock: lock })
            .filter(Self::reserve)
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    fn reserve(&self) -> bool {
        let (from, length) = (slot_offset(self.number, 0).cast_signed(), LANE_BYTES.cast_signed());
        match fallocate(&self.disk, FallocateFlags::empty(), from, length) {
            // A file system that can't reserve: what is written will tell.
            Ok(()) | Err(Errno::EOPNOTSUPP) => true,
            Err(_) => false,
        }
    }

    pub(super) fn write_at(&self, slot: u32, at: u32, bytes: &[u8]) -> io::Result<()> {
        let failed = PlaceError::mark("write to", PLACE);
        self.disk.write_all_at(bytes, slot_offset(self.number, slot) + u64::from(at)).map_err(failed)
    }

    pub(super) fn read_at(&self, slot: u32, at: u32, bytes: &mut [u8]) -> io::Result<()> {
        let failed = PlaceError::mark("read", PLACE);
        self.disk.read_exact_at(bytes, slot_offset(self.number, slot) + u64::from(at)).map_err(failed)
    }
}
