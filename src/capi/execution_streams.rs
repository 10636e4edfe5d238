//! The streams of a command as descriptors, and what is known of them.
//!
//! A descriptor is given away: after that only its holder reads, writes and closes it.

use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;

use boxlite_proto::stream::{OLDEST, Which};

use super::argument::{Out, live, optional_live, refused};
use super::call::boxlite_call;
use super::command::boxlite_command;
use super::error::{boxlite_code, boxlite_error};
use super::execution::boxlite_execution;
use super::guard::enter;
use super::stream_state::boxlite_stream_state;
use super::wait::{CutOff, Waiter};
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::litebox::{ExecutionInfo, OutputMode, StdinMode, StreamState};

/// Standard output, or everything that comes from a terminal.
///
/// @ingroup execution_streams
pub const BOXLITE_STREAM_STDOUT: i32 = 1;
/// Standard error.
///
/// @ingroup execution_streams
pub const BOXLITE_STREAM_STDERR: i32 = 2;

/// The descriptor does not block: read() and write() return EAGAIN where they would wait.
///
/// @ingroup execution_streams
pub const BOXLITE_FD_NONBLOCK: i32 = 1;

/// The oldest byte that is still there.
///
/// @ingroup execution_streams
pub const BOXLITE_OFFSET_OLDEST: u64 = u64::MAX;

/// Where one stream of a handle is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Can be taken.
    Here,
    /// Was taken through this handle.
    Taken,
    /// There is none.
    Nowhere(&'static str),
}

/// The streams of one handle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plumbing {
    tty: Place,
    stdin: Place,
    stdout: Place,
    stderr: Place,
}

const NO_TTY: Place = Place::Nowhere("has no terminal: take its standard streams");
const TTY: Place = Place::Nowhere("has a terminal: take that");
const NO_INPUT: Place = Place::Nowhere("reads /dev/null: start it with another stdin mode");
const NO_OUTPUT: Place = Place::Nowhere("writes this stream to /dev/null: start it with another output mode");
const MERGED: Place = Place::Nowhere("writes standard error into standard output: take that");

impl Plumbing {
    /// Of a command that is started now.
    pub(super) fn of(command: &boxlite_command) -> Self {
        let merges_stderr = command.merges_stderr();
        Self::with(command.tty.is_some(), command.stdin, command.stdout, command.stderr, merges_stderr)
    }

    /// Of a command that was taken up.
    pub(super) fn of_known(info: &ExecutionInfo) -> Self {
        Self::with(info.tty, Some(info.stdin), info.stdout, info.stderr, info.merge_stderr)
    }

    fn with(
        tty: bool,
        stdin: Option<StdinMode>,
        stdout: OutputMode,
        stderr: OutputMode,
        merges_stderr: bool,
    ) -> Self {
        if tty {
            return Self { tty: Place::Here, stdin: TTY, stdout: TTY, stderr: TTY };
        }
        let output = |mode| if mode == OutputMode::Null { NO_OUTPUT } else { Place::Here };
        Self {
            tty: NO_TTY,
            stdin: if stdin == Some(StdinMode::Null) { NO_INPUT } else { Place::Here },
            stdout: output(stdout),
            stderr: if merges_stderr { MERGED } else { output(stderr) },
        }
    }
}

/// One of the streams a C function is about.
#[derive(Clone, Copy)]
enum Wanted {
    Tty,
    Stdin,
    Stdout,
    Stderr,
}

impl Wanted {
    fn place(self, plumbing: &mut Plumbing) -> &mut Place {
        match self {
            Self::Tty => &mut plumbing.tty,
            Self::Stdin => &mut plumbing.stdin,
            Self::Stdout => &mut plumbing.stdout,
            Self::Stderr => &mut plumbing.stderr,
        }
    }

