//! A command that runs: started or taken up, signalled, waited for.
//!
//! Owns which of its streams this handle has given away. Giving them away is `execution_streams`'.

use std::ffi::{CString, c_char};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::argument::{Out, c_string, field, free, free_live, handle, live, number, optional_live, text};
use super::boxes::boxlite_box;
use super::call::boxlite_call;
use super::command::boxlite_command;
use super::error::{boxlite_code, boxlite_error};
use super::execution_streams::{OutFd, Plumbing};
use super::guard::{Live, Owner, enter, value};
use super::wait::{CutOff, Waiter};
use crate::errors::BoxliteResult;
use crate::litebox::{ExecExit, Execution, ExecutionInfo};

/// A command in a box that runs, or has run. Serves any number of threads. A handle does not keep the command alive, and
/// freeing it ends nothing: streams that nobody has taken stay for whoever attaches.
///
/// @ingroup execution
pub struct boxlite_execution {
    id: CString,
    owner: u32,
    pub(super) inner: Execution,
    pub(super) plumbing: Mutex<Plumbing>,
}

/// How a command ended. Read-only, so any number of threads may read it.
///
/// @ingroup execution
pub struct boxlite_exit {
    exit: ExecExit,
}

impl boxlite_exit {
    pub(super) fn new(exit: ExecExit) -> Self {
        Self { exit }
    }
}

impl Live for boxlite_execution {
    fn owner(&self) -> Owner {
        Owner::process(self.owner)
    }
}

impl boxlite_execution {
    fn new(inner: Execution, owner: u32, plumbing: Plumbing) -> Self {
        Self { id: c_string(inner.id().as_bytes()), owner, inner, plumbing: Mutex::new(plumbing) }
    }

