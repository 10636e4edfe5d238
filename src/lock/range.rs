//! Process-owned `fcntl` locks on ranges of bytes: taken or given up at once, never waited for.
//!
//! They end with the process, with `exec` where the descriptor does, and with the closing of any descriptor of the file
//! by the process; a forked child has none of them.

use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

/// Start and length.
pub(crate) type Range = (libc::off_t, libc::off_t);

/// All bytes there are and will be.
pub(crate) const WHOLE: Range = (0, 0);

/// Locks a range against all other processes; `false` when one of them has some of it.
pub(crate) fn lock(file: impl AsFd, range: Range) -> io::Result<bool> {
    set(file, libc::F_WRLCK, range)
}

/// Gives a range up.
pub(super) fn unlock(file: impl AsFd, range: Range) -> io::Result<()> {
    set(file, libc::F_UNLCK, range).map(drop)
}

fn set(file: impl AsFd, kind: libc::c_int, (start, length): Range) -> io::Result<bool> {
    let range = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start,
        l_len: length,
        l_pid: 0,
    };
    loop {
        match fcntl(&file, FcntlArg::F_SETLK(&range)) {
            Ok(_) => return Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => return Ok(false),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
