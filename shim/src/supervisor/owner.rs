//! The owner: the process that started the box. Reports go to it; its going is noticed by three signs.
//!
//! The socket's end, since an owner that lives on can give a box up; a pidfd of it, since a forked child of it may keep
//! the socket open; and a lock that it gives up when it becomes another program, which may be so all the same. A detached
//! box has none of them once it is ready.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use boxlite_proto::shim::{Report, Word};
use nix::sys::socket::{MsgFlags, recv, send};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::log::log;
use super::program::Program;
use crate::sys;

/// Longest message an owner may send after the spec.
const MESSAGE_ROOM: usize = 64 * 1024;

/// The owner's end of things.
pub(crate) struct Owner {
    socket: OwnedFd,
    pidfd: Option<OwnedFd>,
    lock: Option<OwnedFd>,
    program: Option<Program>,
}

impl Owner {
    /// With the signs that came with its request, in the order of the protocol; none for a detached box.
    pub(crate) fn new(socket: OwnedFd, signs: Vec<OwnedFd>) -> Self {
        let mut signs = signs.into_iter();
        Self { socket, pidfd: signs.next(), lock: signs.next(), program: None }
    }

    /// Starts the thread that waits for the owner's lock. Call it when signals are blocked and no more forks are to be
    /// made of a process of one thread.
    pub(crate) fn watch_program(&mut self) -> io::Result<()> {
        self.program = self.lock.take().map(Program::watch).transpose()?;
        Ok(())
    }

    /// Tells the owner. One that is gone, or does not read, must not hold the box up.
    pub(crate) fn report(&self, report: &Report) {
        let Ok(json) = serde_json::to_vec(report) else { return };
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        if let Err(error) = send(self.socket.as_raw_fd(), &json, flags) {
            log!("the owner did not take a report: {error}");
        }
    }

    /// From now on the box lives without its owner.
    pub(crate) fn let_go(&mut self) {
        self.pidfd = None;
        self.program = None;
    }

    /// Returns when the owner is gone or has given the box up; what it says meanwhile is passed over.
    pub(crate) async fn gone(&self) -> io::Result<()> {
        loop {
            match self.word().await? {
                None => return Ok(()),
                Some(word) => log!("passed over {word:?}"),
            }
        }
    }

    /// The owner's next word; `None` when it is gone or has given the box up. Dropping the future loses nothing.
    pub(crate) async fn word(&self) -> io::Result<Option<Word>> {
        let socket = sys::watch(&self.socket, Interest::READABLE)?;
        tokio::select! {
            ended = died(self.pidfd.as_ref()) => ended.map(|()| None),
            word = next_word(&socket) => word,
            () = replaced(self.program.as_ref()) => Ok(None),
        }
    }
}

async fn died(pidfd: Option<&OwnedFd>) -> io::Result<()> {
    match pidfd {
        Some(pidfd) => {
            sys::watch(pidfd, Interest::READABLE)?.readable().await?.retain_ready();
            log!("the owner's process has ended");
            Ok(())
        }
        None => std::future::pending().await,
    }
}

async fn replaced(program: Option<&Program>) {
    match program {
        Some(program) => {
            program.gone().await;
            log!("the owner's process has become another program, or has given the box up");
        }
        None => std::future::pending().await,
    }
}

/// The next message that makes sense; `None` when there will be no more.
async fn next_word(socket: &AsyncFd<OwnedFd>) -> io::Result<Option<Word>> {
    let mut message = vec![0; MESSAGE_ROOM];
    loop {
        let mut ready = socket.readable().await?;
        let got = ready.try_io(|socket| {
            recv(socket.as_raw_fd(), &mut message, MsgFlags::MSG_DONTWAIT).map_err(io::Error::from)
        });
        match got {
            Ok(Ok(0)) => {
                log!("the owner has given the box up");
                return Ok(None);
            }
            Ok(Ok(length)) => match serde_json::from_slice(&message[..length]) {
                Ok(word) => return Ok(Some(word)),
                Err(error) => log!("passed over a message of {length} bytes from the owner: {error}"),
            },
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            // A reset is an end too.
            Ok(Err(error)) => {
                log!("the owner's socket failed: {error}");
                return Ok(None);
            }
            Err(_would_block) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, shutdown, socketpair};
    use std::time::Duration;
    use tokio::time::timeout;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap()
    }

    async fn still_there(owner: &Owner) -> bool {
        timeout(Duration::from_millis(50), owner.gone()).await.is_err()
    }

    #[tokio::test]
    async fn shutdown_is_noticed_though_a_copy_is_open() {
        let (ours, theirs) = pair();
        let copy = theirs.try_clone().unwrap();
        let owner = Owner::new(ours, Vec::new());
        send(theirs.as_raw_fd(), b"{}", MsgFlags::empty()).unwrap();
        assert!(still_there(&owner).await);
        shutdown(theirs.as_raw_fd(), Shutdown::Both).unwrap();
        timeout(Duration::from_secs(60), owner.gone()).await.unwrap().unwrap();
        drop(copy);
    }

    #[tokio::test]
    async fn a_death_is_noticed_though_the_socket_is_open() {
        let (ours, _theirs) = pair();
        let mut process = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let owner = Owner::new(ours, vec![sys::pidfd_open(process.id()).unwrap()]);
        assert!(still_there(&owner).await);
        process.kill().unwrap();
        timeout(Duration::from_secs(60), owner.gone()).await.unwrap().unwrap();
        process.wait().unwrap();
    }

    #[test]
    fn reports_to_nobody_do_no_harm() {
        let (ours, theirs) = pair();
        let owner = Owner::new(ours, Vec::new());
        owner.report(&Report::Started { pid: 1 });
        drop(theirs);
        owner.report(&Report::Started { pid: 1 });
    }
}
