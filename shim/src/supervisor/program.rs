//! Whether the owner is still the program that started the box. A process may become another program by `exec`, and a
//! forked child of it keep the socket open: then neither the pidfd nor the socket says anything.
//!
//! The owner holds a process-owned lock on a file that it shares with this process; its end, its `exec` and its dropping
//! the box give that up. There is no event for a lock that comes free, so a thread waits for it.

use std::io;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use tokio::sync::watch;

use super::log::log;
use crate::sys;

/// The thread makes one system call and writes one line at most.
const STACK: usize = 64 * 1024;

/// A watch over the lock.
pub(crate) struct Program {
    gone: watch::Receiver<bool>,
}

impl Program {
    /// Begins to watch the file that the owner has locked. Call it when signals are blocked: the thread is to get none.
    pub(crate) fn watch(locked: OwnedFd) -> io::Result<Self> {
        let (tell, gone) = watch::channel(false);
        let wait = move || match wait_for(&locked) {
            // Nobody listens any more when the box has ended meanwhile.
            Ok(()) => drop(tell.send(true)),
            Err(error) => log!("the owner's lock can't be waited for: {error}"),
        };
        // It is never joined: it ends when the lock comes free, or with the process.
        std::thread::Builder::new().name("owner's lock".into()).stack_size(STACK).spawn(wait)?;
        Ok(Self { gone })
    }

    /// Returns when the owner has given its lock up.
    pub(crate) async fn gone(&self) {
        if self.gone.clone().wait_for(|gone| *gone).await.is_err() {
            // It could not be waited for; the other signs remain.
            std::future::pending().await
        }
    }
}

fn wait_for(locked: &OwnedFd) -> io::Result<()> {
    let whole = sys::whole_file();
    loop {
        match fcntl(locked, FcntlArg::F_SETLKW(&whole)) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
