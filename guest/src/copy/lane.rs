//! This copy's lane of the transfer disk.
//!
//! Owns the device's descriptor and the lock on the lane: a process of an earlier copy, killed but not gone yet, may still
//! write there. Knows nothing of what the bytes are.

use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

use boxlite_archive::direct::SECTOR;
use boxlite_proto::copy;
use boxlite_proto::transfer::{LANE_BYTES, LANES, SLOT_BYTES, slot_offset};
use nix::fcntl::{FcntlArg, fcntl};

/// A lane that is locked. Its end as a process's is its unlocking, when nothing that was begun can reach the disk any more.
#[derive(Debug)]
pub(super) struct Lane {
    disk: File,
    number: u32,
}

impl Lane {
    /// The lane that the arguments name; `None` when the copy has none. Waits for whoever is about to leave it.
    pub(super) fn open(name: &[u8]) -> io::Result<Option<Self>> {
        if name == copy::NO_LANE.as_bytes() {
            return Ok(None);
        }
        let number = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
        let number = number.filter(|number| *number < LANES).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: the agent has passed this descriptor for this purpose alone, and it is taken once.
        let disk = File::from(unsafe { OwnedFd::from_raw_fd(copy::DISK) });
        let lock = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: slot_offset(number, 0).cast_signed(),
            l_len: LANE_BYTES.cast_signed(),
            l_pid: 0,
        };
        fcntl(&disk, FcntlArg::F_OFD_SETLKW(&lock))?;
        Ok(Some(Self { disk, number }))
    }

    /// Reads whole sectors from the beginning of a slot.
    pub(super) fn read(&self, slot: u32, sectors: &mut [u8]) -> io::Result<()> {
        self.disk.read_exact_at(sectors, slot_offset(self.number, slot))
    }

    /// Writes whole sectors into a slot, from `at` bytes on.
    pub(super) fn write(&self, slot: u32, sectors: &[u8], at: usize) -> io::Result<()> {
        debug_assert!(at + sectors.len() <= SLOT_BYTES as usize && at.is_multiple_of(SECTOR));
        self.disk.write_all_at(sectors, slot_offset(self.number, slot) + at as u64)
    }
}
