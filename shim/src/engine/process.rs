//! The monitor's process: started confined, watched by pidfd, reaped.
//!
//! Owns fork, exec and wait; knows nothing of what the program does.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use tokio::io::Interest;

use crate::sys;

/// Enough for a monitor with all its devices, and no more.
const OPEN_FILES: u64 = 1024;

/// How the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Signalled(i32),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::Signalled(signal) => write!(f, "signal {signal}"),
        }
    }
}

impl From<ExitStatus> for End {
    fn from(status: ExitStatus) -> Self {
        match status.signal() {
            Some(signal) => Self::Signalled(signal),
            None => Self::Exited(status.code().unwrap_or(-1)),
        }
    }
}

/// A child that dies with this process, whatever ends this process.
pub(crate) struct Process {
    child: Child,
    pidfd: OwnedFd,
    end: Option<End>,
    was_killed: bool,
}

impl Process {
    /// Starts `command` with an empty environment, `stderr` as its standard error and `pass` as its only other
    /// descriptors, under their own numbers.
    pub(crate) fn spawn(mut command: Command, stderr: OwnedFd, pass: &[OwnedFd]) -> io::Result<Self> {
        let numbers: Vec<RawFd> = pass.iter().map(AsRawFd::as_raw_fd).collect();
        let parent = nix::unistd::getpid();
        let prepare = move || {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            // The parent may have died before the line above took hold.
            if nix::unistd::getppid() != parent {
                return Err(io::ErrorKind::NotConnected.into());
            }
            prctl::set_no_new_privs()?;
            setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
            setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES)?;
            sys::close_from(3, true)?;
            for fd in &numbers {
                // SAFETY: F_SETFD on a descriptor that the parent holds open during the fork.
                if unsafe { libc::fcntl(*fd, libc::F_SETFD, 0) } < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        };
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        // SAFETY: between fork and exec the closure makes only system calls and allocates nothing.
        unsafe { command.pre_exec(prepare) };
        let mut child = command.spawn()?;
        match sys::pidfd_open(child.id()) {
            Ok(pidfd) => Ok(Self { child, pidfd, end: None, was_killed: false }),
            Err(error) => {
                // Without a pidfd it can't be watched; it is ours and not yet waited for, so the number is its own.
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// The process id, valid until the end was reported.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns when the process has ended and is reaped; again and again with the same answer.
    pub(crate) async fn ended(&mut self) -> io::Result<End> {
        if let Some(end) = self.end {
            return Ok(end);
        }
        sys::watch(&self.pidfd, Interest::READABLE)?.readable().await?.retain_ready();
        let end = End::from(self.child.wait()?);
        self.end = Some(end);
        Ok(end)
    }

    /// SIGKILL. Does nothing to a process that has ended.
    pub(crate) fn kill(&mut self) {
        if self.end.is_none() {
            // One that is dead and not reaped yet has died of something else.
            let mut look = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
            let is_dead = poll(&mut look, PollTimeout::ZERO).is_ok_and(|ready| ready > 0);
            self.was_killed |= !is_dead;
            // It fails only when the process has ended, which is what is wanted.
            let _ = sys::pidfd_send_signal(self.pidfd.as_fd(), libc::SIGKILL);
        }
    }

    /// It has had a SIGKILL of ours.
    pub(crate) fn was_killed(&self) -> bool {
        self.was_killed
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.end.is_none() {
            self.kill();
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    fn run(script: &str, pass: &[OwnedFd]) -> (End, String) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let mut process = Process::spawn(shell(script), theirs.into(), pass).unwrap();
        let end = runtime.block_on(process.ended()).unwrap();
        assert_eq!(runtime.block_on(process.ended()).unwrap(), end);
        let mut text = String::new();
        ours.read_to_string(&mut text).unwrap();
        (end, text)
    }

    #[test]
    fn ends_are_told_apart() {
        assert_eq!(run("exit 3", &[]).0, End::Exited(3));
        assert_eq!(run("kill -9 $$", &[]).0, End::Signalled(9));
    }

    #[test]
    fn the_child_has_only_what_it_was_given() {
        let leaked = std::fs::File::open("/dev/null").unwrap();
        // SAFETY: F_SETFD on a descriptor this test owns; it must not reach the child all the same.
        unsafe { libc::fcntl(leaked.as_raw_fd(), libc::F_SETFD, 0) };
        let (passed, mut ours) = io::pipe().unwrap();
        let number = passed.as_raw_fd();
        ours.write_all(b"hello\n").unwrap();
        let script =
            format!("read x </proc/$$/fd/{number}; echo $x >&2; ls /proc/$$/fd >&2; env >&2; ulimit -c >&2");
        let (_, text) = run(&script, &[passed.into()]);
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("hello"));
        let fds: Vec<&str> = lines.by_ref().take_while(|line| line.parse::<u32>().is_ok()).collect();
        assert!(fds.contains(&number.to_string().as_str()), "{text}");
        assert!(!fds.contains(&leaked.as_raw_fd().to_string().as_str()), "{text}");
        assert!(!text.contains("HOME="), "{text}");
        assert!(text.ends_with("\n0\n"), "{text}");
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let (_ours, theirs) = UnixStream::pair().unwrap();
        let process = Process::spawn(shell("exec sleep 60"), theirs.into(), &[]).unwrap();
        let pid = process.id();
        drop(process);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
