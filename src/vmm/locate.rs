//! Finds the shim of a box, whatever its row and its pid file say: a pid counts only when its process is a shim of this
//! box, and a shim that nothing names is found by the lock it holds.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::{FcntlArg, fcntl};

use super::tree;
use crate::layout::BoxLayout;
use crate::model::id::BoxID;
use crate::util::{PidRecord, process_start_time};

/// Whether the process that is recorded as the box's shim is that, and alive.
pub(crate) fn is_shim(id: &BoxID, pid: Option<u32>, start_time: Option<u64>, paths: &BoxLayout) -> bool {
    pid.is_some_and(|pid| {
        let started = process_start_time(pid);
        (start_time.is_none() || started == start_time) && tree::is_shim(pid, id, paths.dir())
    })
}

/// The living shim of the box: the recorded one, else the one that has the box's lock. Blocks for less than a
/// millisecond, but for a few when the lock's file is gone and every process is looked at.
pub(crate) fn locate(
    id: &BoxID,
    pid: Option<u32>,
    start_time: Option<u64>,
    paths: &BoxLayout,
) -> Option<PidRecord> {
    let found = match pid.filter(|_| is_shim(id, pid, start_time, paths)) {
        Some(recorded) => recorded,
        None => match lock_owner(&paths.shim_lock()) {
            Ok(owner) => owner.filter(|pid| tree::is_shim(*pid, id, paths.dir()))?,
            Err(_) => tree::processes_of(id, paths.dir())
                .into_iter()
                .find(|pid| tree::is_shim(*pid, id, paths.dir()))?,
        },
    };
    Some(PidRecord { pid: found, start_time: Some(process_start_time(found)?) })
}

/// The process that has the lock on the file at `path`.
fn lock_owner(path: &Path) -> io::Result<Option<u32>> {
    // Closing it drops locks of this process on the file: there are none, as the lock is the shim's alone.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_GETLK(&mut lock))?;
    // In another pid namespace the owner has no number here.
    Ok(u32::try_from(lock.l_pid).ok().filter(|pid| lock.l_type != libc::F_UNLCK as libc::c_short && *pid > 0))
}
