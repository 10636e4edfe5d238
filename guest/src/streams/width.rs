//! How much the pipe between a process and the agent holds: more, once a stream has proved long.
//!
//! Each turn from the process to the agent and back costs an emulated CPU what it has cached of page tables and of
//! translated code. A wide pipe makes the turns few; what is short never pays for one.

use std::os::fd::AsFd;

use nix::fcntl::{FcntlArg, fcntl};

/// Bytes after which a stream is long.
const LONG: u64 = 256 * 1024;
/// Bytes that a wide pipe holds.
const WIDE: libc::c_int = 1024 * 1024;

/// The width of one pipe.
#[derive(Debug, Default)]
pub(super) struct Width {
    is_settled: bool,
}

impl Width {
    /// Says that `total` bytes have gone through the pipe so far.
    pub(super) fn passed(&mut self, pipe: impl AsFd, total: u64) {
        if !self.is_settled && total > LONG {
            self.is_settled = true;
            // One that stays as it is works as well.
            let _ = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(WIDE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_made_wider_once_and_only_for_what_is_long() {
        let (_read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        let holds = || fcntl(&write, FcntlArg::F_GETPIPE_SZ).unwrap();
        let before = holds();
        let mut width = Width::default();
        width.passed(&write, LONG);
        assert_eq!(holds(), before);
        width.passed(&write, LONG + 1);
        assert_eq!(holds(), WIDE);
        fcntl(&write, FcntlArg::F_SETPIPE_SZ(before)).unwrap();
        width.passed(&write, 2 * LONG);
        assert_eq!(holds(), before, "it is done once");
    }
}
