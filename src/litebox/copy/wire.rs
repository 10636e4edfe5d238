//! The host's end of a copy's byte stream, used by a thread that may wait, and ended from outside by closing it.
//!
//! Owns waiting for two things at once: the stream, and a descriptor of the caller's that may be a slow pipe.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use boxlite_archive::CopyError;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};

const CHUNK: usize = 256 * 1024;

/// The stream.
#[derive(Debug)]
pub(super) struct Wire {
    stream: UnixStream,
    /// Bytes that came or went.
    pub(super) count: u64,
}

/// Ends the stream when dropped: whoever waits on it goes on, with an error.
#[derive(Debug)]
pub(super) struct Cutter(UnixStream);

impl Cutter {
    pub(super) fn cut(&self) {
        // What is closed already needs no closing.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.cut();
    }
}

impl Wire {
    pub(super) fn new(stream: tokio::net::UnixStream) -> io::Result<(Self, Cutter)> {
        let stream = stream.into_std()?;
        stream.set_nonblocking(false)?;
        let cutter = Cutter(stream.try_clone()?);
        Ok((Self { stream, count: 0 }, cutter))
    }

    /// Tells the other side that this was all.
    pub(super) fn end(&self) {
        // A stream that broke has been noticed, or will be by the other side's answer.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Passes on what `source` has, to its end.
    pub(super) fn feed_from(&mut self, source: &OwnedFd) -> Result<(), CopyError> {
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = self.attend(source, PollFlags::POLLIN, "read the archive from", |fd| {
                Ok(nix::unistd::read(fd, &mut buffer)?)
            })?;
            if read == 0 {
                return Ok(());
            }
            self.write_all(&buffer[..read]).map_err(CopyError::Stream)?;
        }
    }

    /// Passes on what comes to `sink`, to its end.
    pub(super) fn drain_to(&mut self, sink: &OwnedFd) -> Result<(), CopyError> {
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = self.read(&mut buffer).map_err(CopyError::Stream)?;
            if read == 0 {
                return Ok(());
            }
            let mut rest = &buffer[..read];
            while !rest.is_empty() {
                let written = self.attend(sink, PollFlags::POLLOUT, "write the archive to", |fd| {
                    Ok(nix::unistd::write(fd, rest)?)
                })?;
                rest = &rest[written..];
            }
        }
    }

    /// Everything up to `limit` bytes; what is above is not waited for.
    pub(super) fn read_to_end(&mut self, limit: u64) -> Result<Vec<u8>, CopyError> {
        let mut bytes = Vec::new();
        Read::by_ref(self)
            .take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(CopyError::Stream)?;
        Ok(bytes)
    }

    /// Uses the caller's descriptor once it is ready, unless the stream is cut before.
    fn attend(
        &self,
        fd: &OwnedFd,
        flag: PollFlags,
        action: &'static str,
        mut act: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Result<usize, CopyError> {
        let failed =
            |error| CopyError::path(action, format!("descriptor {}", fd.as_raw_fd()).as_bytes(), error);
        loop {
            // A stream that is only to be watched for its end reports that unasked.
            let mut both =
                [PollFd::new(fd.as_fd(), flag), PollFd::new(self.stream.as_fd(), PollFlags::empty())];
            match poll(&mut both, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(failed(error.into())),
            }
            let told = |one: &PollFd<'_>| one.revents().is_some_and(|events| !events.is_empty());
            if !told(&both[0]) {
                if told(&both[1]) {
                    return Err(CopyError::Stream(io::Error::from_raw_os_error(libc::EPIPE)));
                }
                continue;
            }
            match act(fd.as_fd()) {
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                done => return done.map_err(failed),
            }
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer)?;
        self.count += read as u64;
        Ok(read)
    }
}

impl Write for Wire {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        // The host program may have SIGPIPE at its default.
        let written = send(self.stream.as_raw_fd(), buffer, MsgFlags::MSG_NOSIGNAL)?;
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