    /// What the lock guards is whole at any time.
    pub(super) fn plumbing(&self) -> MutexGuard<'_, Plumbing> {
        self.plumbing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts a command in the box and returns when its process runs. Starts the box when it does not run. What
/// boxlite_command_set_input(), _set_max_output() and _set_drain_ms() set concerns boxlite_exec() only; `command` is
/// copied. A command that reads its standard input waits until somebody takes it and writes or closes it, for ever if
/// nobody does: give one that is to read nothing BOXLITE_STDIN_NULL.
///
/// On success *execution is a new handle, which the caller frees with boxlite_execution_free(); on failure NULL. When
/// `call`, which may be NULL, cuts it off, no process is left. Blocks; reports progress while the box starts. Any
/// thread, any number at a time on one box. Errors: those of boxlite_exec().
///
/// @ingroup execution
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_exec_start(
    r#box: *mut boxlite_box,
    command: *const boxlite_command,
    call: *mut boxlite_call,
    execution: *mut *mut boxlite_execution,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a writable pointer.
        let out = unsafe { Out::new(execution, "execution") }?;
        // SAFETY: the caller passes NULL or a live box.
        let one = unsafe { live(r#box, "box") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live command that no thread changes meanwhile.
        let command = unsafe { handle(command, "command") }?;
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        let (plumbing, command) = (Plumbing::of(command), command.to_box_command());
        let (runtime, owner) = (one.handle(), one.owner_pid());
        let started: BoxliteResult<Execution> = Waiter::new("boxlite_box_exec_start", call, CutOff::Undo)
            .with_progress()
            .wait(&runtime, |control| async move { one.exec_with(command, &control.sink).await })?;
        out.fill(boxlite_execution::new(started?, owner, plumbing));
        Ok(())
    })
}

/// Takes up a command by its id, whichever process started it: one that runs, or one of the newest 64 that have ended
/// since the box started. Does not start the box. `id` is copied.
///
/// A stream that is taken through the new handle is taken over: who had it before gets end of file, and
/// boxlite_stream_state_taken_over() says so through the handle it had it from.
///
/// On success *execution is a new handle, which the caller frees with boxlite_execution_free(); on failure NULL. Blocks;
/// `call` may be NULL. Any thread. Errors: BOXLITE_NOT_FOUND when the box knows no such command or does not run;
/// BOXLITE_INVALID_ARGUMENT when `box`, `id` or `execution` is NULL or `id` is not UTF-8; BOXLITE_STOPPED;
/// BOXLITE_BUSY; BOXLITE_PORTAL; BOXLITE_RPC; BOXLITE_RPC_TRANSPORT; BOXLITE_DATABASE; BOXLITE_TIMEOUT;
/// BOXLITE_CANCELLED; BOXLITE_FORKED.
///
/// @ingroup execution
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_attach(
    r#box: *mut boxlite_box,
    id: *const c_char,
    call: *mut boxlite_call,
    execution: *mut *mut boxlite_execution,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a writable pointer.
        let out = unsafe { Out::new(execution, "execution") }?;
        // SAFETY: the caller passes NULL or a live box.
        let one = unsafe { live(r#box, "box") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        // SAFETY: the caller passes NULL or a C string.
        let wanted = unsafe { text(id, "id") }?.to_owned();
        let (runtime, owner) = (one.handle(), one.owner_pid());
        let found: BoxliteResult<(Execution, ExecutionInfo)> =
            Waiter::new("boxlite_box_attach", call, CutOff::Undo)
                .wait(&runtime, |_| async move { one.attach_as(&wanted).await })?;
        let (found, info) = found?;
        out.fill(boxlite_execution::new(found, owner, Plumbing::of_known(&info)));
        Ok(())
    })
}

/// The execution's id, by which any process can take it up. Valid until the handle is freed; NULL when `execution` is
/// NULL. Any thread; does not block; works in a forked child.
///
/// @ingroup execution
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_execution_id(execution: *const boxlite_execution) -> *const c_char {
    // SAFETY: the caller passes NULL or a live execution.
    unsafe { field(execution, std::ptr::null(), |execution| execution.id.as_ptr()) }
}

/// Waits for the command's process to end. May be called any number of times, from any thread, with the same answer. A
/// process that blocks because nobody reads what it writes is waited for, too.
///
/// On success *exit is a new object, which the caller frees with boxlite_exit_free(); on failure NULL. Blocks; when
/// `call`, which may be NULL, cuts it off, the process goes on. Errors: BOXLITE_STOPPED when the box ended without a word
/// on the process; BOXLITE_INVALID_ARGUMENT when `execution` or `exit` is NULL; BOXLITE_TIMEOUT; BOXLITE_CANCELLED;
/// BOXLITE_FORKED.
///
/// @ingroup execution
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_execution_wait(
    execution: *mut boxlite_execution,
    call: *mut boxlite_call,
    exit: *mut *mut boxlite_exit,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a writable pointer.
        let out = unsafe { Out::new(exit, "exit") }?;
        // SAFETY: the caller passes NULL or a live execution.
        let one = unsafe { live(execution, "execution") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        let runtime = one.handle();
        let ended: BoxliteResult<ExecExit> = Waiter::new("boxlite_execution_wait", call, CutOff::Undo)
            .wait(&runtime, |_| async move { one.exit().await })?;
        out.fill(boxlite_exit::new(ended?));
        Ok(())
    })
}

/// A descriptor that can be read from (poll() and its like say so) for ever once the process has ended, or once nobody
/// can tell any more how it does; there is nothing to be read. It may come before the end of the output. *fd is a new
/// descriptor each time, close-on-exec, which the caller closes, and outlives the handle; -1 on failure.
///
/// Does not block. Any thread. Errors: BOXLITE_RESOURCE_EXHAUSTED; BOXLITE_INVALID_ARGUMENT when `execution` or `fd` is
/// NULL; BOXLITE_FORKED.
///
/// @ingroup execution
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_execution_exit_fd(
    execution: *mut boxlite_execution,
    fd: *mut i32,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a writable pointer.
        let out = unsafe { OutFd::new(fd) }?;
        // SAFETY: the caller passes NULL or a live execution.
        let descriptor: OwnedFd = unsafe { live(execution, "execution") }?.inner.exit_descriptor()?;
        out.fill(descriptor.into_raw_fd());
        Ok(())
    })
}

/// Sends a signal to the command's process, by its number on Linux.
///
/// Blocks until the box has done it; when `call`, which may be NULL, cuts it off, the signal is sent all the same once
/// it is on its way. Any thread. Errors: BOXLITE_INVALID_ARGUMENT when `execution` is NULL or there is no such signal;
/// BOXLITE_INVALID_STATE when the process has ended; BOXLITE_NOT_FOUND when the box knows nothing of the execution any
/// more; BOXLITE_STOPPED; BOXLITE_RPC; BOXLITE_RPC_TRANSPORT; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_FORKED.
///
/// @ingroup execution
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_execution_signal(
    execution: *mut boxlite_execution,
    signal: i32,
    call: *mut boxlite_call,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a live execution.
        let one = unsafe { live(execution, "execution") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        let runtime = one.handle();
        Waiter::new("boxlite_execution_signal", call, CutOff::Leave)
            .wait(&runtime, |_| async move { one.signal(signal).await })?
    })
}

