//! libkrun's vsock as an asynchronous byte pipe.
//!
//! Owns the one connection to the host, which the agent opens before any process of the box runs. It never listens,
//! and never opens a second one.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use boxlite_proto::AGENT_VSOCK_PORT;
use futures::io::{AsyncRead, AsyncWrite};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, VsockAddr, connect, shutdown, socket};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::sys::{poll_read, poll_write, watch};

/// An open connection to the host.
#[derive(Debug)]
pub(crate) struct HostConnection {
    fd: OwnedFd,
}

impl HostConnection {
    /// Connects; `None` where no host can be reached this way (yet).
    pub(crate) fn open() -> io::Result<Option<Self>> {
        let fd = match socket(AddressFamily::Vsock, SockType::Stream, SockFlag::SOCK_CLOEXEC, None) {
            Ok(fd) => fd,
            Err(Errno::EAFNOSUPPORT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let host = VsockAddr::new(libc::VMADDR_CID_HOST, AGENT_VSOCK_PORT);
        match connect(fd.as_raw_fd(), &host) {
            Ok(()) => Ok(Some(Self { fd })),
            // No device, or none that is ready.
            Err(Errno::ENODEV | Errno::ENETUNREACH | Errno::ECONNRESET | Errno::ETIMEDOUT | Errno::EINTR) => {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The connection's bytes; its end of file is the end of the host.
    pub(crate) fn stream(&self) -> io::Result<Stream> {
        Ok(Stream { fd: watch(self.fd.try_clone()?, Interest::READABLE | Interest::WRITABLE)? })
    }
}

/// The connection as the reactor knows it.
#[derive(Debug)]
pub(crate) struct Stream {
    fd: AsyncFd<OwnedFd>,
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        poll_read(&self.fd, cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        poll_write(&self.fd, cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Also where the host has gone, which is an end as well.
        let _ = shutdown(self.fd.as_raw_fd(), Shutdown::Both);
        Poll::Ready(Ok(()))
    }
}
