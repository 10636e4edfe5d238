//! QEMU's virtserialport as an asynchronous byte pipe.
//!
//! Owns waiting for a host at the port's other end, and reading and writing while one is there. The port is hung up
//! as long as nobody is there, and the reactor keeps a hang-up for good: so each visit has a registration of its
//! own, and waiting for the next goes through an epoll instance that passes on changes only.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::io::{AsyncRead, AsyncWrite};
use nix::fcntl::{OFlag, open};
use nix::poll::PollTimeout;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::stat::Mode;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::sys::{is_hung_up, poll_read, poll_write, register};

/// The port, with or without a host.
#[derive(Debug)]
pub(crate) struct SerialPort {
    fd: OwnedFd,
}

impl SerialPort {
    /// Opens the device.
    pub(crate) fn open(device: &Path) -> io::Result<Self> {
        let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        Ok(Self { fd: open(device, flags, Mode::empty())? })
    }

    /// Whether no host is there.
    pub(super) fn is_alone(&self) -> bool {
        is_hung_up(self.fd.as_fd())
    }

    /// Returns when a host is there.
    pub(crate) async fn host(&self) -> io::Result<Visit> {
        if self.is_alone() {
            let changes = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
            let every = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
            changes.add(&self.fd, EpollEvent::new(every, 0))?;
            let changes = register(changes.0, Interest::READABLE)?;
            while self.is_alone() {
                let mut guard = changes.readable().await?;
                take_change(changes.get_ref())?;
                guard.clear_ready();
            }
        }
        Ok(Visit { fd: register(self.fd.try_clone()?, Interest::READABLE | Interest::WRITABLE)? })
    }
}

/// Takes the change out of the epoll instance, so that only the next one makes it readable again.
fn take_change(changes: &OwnedFd) -> io::Result<()> {
    let changes = Epoll(changes.try_clone()?);
    changes.wait(&mut [EpollEvent::empty()], PollTimeout::ZERO)?;
    Ok(())
}

/// The port while a host is there; its end of file is the end of the visit.
#[derive(Debug)]
pub(crate) struct Visit {
    fd: AsyncFd<OwnedFd>,
}

impl AsyncRead for Visit {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        poll_read(&self.fd, cx, buf)
    }
}

impl AsyncWrite for Visit {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        poll_write(&self.fd, cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