/// Kills all of the command's processes, also those in sessions of their own and those that its process has left behind.
/// When there is none any more, that is no error.
///
/// Blocks until the box has done it; when `call`, which may be NULL, cuts it off, the kill goes on. Any thread. Errors:
/// BOXLITE_INVALID_ARGUMENT when `execution` is NULL; BOXLITE_NOT_FOUND when the box knows nothing of the execution any
/// more; BOXLITE_STOPPED; BOXLITE_RPC; BOXLITE_RPC_TRANSPORT; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_FORKED.
///
/// @ingroup execution
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_execution_kill(
    execution: *mut boxlite_execution,
    call: *mut boxlite_call,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a live execution.
        let one = unsafe { live(execution, "execution") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        let runtime = one.handle();
        Waiter::new("boxlite_execution_kill", call, CutOff::Leave)
            .wait(&runtime, |_| async move { one.kill().await })?
    })
}

/// Gives the command's terminal a new size, in force when this returns.
///
/// Blocks; when `call`, which may be NULL, cuts it off, the change goes on. Any thread. Errors: BOXLITE_INVALID_STATE
/// when the command has no terminal; BOXLITE_INVALID_ARGUMENT when `execution` is NULL, or `rows` or `cols` is not
/// between 0 and 65535; else as boxlite_execution_signal().
///
/// @ingroup execution
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_execution_resize_tty(
    execution: *mut boxlite_execution,
    rows: i32,
    cols: i32,
    call: *mut boxlite_call,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a live execution.
        let one = unsafe { live(execution, "execution") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        let size = |value: i32, name| number::<u16>(value.into(), 0..=u16::MAX.into(), name);
        let (rows, cols) = (size(rows, "rows")?, size(cols, "cols")?);
        let runtime = one.handle();
        Waiter::new("boxlite_execution_resize_tty", call, CutOff::Leave)
            .wait(&runtime, |_| async move { one.resize_tty(rows.into(), cols.into()).await })?
    })
}

/// Frees a handle; the command goes on. Does nothing when `execution` is NULL, or in a forked child. Any thread; does
/// not block.
///
/// @ingroup execution
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_execution_free(execution: *mut boxlite_execution) {
    // SAFETY: the caller passes NULL or an execution it has not freed yet.
    value((), || unsafe { free_live(execution) });
}

/// The process's exit code, 0 to 255; -1 when it died of a signal or `exit` is NULL. Any thread; does not block.
///
/// @ingroup execution
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_exit_code(exit: *const boxlite_exit) -> i32 {
    let code = |exit: ExecExit| if exit.signal == 0 { exit.exit_code } else { -1 };
    // SAFETY: the caller passes NULL or a live exit.
    unsafe { field(exit, -1, |exit| code(exit.exit)) }
}

/// The signal the process died of; 0 when it exited or `exit` is NULL. Any thread; does not block.
///
/// @ingroup execution
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_exit_signal(exit: *const boxlite_exit) -> i32 {
    // SAFETY: the caller passes NULL or a live exit.
    unsafe { field(exit, 0, |exit| exit.exit.signal) }
}

/// 1 when the command was killed because its time was up, else 0; 0 when `exit` is NULL. Any thread; does not block.
///
/// @ingroup execution
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_exit_timed_out(exit: *const boxlite_exit) -> i32 {
    // SAFETY: the caller passes NULL or a live exit.
    unsafe { field(exit, 0, |exit| i32::from(exit.exit.timed_out)) }
}

/// 1 when the box's kernel killed one of the command's processes for want of memory, else 0; 0 when `exit` is NULL. Any
/// thread; does not block.
///
/// @ingroup execution
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_exit_oom_killed(exit: *const boxlite_exit) -> i32 {
    // SAFETY: the caller passes NULL or a live exit.
    unsafe { field(exit, 0, |exit| i32::from(exit.exit.oom_killed)) }
}

/// Frees an exit. Does nothing when `exit` is NULL. Any thread; does not block.
///
/// @ingroup execution
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_exit_free(exit: *mut boxlite_exit) {
    // SAFETY: the caller passes NULL or an exit it has not freed yet.
    value((), || unsafe { free(exit) });
}
