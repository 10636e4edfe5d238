//! From the library's child to a daemon of its own: descriptors, double fork, limits, lock, pid file.
//!
//! Everything here runs once, in order, in a process of one thread. It starts no machine.

use std::fs;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::Instant;

use boxlite_proto::shim::{ShimSpec, files};
use boxlite_proto::{BUILD_ID, PROTOCOL_VERSION};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockType, getsockopt, recvmsg, setsockopt, sockopt};
use nix::sys::stat::{Mode, umask};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::{ForkResult, fork, setsid};

use super::failure::{Piece, StartError};
use super::owner::Owner;
use super::pidfile::{self, BoxLock};
use super::{disk_lock, exit, log};
use crate::sys;

/// Longest spec.
const SPEC_ROOM: usize = 256 * 1024;
/// How long the library may take between starting the shim and sending the spec.
const SPEC_WAIT_S: i64 = 10;
/// Enough for all streams and for clients that linger.
const OPEN_FILES: u64 = 4096;

/// Why there is nobody to report to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoOwner {
    #[error("descriptor 0 is not the library's socket: boxes are started by the boxlite library")]
    NotASocket,
    #[error("no spec came from the library: {0}")]
    NoSpec(io::Error),
    #[error("cannot arrange descriptors: {0}")]
    Descriptors(io::Error),
}

/// The library's request: the spec, or why it can't be served, and whom to tell.
pub(crate) fn receive(box_id: &str) -> Result<(Owner, Result<ShimSpec, StartError>), NoOwner> {
    sys::close_from(3, false).map_err(NoOwner::Descriptors)?;
    let socket = take_stdin().map_err(NoOwner::Descriptors)?;
    if getsockopt(&socket, sockopt::SockType) != Ok(SockType::SeqPacket) {
        return Err(NoOwner::NotASocket);
    }
    let wait = TimeVal::seconds(SPEC_WAIT_S);
    setsockopt(&socket, sockopt::ReceiveTimeout, &wait)
        .map_err(|error| NoOwner::Descriptors(error.into()))?;
    let (json, signs) = receive_packet(&socket).map_err(NoOwner::NoSpec)?;
    Ok((Owner::new(socket, signs), check(&json, box_id)))
}

/// Moves descriptor 0 out of the way of whatever reads standard input.
fn take_stdin() -> io::Result<OwnedFd> {
    let number = fcntl(io::stdin(), FcntlArg::F_DUPFD_CLOEXEC(3))?;
    // SAFETY: the call has just made this descriptor; nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    nix::unistd::dup2_stdin(fs::File::open("/dev/null")?)?;
    Ok(socket)
}

fn receive_packet(socket: &OwnedFd) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut json = vec![0; SPEC_ROOM];
    let mut room = nix::cmsg_space!([RawFd; 4]);
    let (length, fds) = {
        let mut parts = [IoSliceMut::new(&mut json)];
        let message =
            recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut room), MsgFlags::MSG_CMSG_CLOEXEC)?;
        let mut fds = Vec::new();
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(numbers) = control {
                // SAFETY: the kernel has just installed these descriptors for this process alone.
                fds.extend(numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }));
            }
        }
        (message.bytes, fds)
    };
    if length == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    json.truncate(length);
    Ok((json, fds))
}

/// Only what every version of the message has: enough to tell a stranger by name.
#[derive(serde::Deserialize)]
struct Origin {
    protocol: u32,
    build_id: String,
}

fn check(json: &[u8], box_id: &str) -> Result<ShimSpec, StartError> {
    let bad = |error: serde_json::Error| StartError::BadSpec(error.to_string());
    let origin: Origin = serde_json::from_slice(json).map_err(bad)?;
    if origin.protocol != PROTOCOL_VERSION || origin.build_id != BUILD_ID {
        return Err(StartError::BuildMismatch {
            who: "the library",
            ours: BUILD_ID.into(),
            our_protocol: PROTOCOL_VERSION,
            theirs: origin.build_id,
            their_protocol: origin.protocol,
        });
    }
    let spec: ShimSpec = serde_json::from_slice(json).map_err(bad)?;
    if spec.box_id != box_id {
        return Err(StartError::WrongBox { argument: box_id.into(), spec: spec.box_id });
    }
    // Whatever is more than a name could lead QEMU out of the box's directory.
    let plain = Path::new(&spec.box_disk).file_name() == Some(spec.box_disk.as_ref());
    if !plain || !spec.box_dir.is_absolute() {
        return Err(StartError::BadSpec("box_dir must be absolute and box_disk a plain file name".into()));
    }
    Ok(spec)
}

/// Which of the two processes goes on after the fork.
pub(crate) enum Side {
    /// The library's child: it has done its part and exits, so that the library never has a zombie.
    Intermediate,
    /// The box.
    Daemon,
}

/// Forks away from the library.
pub(crate) fn detach() -> Result<Side, StartError> {
    let plumbing =
        |source: nix::Error| StartError::Plumbing { what: "the shim's process", source: source.into() };
    // SAFETY: the process has one thread, so the child may do anything.
    match unsafe { fork() }.map_err(plumbing)? {
        ForkResult::Parent { .. } => Ok(Side::Intermediate),
        ForkResult::Child => {
            setsid().map_err(plumbing)?;
            Ok(Side::Daemon)
        }
    }
}

/// Limits the daemon and makes the box's directory its own: lock, logs, pid file.
pub(crate) fn settle(spec: &ShimSpec, began: Instant) -> Result<BoxLock, StartError> {
    confine().map_err(|source| StartError::Plumbing { what: "the shim's limits", source })?;
    std::env::set_current_dir(&spec.box_dir).map_err(|source| StartError::Piece {
        piece: Piece::BoxDirectory,
        path: spec.box_dir.clone(),
        source,
    })?;
    let lock = BoxLock::take(&spec.box_dir)?;
    disk_lock::wait_until_free(Path::new(&spec.box_disk), &spec.box_dir)?;
    let plumbing = |what| move |source| StartError::Plumbing { what, source };
    match fs::create_dir(files::LOGS) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(plumbing("the log directory")(error));
        }
        _ => {}
    }
    let shim_log = Path::new(files::LOGS).join(files::SHIM_LOG);
    log::open(&shim_log, began).map_err(plumbing("the shim's log"))?;
    // The console's log is of one run; the one before stays beside it.
    log::rotate(&Path::new(files::LOGS).join(files::CONSOLE_LOG), 1).map_err(plumbing("the console log"))?;
    exit::put_aside().map_err(plumbing("the exit record"))?;
    pidfile::write().map_err(plumbing("the pid file"))?;
    Ok(lock)
}

fn confine() -> io::Result<()> {
    prctl::set_child_subreaper(true)?;
    prctl::set_no_new_privs()?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(OPEN_FILES), hard)?;
    umask(Mode::from_bits_truncate(0o077));
    for number in Signal::iterator() {
        let handler = if number == Signal::SIGPIPE { SigHandler::SigIgn } else { SigHandler::SigDfl };
        // SAFETY: no handler function is installed. KILL and STOP are refused, which is fine.
        let _ = unsafe { signal(number, handler) };
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}

#[cfg(test)]
mod tests;
