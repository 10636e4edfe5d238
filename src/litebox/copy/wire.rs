//! The host's ends of a copy's two streams, used by a thread that may wait, and ended from outside by closing them.
//!
//! Owns waiting for two things at once: a stream, and a descriptor of the caller's that may be a slow pipe.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use boxlite_archive::CopyError;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};

/// What passes through memory at a time.
pub(super) const CHUNK: usize = 256 * 1024;

/// The streams: one the bytes travel on, and one for answers where a lane asks for them.
#[derive(Debug)]
pub(super) struct Wire {
    stream: UnixStream,
    answers: Option<UnixStream>,
}

/// Ends the streams when dropped: whoever waits on them goes on, with an error.
#[derive(Debug)]
pub(super) struct Cutter(Vec<UnixStream>);

impl Cutter {
    pub(super) fn cut(&self) {
        for stream in &self.0 {
            // What is closed already needs no closing.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.cut();
    }
}

impl Wire {
    pub(super) fn new(
        stream: tokio::net::UnixStream,
        answers: Option<tokio::net::UnixStream>,
    ) -> io::Result<(Self, Cutter)> {
        let (stream, answers) = (waiting(stream)?, answers.map(waiting).transpose()?);
        let both = [Some(&stream), answers.as_ref()].into_iter().flatten();
        let cutter = Cutter(both.map(UnixStream::try_clone).collect::<io::Result<_>>()?);
        Ok((Self { stream, answers }, cutter))
    }

    /// Tells the other side that this was all.
    pub(super) fn end(&self) {
        // A stream that broke has been noticed, or will be by the other side's answer.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Waits for the next answer.
    pub(super) fn await_answer(&mut self) -> io::Result<u8> {
        let mut answer = [0];
        self.answers.as_ref().ok_or(io::ErrorKind::NotConnected)?.read_exact(&mut answer)?;
        Ok(answer[0])
    }

    /// Answers.
    pub(super) fn answer(&mut self, answer: u8) -> io::Result<()> {
        send_to(self.answers.as_ref().ok_or(io::ErrorKind::NotConnected)?, &[answer]).map(drop)
    }

    /// Uses the caller's descriptor once it is ready, unless the stream is cut before.
    pub(super) fn attend(
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
        self.stream.read(buffer)
    }
}

impl Write for Wire {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        send_to(&self.stream, buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The host program may have SIGPIPE at its default.
fn send_to(stream: &UnixStream, buffer: &[u8]) -> io::Result<usize> {
    Ok(send(stream.as_raw_fd(), buffer, MsgFlags::MSG_NOSIGNAL)?)
}

fn waiting(stream: tokio::net::UnixStream) -> io::Result<UnixStream> {
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}
