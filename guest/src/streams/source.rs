//! Where the bytes of an output stream come from.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::unix::AsyncFd;

use crate::sys::eager::EagerFd;
use crate::sys::poll_read;

/// A process's end of an output stream.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// The read end of a pipe.
    Pipe(Arc<EagerFd>),
    /// The master of a terminal, which also takes input.
    Terminal(Arc<AsyncFd<OwnedFd>>),
}

impl Source {
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Pipe(fd) => fd.as_fd(),
            Self::Terminal(fd) => fd.get_ref().as_fd(),
        }
    }

    pub(super) fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Pipe(fd) => fd.poll(cx, |fd| nix::unistd::read(fd, buf)),
            Self::Terminal(fd) => poll_read(fd, cx, buf),
        }
    }
}
