//! QEMU's virtserialport as an asynchronous byte pipe.
//!
//! Owns what the port's odd end-of-file means: a read of 0 says that nobody is at the host's end. Before the first
//! byte of a visit that is "not yet" and waited for; after it, the visit is over.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::io::{AsyncRead, AsyncWrite};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::sys::register;

/// The port. Reads and writes wait for the host without holding the thread.
#[derive(Debug)]
pub(crate) struct SerialPort {
    fd: AsyncFd<OwnedFd>,
    spoken: bool,
}

impl SerialPort {
    /// Opens the device.
    pub(crate) fn open(device: &Path) -> io::Result<Self> {
        let fd = open(device, OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(Self { fd: register(fd, Interest::READABLE | Interest::WRITABLE)?, spoken: false })
    }

    /// Forgets the last visit: from now on, nobody there means "not yet".
    pub(crate) fn await_host(&mut self) {
        self.spoken = false;
    }
}

impl AsyncRead for SerialPort {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            let mut guard = ready!(this.fd.poll_read_ready(cx))?;
            let fd: BorrowedFd<'_> = this.fd.get_ref().as_fd();
            match nix::unistd::read(fd, buf) {
                // The kernel wakes us when the host connects or sends, so clearing is no busy loop.
                Ok(0) if !this.spoken => guard.clear_ready(),
                Ok(n) => {
                    this.spoken = true;
                    return Poll::Ready(Ok(n));
                }
                Err(Errno::EAGAIN) => guard.clear_ready(),
                Err(Errno::EINTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}

impl AsyncWrite for SerialPort {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        crate::sys::poll_write(&self.fd, cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
