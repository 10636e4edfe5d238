//! This copy's lane of the transfer disk.
//!
//! Owns the device's descriptor and the lock on the lane: a process of an earlier copy, killed but not gone yet, may still
//! write there. Knows nothing of what the bytes are.

use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::{Duration, Instant};

use boxlite_archive::PlaceError;
use boxlite_archive::direct::SECTOR;
use boxlite_proto::copy;
use boxlite_proto::transfer::{LANE_BYTES, LANES, SLOT_BYTES, slot_offset};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

/// For whoever is about to leave the lane.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(5);
/// The disk, for messages.
const PLACE: &str = "the transfer disk";

/// A lane that is locked. Its end as a process's is its unlocking, when nothing that was begun can reach the disk any more.
#[derive(Debug)]
pub(super) struct Lane {
    disk: File,
    number: u32,
}

impl Lane {
    /// The lane with this number, once nobody else has it; `None` when there is no disk, or somebody doesn't leave it.
    pub(super) fn open(number: u32) -> io::Result<Option<Self>> {
        // SAFETY: asks about a number.
        if number >= LANES || unsafe { libc::fcntl(copy::DISK, libc::F_GETFD) } < 0 {
            return Ok(None);
        }
        // SAFETY: the agent has passed this descriptor for this purpose alone, and it is taken once.
        let disk = File::from(unsafe { OwnedFd::from_raw_fd(copy::DISK) });
        let lock = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: slot_offset(number, 0).cast_signed(),
            l_len: LANE_BYTES.cast_signed(),
            l_pid: 0,
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            match fcntl(&disk, FcntlArg::F_OFD_SETLK(&lock)) {
                Ok(_) => return Ok(Some(Self { disk, number })),
                Err(Errno::EAGAIN | Errno::EACCES) if Instant::now() < deadline => thread::sleep(PAUSE),
                Err(Errno::EAGAIN | Errno::EACCES) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads whole sectors from the beginning of a slot.
    pub(super) fn read(&self, slot: u32, sectors: &mut [u8]) -> io::Result<()> {
        let failed = PlaceError::mark("read", PLACE);
        self.disk.read_exact_at(sectors, slot_offset(self.number, slot)).map_err(failed)
    }

    /// Writes whole sectors into a slot, from `at` bytes on.
    pub(super) fn write(&self, slot: u32, sectors: &[u8], at: usize) -> io::Result<()> {
        debug_assert!(at + sectors.len() <= SLOT_BYTES as usize && at.is_multiple_of(SECTOR));
        let failed = PlaceError::mark("write to", PLACE);
        self.disk.write_all_at(sectors, slot_offset(self.number, slot) + at as u64).map_err(failed)
    }
}
