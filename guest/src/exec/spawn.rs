//! Starting one process in the box: resolve, prepare, fork, and hear how it went.
//!
//! Owns the order before the fork and the report after it. Who waits for the process is `supervise`'s matter.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use boxlite_proto::agent::StartFailure;
use boxlite_proto::copy;
use nix::fcntl::OFlag;
use tokio::io::unix::AsyncFd;

use crate::cgroup::ExecCgroup;
use crate::exec::child::{self, ChildPlan, Step};
use crate::exec::failure::{Named, before, reported};
use crate::exec::stdio::{Stdio, Wanted, make};
use crate::exec::strings::{CList, candidates, with_user};
use crate::exec::users::{User, resolve};
use crate::init::BoxInit;
use crate::sys::open_in_root;
use crate::sys::process::spawn_borrowing;

/// What is to be run, as the host said it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) argv: Vec<Vec<u8>>,
    pub(crate) env: Vec<Vec<u8>>,
    pub(crate) directory: Vec<u8>,
    pub(crate) user: String,
    pub(crate) open_files: Option<u64>,
    pub(crate) wanted: Wanted,
    /// Part of the agent itself, see `ExecRequest.own_program`.
    pub(crate) own_program: bool,
}

/// A process that is on its way into the box.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) pidfd: OwnedFd,
    pub(crate) stdin: Option<AsyncFd<OwnedFd>>,
    pub(crate) stdout: Option<crate::streams::output::Source>,
    pub(crate) stderr: Option<crate::streams::output::Source>,
    pub(crate) terminal: Option<std::sync::Arc<AsyncFd<OwnedFd>>>,
    pub(crate) report: Report,
}

/// What the child will tell.
#[derive(Debug)]
pub(crate) struct Report {
    pipe: OwnedFd,
    named: Named,
}

/// Everything that can be refused before there is a process, then the fork.
pub(crate) fn spawn(init: &BoxInit, cgroup: &ExecCgroup, request: Request) -> Result<Spawned, StartFailure> {
    let Some(command) = request.argv.first().filter(|command| !command.is_empty()) else {
        return Err(before(None, "no command is given: the first argument is empty".into()));
    };
    let named = Named {
        command: String::from_utf8_lossy(command).into_owned(),
        directory: directory_name(&request.directory),
        user: if request.user.is_empty() { "root".into() } else { request.user.clone() },
    };
    let user = find_user(init.root(), &request.user)?;
    let places = if request.own_program { Vec::new() } else { candidates(command, &request.env) };
    let (user, env) = if request.own_program {
        let owner = format!("{}={}:{}", copy::OWNER, user.uid, user.gid);
        (find_user(init.root(), "0:0")?, vec![owner.into_bytes()])
    } else {
        let env = with_user(request.env, &user.home, user.name.as_deref());
        (user, env)
    };
    let strings = |what: &str, list: &[Vec<u8>]| {
        CList::new(list).map_err(|nul| before(None, format!("{what} {} holds a NUL byte", nul.0)))
    };
    let argv = strings("argument", &request.argv)?;
    let envp = strings("environment entry", &env)?;
    let places = strings("the command's name, place", &places)?;
    let places: Vec<_> = places.iter().collect();
    let directory = if request.directory.is_empty() { b"/".to_vec() } else { request.directory };
    let directory = CString::new(directory)
        .map_err(|_| before(None, "the working directory's name holds a NUL byte".into()))?;
    let resources = |error: io::Error| {
        let errno = error.raw_os_error().map(nix::errno::Errno::from_raw);
        before(errno, format!("'{}' could not be started: {error}", named.command))
    };
    let stdio = make(request.wanted, &init.root(), user.uid).map_err(resources)?;
    let (report, tell) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(io::Error::from).map_err(resources)?;
    let plan = ChildPlan {
        report: tell.as_raw_fd(),
        mount_ns: init.mount_ns().as_raw_fd(),
        stdio: stdio.child.each_ref().map(AsRawFd::as_raw_fd),
        terminal: stdio.terminal.is_some(),
        open_files: request.open_files,
        uid: user.uid,
        gid: user.gid,
        groups: &user.groups,
        directory: &directory,
        candidates: &places,
        own_program: request.own_program.then(|| init.program().as_raw_fd()),
        argv: argv.as_ptr(),
        envp: envp.as_ptr(),
    };
    // SAFETY: `child::run` makes async-signal-safe calls only and never returns.
    let child = unsafe { spawn_borrowing(cgroup.dir(), child::run, &plan) };
    let child = child.map_err(io::Error::from).map_err(resources)?;
    let Stdio { stdin, stdout, stderr, terminal, .. } = stdio;
    let report = Report { pipe: report, named };
    Ok(Spawned { pidfd: child.pidfd, stdin, stdout, stderr, terminal, report })
}

fn directory_name(directory: &[u8]) -> String {
    if directory.is_empty() { "/".into() } else { String::from_utf8_lossy(directory).into_owned() }
}

/// Reads the box's own user database; a box without one still has numeric users.
fn find_user(root: BorrowedFd<'_>, spec: &str) -> Result<User, StartFailure> {
    resolve(spec, &read_in(root, "etc/passwd"), &read_in(root, "etc/group"))
        .map_err(|error| before(None, error.to_string()))
}

/// Most bytes of a user database that are looked at.
const DATABASE_LIMIT: u64 = 4 * 1024 * 1024;

fn read_in(root: BorrowedFd<'_>, path: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Not waiting for a FIFO, should the box have put one there.
    if let Ok(fd) = open_in_root(root, Path::new(path), OFlag::O_RDONLY | OFlag::O_NONBLOCK) {
        // What could be read before an error is what there is.
        let _ = File::from(fd).take(DATABASE_LIMIT).read_to_end(&mut bytes);
    }
    bytes
}

impl Report {
    /// Returns when the child has become the command (with the pid that the box sees) or has given up.
    pub(crate) fn outcome(self) -> Result<u32, StartFailure> {
        // A child that borrows our memory has come to its exec by now, so this never waits.
        let mut said = Vec::with_capacity(12);
        File::from(self.pipe)
            .read_to_end(&mut said)
            .map_err(|error| before(None, format!("'{}': {error}", self.named.command)))?;
        let word = |at: usize| u32::from_ne_bytes([said[at], said[at + 1], said[at + 2], said[at + 3]]);
        match said.len() {
            4 => Ok(word(0)),
            12 => {
                let step = Step::from_wire(word(4)).unwrap_or(Step::Exec);
                Err(reported(step, nix::errno::Errno::from_raw(word(8) as i32), &self.named))
            }
            _ => Err(before(
                None,
                format!("'{}' died before it began: killed or out of memory", self.named.command),
            )),
        }
    }
}
