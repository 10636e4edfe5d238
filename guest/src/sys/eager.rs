//! A descriptor that is tried before the reactor hears of it: what is ready at once, as a short command's end and
//! output are, costs no registration.
//!
//! Owns the descriptor and the moment of its registration. Knows nothing of what is tried.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::task::{Context, Poll, ready};

use nix::errno::Errno;
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

use crate::sys::set_nonblocking;

/// A descriptor to be read.
#[derive(Debug)]
pub(crate) struct EagerFd {
    /// Before the descriptor, so that it goes first. Held for one reader at a time.
    registered: OnceLock<AsyncFd<Number>>,
    fd: OwnedFd,
}

/// The descriptor's number, for the reactor.
#[derive(Debug)]
struct Number(RawFd);

impl AsRawFd for Number {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

impl EagerFd {
    /// Takes a descriptor whose attempts never block.
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self { registered: OnceLock::new(), fd }
    }

    /// Makes a descriptor nonblocking and takes it.
    pub(crate) fn nonblocking(fd: OwnedFd) -> nix::Result<Self> {
        set_nonblocking(fd.as_fd())?;
        Ok(Self::new(fd))
    }

    /// Does what `attempt` says, as soon as that doesn't answer `EAGAIN` any more.
    pub(crate) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut(BorrowedFd<'_>) -> nix::Result<T>,
    ) -> Poll<io::Result<T>> {
        let mut guard: Option<AsyncFdReadyGuard<'_, Number>> = None;
        loop {
            match attempt(self.fd.as_fd()) {
                Err(Errno::EAGAIN) => {}
                Err(Errno::EINTR) => continue,
                result => return Poll::Ready(result.map_err(io::Error::from)),
            }
            // The reactor tells of changes only: readiness from before the attempt may be of the past.
            if let Some(mut ready) = guard.take() {
                AsyncFdReadyGuard::clear_ready(&mut ready);
            }
            guard = Some(ready!(self.registered()?.poll_read_ready(cx))?);
        }
    }

    fn registered(&self) -> io::Result<&AsyncFd<Number>> {
        if let Some(registered) = self.registered.get() {
            return Ok(registered);
        }
        // SAFETY: the number is that of the descriptor we own, which is dropped after this.
        let new = unsafe { AsyncFd::register_with_interest(Number(self.fd.as_raw_fd()), Interest::READABLE) };
        let new = new.map_err(io::Error::from)?;
        Ok(self.registered.get_or_init(|| new))
    }
}

impl AsFd for EagerFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
