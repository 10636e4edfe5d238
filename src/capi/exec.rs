//! A command run to its end, and what came of it.
//!
//! Owns the result. The processes are the box's.

use std::ffi::c_char;

use super::argument::{Out, field, free, handle, live, optional_live};
use super::boxes::boxlite_box;
use super::call::boxlite_call;
use super::command::boxlite_command;
use super::error::{boxlite_code, boxlite_error};
use super::guard::{enter, value};
use super::wait::{Control, CutOff, Waiter};
use crate::litebox::{RunControl, RunFailure, RunOutput};

/// What a command did. Read-only, so any number of threads may read it.
///
/// @ingroup exec
pub struct boxlite_exec_result {
    exit_code: i32,
    signal: i32,
    timed_out: bool,
    oom_killed: bool,
    stdout: Stream,
    stderr: Stream,
    output_still_open: bool,
}

/// One output stream. A NUL follows its bytes, which is not part of them.
struct Stream {
    bytes: Vec<u8>,
    total: u64,
}

impl Stream {
    fn new(mut bytes: Vec<u8>, total: u64) -> Self {
        bytes.reserve_exact(1);
        bytes.push(0);
        Self { bytes, total }
    }

    fn len(&self) -> usize {
        self.bytes.len() - 1
    }

    fn truncated(&self) -> i32 {
        i32::from(self.total > self.len() as u64)
    }
}

impl boxlite_exec_result {
    fn new(output: RunOutput) -> Self {
        let exit = output.exit;
        Self {
            exit_code: if exit.signal == 0 { exit.exit_code } else { -1 },
            signal: exit.signal,
            timed_out: exit.timed_out,
            oom_killed: exit.oom_killed,
            stdout: Stream::new(output.stdout, output.stdout_total),
            stderr: Stream::new(output.stderr, output.stderr_total),
            output_still_open: output.output_still_open,
        }
    }
}

/// Runs a command in the box and returns when its process has ended, with its exit and its output. Starts the box when
/// it does not run. A command that exits with a code other than 0, dies of a signal, or runs into its own timeout is a
/// success of this function: the result tells.
///
/// Processes that the command leaves in the background don't hold it: the call returns with what the output streams
/// hold when the process has ended and what comes within the drain time, and boxlite_exec_result_output_still_open()
/// says that more may have followed.
///
/// On success *result is a new result, which the caller frees with boxlite_exec_result_free(). When the call is cut off
/// (BOXLITE_TIMEOUT, BOXLITE_CANCELLED) or the output is (BOXLITE_EXECUTION, BOXLITE_RPC_TRANSPORT), all processes of the
/// command are killed, and *result, when it is not NULL, holds the output so far and is freed as well. After all other
/// failures it is NULL.
///
/// Blocks; reports progress while the box starts. `call` may be NULL. Any thread, any number at a time on one box.
/// Errors: BOXLITE_EXECUTION when the command could not be started (boxlite_error_exit_code() has 126 or 127);
/// BOXLITE_INVALID_ARGUMENT when `box`, `command` or `result` is NULL; BOXLITE_STOPPED when the box was stopped
/// meanwhile or this handle has seen a stop; BOXLITE_PORTAL; BOXLITE_RPC; BOXLITE_RPC_TRANSPORT;
/// BOXLITE_RESOURCE_EXHAUSTED; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_FORKED; and those of boxlite_box_start().
///
/// @ingroup exec
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_exec(
    r#box: *mut boxlite_box,
    command: *const boxlite_command,
    call: *mut boxlite_call,
    result: *mut *mut boxlite_exec_result,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a writable pointer.
        let out = unsafe { Out::new(result, "result") }?;
        // SAFETY: the caller passes NULL or a live box.
        let one = unsafe { live(r#box, "box") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live command that no thread changes meanwhile.
        let command = unsafe { handle(command, "command") }?;
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        let (options, command) = (command.to_run_options(), command.to_box_command());
        let runtime = one.handle();
        let outcome: Result<RunOutput, RunFailure> = Waiter::new("boxlite_exec", call, CutOff::Answer)
            .with_progress()
            .wait(&runtime, |Control { sink, deadline, cancelled }| async move {
                one.run(command, options, &sink, RunControl { deadline, cancelled }).await
            })?;
        match outcome {
            Ok(output) => {
                out.fill(boxlite_exec_result::new(output));
                Ok(())
            }
            Err(failure) => {
                if let Some(output) = failure.partial {
                    out.fill(boxlite_exec_result::new(output));
                }
                Err(failure.error)
            }
        }
    })
}

/// The process's exit code, 0 to 255; -1 when it died of a signal or `result` is NULL. Any thread; does not block.
///
/// @ingroup exec
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_exec_result_exit_code(result: *const boxlite_exec_result) -> i32 {
    // SAFETY: the caller passes NULL or a live result.
    unsafe { field(result, -1, |result| result.exit_code) }
}

