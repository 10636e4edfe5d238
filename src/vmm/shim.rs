//! One shim from outside: spawned (double fork, so that it is nobody's child), heard while it starts, watched by pidfd.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use boxlite_proto::shim::{Claim, Report, ShimSpec, StartFailure, Word, files};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::descriptor;
use super::presence::Presence;
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::util::process_start_time;

/// No report comes near this: the largest carries some KiB of console.
const LARGEST_REPORT: usize = 128 * 1024;

/// The owner's end of things. The shim of a box that isn't detached stops the box when the socket is shut down, or the
/// presence is over.
#[derive(Debug)]
pub(crate) struct Owner {
    socket: AsyncFd<OwnedFd>,
    _presence: Option<Presence>,
}

impl Owner {
    /// Tells the shim that its owner is going. Works through all forked copies of the descriptor, which a close doesn't.
    pub(crate) fn let_go(&self) {
        // SAFETY: shutdown takes an open descriptor and an integer. A peer that is gone already is what is wanted.
        unsafe { libc::shutdown(self.socket.get_ref().as_raw_fd(), libc::SHUT_RDWR) };
    }

    /// Makes the spare a box; on success its shim knows, whatever becomes of this process. Tells what was done for it, and
    /// what each step took in microseconds.
    pub(crate) async fn claim(&self, claim: Claim) -> BoxliteResult<Vec<(String, u64)>> {
        let word = serde_json::to_vec(&Word::Claim(claim))
            .map_err(|error| BoxliteError::Internal(error.to_string().into()))?;
        descriptor::send_packet(self.socket.get_ref().as_fd(), &word, &[])
            .map_err(|error| shim_vanished(&error.to_string()))?;
        loop {
            match self.report().await? {
                Report::Claimed { stages } => return Ok(stages),
                Report::Refused { why } => return Err(BoxliteError::Engine(Detail::new(why))),
                Report::Started { .. } | Report::Stage { .. } | Report::Ready { .. } | Report::Failed(_) => {}
            }
        }
    }

    async fn report(&self) -> BoxliteResult<Report> {
        let mut buffer = vec![0; LARGEST_REPORT];
        let length = self
            .socket
            .async_io(Interest::READABLE, |fd| descriptor::receive_packet(fd.as_fd(), &mut buffer))
            .await
            .map_err(|error| shim_vanished(&error.to_string()))?;
        if length == 0 {
            return Err(shim_vanished("it closed its end"));
        }
        serde_json::from_slice(&buffer[..length])
            .map_err(|error| BoxliteError::Internal(format!("the shim reported nonsense: {error}").into()))
    }
}

fn shim_vanished(how: &str) -> BoxliteError {
    BoxliteError::Engine(
        Detail::new(format!("the box's shim ended while starting ({how})"))
            .hint("see shim.log in the box's logs directory; run the system check"),
    )
}

/// A shim process, identified by pid and start time, so that a reused pid is never taken for it.
#[derive(Clone, Debug)]
pub(crate) struct ShimProcess {
    pid: u32,
    start_time: Option<u64>,
    pidfd: Arc<AsyncFd<OwnedFd>>,
}