    fn which(self) -> Which {
        match self {
            Self::Stdin => Which::Stdin,
            Self::Tty | Self::Stdout => Which::Stdout,
            Self::Stderr => Which::Stderr,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Tty => "terminal",
            Self::Stdin => "stdin",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Where a descriptor is returned to; -1 until it is filled.
pub(super) struct OutFd(*mut i32);

impl OutFd {
    /// # Safety
    /// `pointer` is NULL or points to a writable integer that this call alone uses.
    pub(super) unsafe fn new(pointer: *mut i32) -> BoxliteResult<Self> {
        if pointer.is_null() {
            return Err(refused("fd", "is NULL", "pass a valid pointer: this argument is required"));
        }
        // SAFETY: not NULL, so writable by this function's own contract; the old value is not read.
        unsafe { pointer.write(-1) };
        Ok(Self(pointer))
    }

    /// Gives the descriptor to the caller.
    pub(super) fn fill(&self, fd: i32) {
        // SAFETY: checked and promised writable in `new`, which the C call outlives.
        unsafe { self.0.write(fd) };
    }
}

/// What the four `take` functions do.
///
/// # Safety
/// The pointers are what the header asks for.
unsafe fn take(
    wanted: Wanted,
    execution: *mut boxlite_execution,
    offset: u64,
    flags: i32,
    call: *mut boxlite_call,
    fd: *mut i32,
) -> BoxliteResult<()> {
    // SAFETY: the caller passes NULL or a writable pointer.
    let out = unsafe { OutFd::new(fd) }?;
    // SAFETY: the caller passes NULL or a live execution.
    let execution = unsafe { live(execution, "execution") }?;
    // SAFETY: the caller passes NULL or a live call.
    let call = unsafe { optional_live(call, "call") }?;
    if flags & !BOXLITE_FD_NONBLOCK != 0 {
        let problem = format!("has bits that mean nothing: {flags}");
        return Err(refused("flags", problem, "pass 0 or BOXLITE_FD_NONBLOCK"));
    }
    let state = |problem: String, hint: &'static str| {
        let id = execution.inner.id().as_str();
        Err(BoxliteError::InvalidState(
            Detail::new(format!("the {} of execution {id} {problem}", wanted.name())).subject(id).hint(hint),
        ))
    };
    // Two takes at once: one of them is the first.
    let place = std::mem::replace(wanted.place(&mut execution.plumbing()), Place::Taken);
    match place {
        Place::Here => {}
        Place::Taken => {
            return state(
                "was taken through this handle".to_owned(),
                "use the descriptor you got; attach to the execution to take the stream over",
            );
        }
        Place::Nowhere(why) => {
            *wanted.place(&mut execution.plumbing()) = place;
            return state(format!("can't be taken: the command {why}"), "see how the command was set up");
        }
    }
    let one = execution.inner.clone();
    let runtime = one.handle();
    let connected = Waiter::new("boxlite_execution_take", call, CutOff::Undo)
        .wait(&runtime, move |_| async move { one.connect(wanted.which(), offset).await })
        .and_then(|connected| connected)
        .and_then(|stream: UnixStream| {
            let blocking = flags & BOXLITE_FD_NONBLOCK == 0;
            match stream.set_nonblocking(!blocking) {
                Ok(()) => Ok(stream),
                Err(error) => Err(BoxliteError::Internal(Detail::new(format!(
                    "the descriptor can't be set up: {error}"
                )))),
            }
        });
    match connected {
        Ok(stream) => {
            out.fill(stream.into_raw_fd());
            Ok(())
        }
        Err(error) => {
            *wanted.place(&mut execution.plumbing()) = Place::Here;
            Err(error)
        }
    }
}

/// Takes the way to write to the command's standard input. *fd is a connected socket, close-on-exec, which the caller
/// closes; it outlives the handle; -1 on failure. shutdown(fd, SHUT_WR) is end of file for the process; with
/// BOXLITE_STDIN_ONCE so is the last close(), which is none while a forked child holds the descriptor. Write to it with
/// MSG_NOSIGNAL: a process that reads no more is EPIPE.
///
/// `flags` is 0 or BOXLITE_FD_NONBLOCK. Blocks for a moment; when `call`, which may be NULL, cuts it off, the stream can
/// still be taken. Any thread. Errors: BOXLITE_INVALID_STATE when it was taken through this handle before, or the
/// command has a terminal or no standard input; BOXLITE_RESOURCE_EXHAUSTED; BOXLITE_STOPPED; BOXLITE_PORTAL;
/// BOXLITE_NOT_FOUND when the command has ended and the box has forgotten it; BOXLITE_INVALID_ARGUMENT when `execution`
/// or `fd` is NULL or `flags` has other bits; BOXLITE_RPC; BOXLITE_RPC_TRANSPORT; BOXLITE_TIMEOUT; BOXLITE_CANCELLED;
/// BOXLITE_FORKED.
///
/// @ingroup execution_streams
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_execution_take_stdin(
    execution: *mut boxlite_execution,
    flags: i32,
    call: *mut boxlite_call,
    fd: *mut i32,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    // SAFETY: passed on from this function's own contract.
    enter(error, || unsafe { take(Wanted::Stdin, execution, OLDEST, flags, call, fd) })
}

/// Takes the command's standard output, from the byte at `offset` on, or from the oldest that is still there
/// (BOXLITE_OFFSET_OLDEST, or an `offset` that is older). *fd is a connected socket, close-on-exec, which the caller
/// reads and closes; it outlives the handle; -1 on failure. From now on no byte is lost: what is not read blocks the
/// process, as a pipe does. Closing it detaches: the process never notices, and the newest 1 MiB is kept again.
///
/// An end of file alone cannot be told from a cut: boxlite_execution_stream_state() tells.
///
/// `flags`, what may be NULL, blocking, threads and errors: as boxlite_execution_take_stdin().
///
/// @ingroup execution_streams
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_execution_take_stdout(
    execution: *mut boxlite_execution,
    offset: u64,
    flags: i32,
    call: *mut boxlite_call,
    fd: *mut i32,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    // SAFETY: passed on from this function's own contract.
    enter(error, || unsafe { take(Wanted::Stdout, execution, offset, flags, call, fd) })
}

/// Takes the command's standard error, as boxlite_execution_take_stdout() takes its standard output.
///
/// What may be NULL, blocking, threads and errors: as there.
///
/// @ingroup execution_streams
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_execution_take_stderr(
    execution: *mut boxlite_execution,
    offset: u64,
    flags: i32,
    call: *mut boxlite_call,
    fd: *mut i32,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    // SAFETY: passed on from this function's own contract.
    enter(error, || unsafe { take(Wanted::Stderr, execution, offset, flags, call, fd) })
}

/// Takes the command's terminal: one socket for both directions, what it prints from the byte at `offset` on. Else as
/// boxlite_execution_take_stdout(). Closing it does not hang the terminal up; to end its input write the terminal's own
/// end-of-file character (Ctrl-D, byte 4).
///
/// What may be NULL, blocking, threads and errors: as boxlite_execution_take_stdin(), but for BOXLITE_INVALID_STATE: when
/// it was taken through this handle before, or the command has no terminal.
///
/// @ingroup execution_streams
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_execution_take_tty(
    execution: *mut boxlite_execution,
    offset: u64,
    flags: i32,
    call: *mut boxlite_call,
    fd: *mut i32,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    // SAFETY: passed on from this function's own contract.
    enter(error, || unsafe { take(Wanted::Tty, execution, offset, flags, call, fd) })
}

/// Ends the command's standard input once its process has been given `total_bytes` since its start: as many as were
/// written by all who had it. Works whoever holds the descriptor, also with BOXLITE_STDIN_KEEP.
///
/// Blocks until the box knows; when `call`, which may be NULL, cuts it off, the end goes on its way. Any thread. Errors:
/// as boxlite_execution_kill(): an end that has come already is none.
///
/// @ingroup execution_streams
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_execution_close_stdin(
    execution: *mut boxlite_execution,
    total_bytes: u64,
    call: *mut boxlite_call,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a live execution.
        let one = unsafe { live(execution, "execution") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        let runtime = one.handle();
        Waiter::new("boxlite_execution_close_stdin", call, CutOff::Leave)
            .wait(&runtime, |_| async move { one.close_stdin(total_bytes).await })?
    })
}

/// How an output stream stands (BOXLITE_STREAM_STDOUT, also for a terminal; BOXLITE_STREAM_STDERR), for whoever reads the
/// descriptor that was taken through this handle: it has had everything from its first byte on when first + received ==
/// total, and closed is 1. That is never so for a descriptor that was taken over before the last byte had come to it.
///
/// On success *state is a new object, which the caller frees with boxlite_stream_state_free(); on failure NULL. Blocks;
/// `call` may be NULL. Any thread. Errors: BOXLITE_NOT_FOUND when the box knows nothing of the execution any more;
/// BOXLITE_STOPPED when the box ended without a word on it; BOXLITE_INVALID_ARGUMENT when `execution` or `state` is NULL
/// or `which` is no output stream; BOXLITE_RPC; BOXLITE_RPC_TRANSPORT; BOXLITE_TIMEOUT; BOXLITE_CANCELLED;
/// BOXLITE_FORKED.
///
/// @ingroup execution_streams
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_execution_stream_state(
    execution: *mut boxlite_execution,
    which: i32,
    call: *mut boxlite_call,
    state: *mut *mut boxlite_stream_state,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a writable pointer.
        let out = unsafe { Out::new(state, "state") }?;
        // SAFETY: the caller passes NULL or a live execution.
        let one = unsafe { live(execution, "execution") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        let stderr = match which {
            BOXLITE_STREAM_STDOUT => false,
            BOXLITE_STREAM_STDERR => true,
            other => {
                let hint = "pass BOXLITE_STREAM_STDOUT or BOXLITE_STREAM_STDERR";
                return Err(refused("which", format!("is {other}, which is no output stream"), hint));
            }
        };
        let runtime = one.handle();
        let known: BoxliteResult<StreamState> =
            Waiter::new("boxlite_execution_stream_state", call, CutOff::Undo)
                .wait(&runtime, |_| async move { one.stream_state(stderr).await })?;
        out.fill(boxlite_stream_state { state: known? });
        Ok(())
    })
}