/// The signal the process died of; 0 when it exited or `result` is NULL. Any thread; does not block.
///
/// @ingroup exec
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_exec_result_signal(result: *const boxlite_exec_result) -> i32 {
    // SAFETY: the caller passes NULL or a live result.
    unsafe { field(result, 0, |result| result.signal) }
}

/// 1 when the command was killed because its time was up, else 0; 0 when `result` is NULL. Any thread; does not block.
///
/// @ingroup exec
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_exec_result_timed_out(result: *const boxlite_exec_result) -> i32 {
    // SAFETY: the caller passes NULL or a live result.
    unsafe { field(result, 0, |result| i32::from(result.timed_out)) }
}

/// 1 when the box's kernel killed one of the command's processes for want of memory, else 0; 0 when `result` is NULL.
/// Any thread; does not block.
///
/// @ingroup exec
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_exec_result_oom_killed(result: *const boxlite_exec_result) -> i32 {
    // SAFETY: the caller passes NULL or a live result.
    unsafe { field(result, 0, |result| i32::from(result.oom_killed)) }
}

/// What was kept of standard output: boxlite_exec_result_stdout_len() bytes, any of which may be NUL, and one NUL after
/// them. Valid until the result is freed; NULL when `result` is NULL. Any thread; does not block.
///
/// @ingroup exec
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_exec_result_stdout(result: *const boxlite_exec_result) -> *const c_char {
    // SAFETY: the caller passes NULL or a live result.
    unsafe { field(result, std::ptr::null(), |result| result.stdout.bytes.as_ptr().cast()) }
}

/// How many bytes boxlite_exec_result_stdout() has; 0 when `result` is NULL. Any thread; does not block.
///
/// @ingroup exec
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_exec_result_stdout_len(result: *const boxlite_exec_result) -> usize {
    // SAFETY: the caller passes NULL or a live result.
    unsafe { field(result, 0, |result| result.stdout.len()) }
}

/// How many bytes the command wrote to standard output; 0 when `result` is NULL. Any thread; does not block.
///
/// @ingroup exec
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_exec_result_stdout_total(result: *const boxlite_exec_result) -> u64 {
    // SAFETY: the caller passes NULL or a live result.
    unsafe { field(result, 0, |result| result.stdout.total) }
}

/// 1 when more was written to standard output than was kept (boxlite_command_set_max_output()), else 0; 0 when `result`
/// is NULL. Any thread; does not block.
///
/// @ingroup exec
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_exec_result_stdout_truncated(result: *const boxlite_exec_result) -> i32 {
    // SAFETY: the caller passes NULL or a live result.
    unsafe { field(result, 0, |result| result.stdout.truncated()) }
}

/// What was kept of standard error: boxlite_exec_result_stderr_len() bytes, any of which may be NUL, and one NUL after
/// them. Valid until the result is freed; NULL when `result` is NULL. Any thread; does not block.
///
/// @ingroup exec
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_exec_result_stderr(result: *const boxlite_exec_result) -> *const c_char {
    // SAFETY: the caller passes NULL or a live result.
    unsafe { field(result, std::ptr::null(), |result| result.stderr.bytes.as_ptr().cast()) }
}

/// How many bytes boxlite_exec_result_stderr() has; 0 when `result` is NULL. Any thread; does not block.
///
/// @ingroup exec
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_exec_result_stderr_len(result: *const boxlite_exec_result) -> usize {
    // SAFETY: the caller passes NULL or a live result.
    unsafe { field(result, 0, |result| result.stderr.len()) }
}

/// How many bytes the command wrote to standard error; 0 when `result` is NULL. Any thread; does not block.
///
/// @ingroup exec
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_exec_result_stderr_total(result: *const boxlite_exec_result) -> u64 {
    // SAFETY: the caller passes NULL or a live result.
    unsafe { field(result, 0, |result| result.stderr.total) }
}

/// 1 when more was written to standard error than was kept (boxlite_command_set_max_output()), else 0; 0 when `result`
/// is NULL. Any thread; does not block.
///
/// @ingroup exec
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_exec_result_stderr_truncated(result: *const boxlite_exec_result) -> i32 {
    // SAFETY: the caller passes NULL or a live result.
    unsafe { field(result, 0, |result| result.stderr.truncated()) }
}

/// 1 when processes in the background still held the command's output streams when the call returned, else 0; 0 when
/// `result` is NULL. Any thread; does not block.
///
/// @ingroup exec
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_exec_result_output_still_open(result: *const boxlite_exec_result) -> i32 {
    // SAFETY: the caller passes NULL or a live result.
    unsafe { field(result, 0, |result| i32::from(result.output_still_open)) }
}

/// Frees a result. Does nothing when `result` is NULL. Any thread; does not block.
///
/// @ingroup exec
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_exec_result_free(result: *mut boxlite_exec_result) {
    // SAFETY: the caller passes NULL or a result it has not freed yet.
    value((), || unsafe { free(result) });
}