impl ShimProcess {
    /// The running process `pid`, if it is the one that started at `start_time`. Needs the runtime's context.
    pub(crate) fn find(pid: u32, start_time: Option<u64>) -> io::Result<Option<Self>> {
        let pidfd = match descriptor::pidfd_open(pid) {
            Ok(pidfd) => pidfd,
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
            Err(error) => return Err(error),
        };
        // The start time is read while the pidfd pins the pid: if it matches, the pidfd is that process.
        let started = process_start_time(pid);
        if started.is_none() || (start_time.is_some() && started != start_time) {
            return Ok(None);
        }
        let pidfd = Arc::new(descriptor::readable(pidfd)?);
        Ok(Some(Self { pid, start_time: started, pidfd }))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn start_time(&self) -> Option<u64> {
        self.start_time
    }

    /// Completes when the process has ended.
    pub(crate) async fn ended(&self) {
        // An error means that the descriptor can't be polled any more, which is as final as the end.
        let _ = self.pidfd.readable().await;
    }

    /// Whether the process has ended.
    pub(crate) fn has_ended(&self) -> bool {
        let mut poll =
            libc::pollfd { fd: self.pidfd.get_ref().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd, which outlives the call; zero timeout.
        unsafe { libc::poll(&mut poll, 1, 0) > 0 }
    }

    pub(crate) fn signal(&self, signal: i32) -> io::Result<()> {
        descriptor::pidfd_signal(self.pidfd.get_ref().as_fd(), signal)
    }
}

/// A shim on its way up.
#[derive(Debug)]
pub(crate) struct StartingShim {
    owner: Owner,
    process: Option<ShimProcess>,
}

/// A shim that is up.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) process: ShimProcess,
    pub(crate) owner: Owner,
    /// Steps of the start with the microseconds at which each was done, shim first, then the agent's own durations.
    pub(crate) stages: Vec<(String, u64)>,
    pub(crate) agent_stages: Vec<(String, u64)>,
    /// The time stamp counter's rate in kHz, as the guest was told.
    pub(crate) tsc_khz: u32,
}

impl StartingShim {
    /// Starts `program` for the box of `spec`. Blocking for about a millisecond; needs the runtime's context.
    pub(crate) fn spawn(program: &Path, spec: &ShimSpec) -> BoxliteResult<Self> {
        let failed = |error: &io::Error| BoxliteError::io("start the shim", program, error);
        let (ours, theirs) = descriptor::packet_pair().map_err(|error| failed(&error))?;
        let log = open_log(&spec.box_dir)?;
        let log_again = log.try_clone().map_err(|error| failed(&error))?;
        let mut launcher = Command::new(program)
            .args(["box", &spec.box_id])
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::from(log))
            .stderr(Stdio::from(log_again))
            .spawn()
            .map_err(|error| failed(&error))?;
        let sent = send_spec(&ours, spec);
        // Without its spec the launcher waits until it sees that none will come.
        let sent = sent.map(|presence| (ours, presence));
        // The launcher forks the shim and ends at once. A host that ignores SIGCHLD or waits for any child makes this
        // ECHILD, which says the same.
        let _ = launcher.wait();
        let (ours, presence) = sent.map_err(|error| match error.raw_os_error() {
            // It was gone before it was told what to start.
            Some(libc::EPIPE | libc::ECONNRESET | libc::ENOTCONN) => shim_vanished(&error.to_string()),
            _ => failed(&error),
        })?;
        let socket = descriptor::readable(ours).map_err(|error| failed(&error))?;
        Ok(Self { owner: Owner { socket, _presence: presence }, process: None })
    }

    /// Waits until the box runs. Dropping the future, or the value, makes the shim give up and clean up.
    pub(crate) async fn ready(mut self) -> BoxliteResult<Result<Started, StartFailure>> {
        let mut stages = Vec::new();
        loop {
            match self.owner.report().await? {
                Report::Started { pid } => {
                    self.process = ShimProcess::find(pid, None).ok().flatten();
                }
                Report::Stage { name, at_us } => stages.push((name, at_us)),
                // Nothing has been claimed yet.
                Report::Claimed { .. } | Report::Refused { .. } => {}
                Report::Failed(failure) => {
                    if let Some(process) = &self.process {
                        process.ended().await;
                    }
                    return Ok(Err(failure));
                }
                Report::Ready { stages: agent_stages, tsc_khz, .. } => {
                    let Some(process) = self.process.take() else {
                        return Err(shim_vanished("it was gone before it could be watched"));
                    };
                    return Ok(Ok(Started { process, owner: self.owner, stages, agent_stages, tsc_khz }));
                }
            }
        }
    }
}

/// Sends the spec, and to the shim of a box that is to go with this process what tells of its going.
fn send_spec(socket: &OwnedFd, spec: &ShimSpec) -> io::Result<Option<Presence>> {
    let packet = serde_json::to_vec(spec)?;
    if spec.detach {
        return descriptor::send_packet(socket.as_fd(), &packet, &[]).map(|()| None);
    }
    let (me, presence) = (descriptor::pidfd_open(std::process::id())?, Presence::new()?);
    descriptor::send_packet(socket.as_fd(), &packet, &[me.as_fd(), presence.file()])?;
    Ok(Some(presence))
}

fn open_log(box_dir: &Path) -> BoxliteResult<File> {
    let path = box_dir.join(files::LOGS).join(files::SHIM_LOG);
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| BoxliteError::io("open", &path, &error))
}
