//! The child's three descriptors and the agent's ends of them.
//!
//! Owns making pipes and terminals. The streams on them are `streams`' matter.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use nix::fcntl::OFlag;
use nix::unistd::{Gid, Uid, fchown, pipe2};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::streams::source::Source;
use crate::streams::{InputMode, OutputMode};
use crate::sys::eager::EagerFd;
use crate::sys::tty::{WindowSize, open_peer, resize};
use crate::sys::{open_in_root, register, watch};

/// What the caller wants on 0, 1 and 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Pipes { stdin: InputMode, stdout: OutputMode, stderr: OutputMode, merge_stderr: bool },
    Terminal { size: WindowSize },
}

/// Both sides of an execution's descriptors.
#[derive(Debug)]
pub(crate) struct Stdio {
    /// For the child, as 0, 1 and 2; to be closed here once it has them.
    pub(crate) child: [OwnedFd; 3],
    pub(crate) stdin: Option<AsyncFd<OwnedFd>>,
    pub(crate) stdout: Option<Source>,
    pub(crate) stderr: Option<Source>,
    /// The master, where there is a terminal.
    pub(crate) terminal: Option<Arc<AsyncFd<OwnedFd>>>,
}

/// Makes what is wanted inside the box whose root is given; the user owns its ends, so that it can reopen them.
pub(crate) fn make(wanted: Wanted, root: &impl AsFd, uid: u32) -> io::Result<Stdio> {
    let owner = (uid != 0).then(|| Uid::from_raw(uid));
    match wanted {
        Wanted::Terminal { size } => terminal(root, size, owner),
        Wanted::Pipes { stdin, stdout, stderr, merge_stderr } => {
            let null = || open_in_root(root.as_fd(), Path::new("dev/null"), OFlag::O_RDWR);
            let (for_stdin, stdin) = match stdin {
                InputMode::Null => (null()?, None),
                InputMode::Once | InputMode::Keep => {
                    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
                    give(&read, owner)?;
                    (read, Some(watch(write, Interest::WRITABLE)?))
                }
            };
            let out = |mode| -> io::Result<(OwnedFd, Option<Source>)> {
                if mode == OutputMode::Null {
                    return Ok((null()?, None));
                }
                let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
                give(&write, owner)?;
                Ok((write, Some(Source::Pipe(Arc::new(EagerFd::nonblocking(read)?)))))
            };
            let (for_stdout, stdout) = out(stdout)?;
            let (for_stderr, stderr) =
                if merge_stderr { (for_stdout.try_clone()?, None) } else { out(stderr)? };
            Ok(Stdio { child: [for_stdin, for_stdout, for_stderr], stdin, stdout, stderr, terminal: None })
        }
    }
}

fn give(fd: &OwnedFd, owner: Option<Uid>) -> nix::Result<()> {
    match owner {
        Some(uid) => fchown(fd, Some(uid), None::<Gid>),
        None => Ok(()),
    }
}

/// A terminal of the box's own devpts, so that `tty` and `/dev/pts` agree inside.
fn terminal(root: &impl AsFd, size: WindowSize, owner: Option<Uid>) -> io::Result<Stdio> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
    let master = open_in_root(root.as_fd(), Path::new("dev/pts/ptmx"), flags)?;
    resize(master.as_fd(), size)?;
    let slave = open_peer(master.as_fd())?;
    give(&slave, owner)?;
    let child = [slave.try_clone()?, slave.try_clone()?, slave];
    let master = Arc::new(register(master, Interest::READABLE | Interest::WRITABLE)?);
    let stdout = Some(Source::Terminal(Arc::clone(&master)));
    Ok(Stdio { child, stdin: None, stdout, stderr: None, terminal: Some(master) })
}
