//! The end of the process tree: whatever this subreaper has inherited is killed and reaped.

use std::fs;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Leaves no descendant behind. Each round takes one generation: the children of the killed come to us.
pub(crate) fn end_all() {
    loop {
        let children = children();
        for child in &children {
            // It is unreaped, so the number is still its own.
            let _ = kill(*child, Signal::SIGKILL);
        }
        // Nothing known to have been killed: whatever is there (the list needs a kernel option) is not waited for.
        let patience = if children.is_empty() { WaitPidFlag::WNOHANG } else { WaitPidFlag::empty() };
        match waitpid(None, Some(WaitPidFlag::__WALL | patience)) {
            Err(Errno::ECHILD) => return,
            Err(Errno::EINTR) | Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) => {}
            Ok(_) | Err(_) => return,
        }
    }
}

fn children() -> Vec<Pid> {
    let list = format!("/proc/self/task/{}/children", std::process::id());
    let text = fs::read_to_string(list).unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect()
}
