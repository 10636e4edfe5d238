//! Where a command's streams come from and go to, and its limits.
//!
//! Owns the numbers of the modes. The command itself is `command`'s.

use super::argument::{builder, number, refused};
use super::command::boxlite_command;
use super::error::{boxlite_code, boxlite_error};
use super::guard::enter;
use crate::litebox::{OutputMode, StdinMode};

/// Standard input is /dev/null.
///
/// @ingroup command
pub const BOXLITE_STDIN_NULL: i32 = 0;
/// Standard input is a stream, and losing its connection is end of file. Until somebody has taken it, it has neither
/// bytes nor an end: a command that reads it waits.
///
/// @ingroup command
pub const BOXLITE_STDIN_ONCE: i32 = 1;
/// Standard input is a stream of which only boxlite_execution_close_stdin() or a half-close is the end: whoever attaches
/// later may write on.
///
/// @ingroup command
pub const BOXLITE_STDIN_KEEP: i32 = 2;

/// The newest 1 MiB of the output is kept until somebody takes the stream; the process never blocks (the default).
///
/// @ingroup command
pub const BOXLITE_OUTPUT_RETAIN: i32 = 0;
/// No byte of the output is lost from the first on: the process blocks until somebody takes the stream and reads. Of a
/// command that has ended untaken output is kept within a bound, see boxlite_command_set_stdout().
///
/// @ingroup command
pub const BOXLITE_OUTPUT_PIPE: i32 = 1;
/// The output goes to /dev/null.
///
/// @ingroup command
pub const BOXLITE_OUTPUT_NULL: i32 = 2;

fn output_mode(mode: i32) -> Result<OutputMode, crate::BoxliteError> {
    match mode {
        BOXLITE_OUTPUT_RETAIN => Ok(OutputMode::Retain),
        BOXLITE_OUTPUT_PIPE => Ok(OutputMode::Pipe),
        BOXLITE_OUTPUT_NULL => Ok(OutputMode::Null),
        other => {
            let hint = "pass one of the BOXLITE_OUTPUT_ constants";
            Err(refused("mode", format!("is {other}, which is no output mode"), hint))
        }
    }
}

/// The number of a mode of standard input.
pub(super) fn stdin_number(mode: StdinMode) -> i32 {
    match mode {
        StdinMode::Null => BOXLITE_STDIN_NULL,
        StdinMode::Once => BOXLITE_STDIN_ONCE,
        StdinMode::Keep => BOXLITE_STDIN_KEEP,
    }
}

/// The number of a mode of output.
pub(super) fn output_number(mode: OutputMode) -> i32 {
    match mode {
        OutputMode::Retain => BOXLITE_OUTPUT_RETAIN,
        OutputMode::Pipe => BOXLITE_OUTPUT_PIPE,
        OutputMode::Null => BOXLITE_OUTPUT_NULL,
    }
}

/// Sets where standard input comes from when the command is started by boxlite_box_exec_start(): one of the
/// BOXLITE_STDIN_ constants. The default is BOXLITE_STDIN_KEEP with a terminal or in a detached box, else
/// BOXLITE_STDIN_ONCE: a command that reads it then waits, for ever if need be, until it is taken by
/// boxlite_execution_take_stdin() and written to or closed. boxlite_exec() does not look at it: its input is set by
/// boxlite_command_set_input().
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `command` is NULL or `mode` is none of
/// them.
///
/// @ingroup command
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_command_set_stdin(
    command: *mut boxlite_command,
    mode: i32,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a command that this thread alone uses.
        let command = unsafe { builder(command, "command") }?;
        command.stdin = Some(match mode {
            BOXLITE_STDIN_NULL => StdinMode::Null,
            BOXLITE_STDIN_ONCE => StdinMode::Once,
            BOXLITE_STDIN_KEEP => StdinMode::Keep,
            other => {
                let hint = "pass one of the BOXLITE_STDIN_ constants";
                return Err(refused("mode", format!("is {other}, which is no stdin mode"), hint));
            }
        });
        Ok(())
    })
}

/// Sets where standard output goes: one of the BOXLITE_OUTPUT_ constants, default BOXLITE_OUTPUT_RETAIN. For
/// boxlite_exec(), which reads all of it, only BOXLITE_OUTPUT_NULL makes a difference.
///
/// What a command that has ended leaves untaken is kept in the box's memory: of all such commands together an eighth of it,
/// 128 MiB at most, with BOXLITE_OUTPUT_PIPE, and a 32nd, 16 MiB at most, with BOXLITE_OUTPUT_RETAIN. Above that the output
/// of those that ended first is given up, and of commands before the newest 64 in any case. It never looks complete then:
/// boxlite_stream_state_dropped() counts it, and first + received stays below total.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `command` is NULL or `mode` is none of
/// them.
///
/// @ingroup command
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_command_set_stdout(
    command: *mut boxlite_command,
    mode: i32,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a command that this thread alone uses.
        let command = unsafe { builder(command, "command") }?;
        command.stdout = output_mode(mode)?;
        Ok(())
    })
}

/// Sets where standard error goes, as boxlite_command_set_stdout() does for standard output.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `command` is NULL or `mode` is no output
/// mode.
///
/// @ingroup command
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_command_set_stderr(
    command: *mut boxlite_command,
    mode: i32,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a command that this thread alone uses.
        let command = unsafe { builder(command, "command") }?;
        command.stderr = output_mode(mode)?;
        Ok(())
    })
}

/// Gives the command a terminal of `rows` lines and `cols` columns when it is started by boxlite_box_exec_start(): one
/// stream in both directions, taken by boxlite_execution_take_tty(). The default is none.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `command` is NULL, or `rows` or `cols`
/// is not between 1 and 65535.
///
/// @ingroup command
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_command_set_tty(
    command: *mut boxlite_command,
    rows: i32,
    cols: i32,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a command that this thread alone uses.
        let command = unsafe { builder(command, "command") }?;
        let size = |value: i32, name| number(value.into(), 1..=u16::MAX.into(), name);
        command.tty = Some((size(rows, "rows")?, size(cols, "cols")?));
        Ok(())
    })
}

/// Limits what this command and all its processes may use, each 0 for no limit besides the box's: `pids` processes at a
/// time, `memory_bytes` of memory, `open_files` of each process, `cpu_millis` thousandths of one CPU.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `command` is NULL.
///
/// @ingroup command
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_command_set_limits(
    command: *mut boxlite_command,
    pids: u64,
    memory_bytes: u64,
    open_files: u64,
    cpu_millis: u64,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a command that this thread alone uses.
        let command = unsafe { builder(command, "command") }?;
        let limit = |value: u64| (value != 0).then_some(value);
        command.limits.pids = limit(pids);
        command.limits.memory_bytes = limit(memory_bytes);
        command.limits.open_files = limit(open_files);
        command.limits.cpu_millis = limit(cpu_millis);
        Ok(())
    })
}
