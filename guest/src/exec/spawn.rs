//! Starting one process in the box: resolve, prepare, and make it.
//!
//! Owns the order before that, and what is said of a failure. Who waits for the process is `supervise`'s matter.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use boxlite_proto::agent::StartFailure;
use boxlite_proto::copy;
use tokio::io::unix::AsyncFd;

use crate::cgroup::ExecCgroup;
use crate::exec::Home;
use crate::exec::child::{self, ChildPlan, OwnProgram, Told};
use crate::exec::failure::{Named, before, reported};
use crate::exec::stdio::{Stdio, Wanted, make};
use crate::exec::strings::{CList, candidates, with_user};
use crate::rootfs::disks;
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

/// A process of the box, and the agent's ends of its descriptors.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) pidfd: OwnedFd,
    /// Its pid as the box sees it; else why it is none of the box's and ends by itself.
    pub(crate) begun: Result<u32, StartFailure>,
    pub(crate) stdin: Option<AsyncFd<OwnedFd>>,
    pub(crate) stdout: Option<crate::streams::source::Source>,
    pub(crate) stderr: Option<crate::streams::source::Source>,
    pub(crate) terminal: Option<std::sync::Arc<AsyncFd<OwnedFd>>>,
}

/// Everything that can be refused before there is a process, then the process: it is the command when this returns, or
/// has given up.
pub(crate) fn spawn(home: &Home, cgroup: &ExecCgroup, request: Request) -> Result<Spawned, StartFailure> {
    let init = &home.init;
    let Some(command) = request.argv.first().filter(|command| !command.is_empty()) else {
        return Err(before(None, "no command is given: the first argument is empty".into()));
    };
    let named = Named {
        command: String::from_utf8_lossy(command).into_owned(),
        directory: directory_name(&request.directory),
        user: if request.user.is_empty() { "root".into() } else { request.user.clone() },
    };
    let find =
        |spec: &str| home.users.find(init.root(), spec).map_err(|error| before(None, error.to_string()));
    let user = find(&request.user)?;
    let places = if request.own_program { Vec::new() } else { candidates(command, &request.env) };
    let (user, env) = if request.own_program {
        let owner = format!("{}={}:{}", copy::OWNER, user.uid, user.gid);
        (find("0:0")?, vec![owner.into_bytes()])
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
    let has_lane =
        request.own_program && request.argv.get(1).is_some_and(|lane| lane != copy::NO_LANE.as_bytes());
    let disk = if has_lane { disks::open_transfer().map_err(resources)? } else { None };
    let told = Told::default();
    let plan = ChildPlan {
        told: &told,
        mount_ns: init.mount_ns().as_raw_fd(),
        stdio: stdio.child.each_ref().map(AsRawFd::as_raw_fd),
        terminal: stdio.terminal.is_some(),
        open_files: request.open_files,
        uid: user.uid,
        gid: user.gid,
        groups: &user.groups,
        directory: &directory,
        candidates: &places,
        own_program: request.own_program.then(|| OwnProgram {
            program: init.program().as_raw_fd(),
            disk: disk.as_ref().map(AsRawFd::as_raw_fd),
        }),
        argv: argv.as_ptr(),
        envp: envp.as_ptr(),
    };
    // SAFETY: `child::run` makes async-signal-safe calls only and never returns.
    let child = unsafe { spawn_borrowing(cgroup.dir(), child::run, &plan) };
    let child = child.map_err(io::Error::from).map_err(resources)?;
    let Stdio { stdin, stdout, stderr, terminal, .. } = stdio;
    let begun = match told.outcome() {
        Some(Ok(pid)) => Ok(pid),
        Some(Err((step, errno))) => Err(reported(step, errno, &named)),
        None => {
            let message = format!("'{}' died before it began: killed or out of memory", named.command);
            Err(before(None, message))
        }
    };
    Ok(Spawned { pidfd: child.pidfd, begun, stdin, stdout, stderr, terminal })
}

fn directory_name(directory: &[u8]) -> String {
    if directory.is_empty() { "/".into() } else { String::from_utf8_lossy(directory).into_owned() }
}
