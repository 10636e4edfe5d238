//! Where a command's streams come from and go to, and its limits.
//!
//! Owns the numbers of the modes. The command itself is `command`'s.

use super::argument::{builder, number, refused};
use super::command::boxlite_command;
use super::error::{boxlite_code, boxlite_error};
use super::guard::enter;
use crate::litebox::{OutputMode, StdinMode};

/// Standard input is /dev/null.
pub const BOXLITE_STDIN_NULL: i32 = 0;
/// Standard input is a stream, and losing its connection is end of file.
pub const BOXLITE_STDIN_ONCE: i32 = 1;
/// Standard input is a stream of which only boxlite_execution_close_stdin() or a half-close is the end: whoever attaches
/// later may write on.
pub const BOXLITE_STDIN_KEEP: i32 = 2;

/// The newest 1 MiB of the output is kept until somebody takes the stream; the process never blocks (the default).
pub const BOXLITE_OUTPUT_RETAIN: i32 = 0;
/// No byte of the output is lost from the first on: the process blocks until somebody takes the stream and reads.
pub const BOXLITE_OUTPUT_PIPE: i32 = 1;
/// The output goes to /dev/null.
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

/// Sets where standard input comes from when the command is started by boxlite_box_exec_start(): one of the
/// BOXLITE_STDIN_ constants. The default is BOXLITE_STDIN_KEEP with a terminal or in a detached box, else
/// BOXLITE_STDIN_ONCE. boxlite_exec() does not look at it: its input is set by boxlite_command_set_input().
///
/// Does not block. Errors: BOXLITE_INVALID_ARGUMENT when `command` is NULL or `mode` is none of them.
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
/// Does not block. Errors: BOXLITE_INVALID_ARGUMENT when `command` is NULL or `mode` is none of them.
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
/// Does not block. Errors: BOXLITE_INVALID_ARGUMENT when `command` is NULL or `mode` is no output mode.
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
/// Does not block. Errors: BOXLITE_INVALID_ARGUMENT when `command` is NULL, or `rows` or `cols` is not between 1 and
/// 65535.
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
        let size = |value: i32, name| {
            let checked: u16 = number(value.into(), name)?;
            if checked == 0 {
                return Err(refused(name, "is 0", "pass the terminal's size, 24 by 80 for example"));
            }
            Ok(checked)
        };
        command.tty = Some((size(rows, "rows")?, size(cols, "cols")?));
        Ok(())
    })
}

/// Limits what this command and all its processes may use, each 0 for no limit besides the box's: `pids` processes at a
/// time, `memory_bytes` of memory, `open_files` of each process, `cpu_millis` thousandths of one CPU.
///
/// Does not block. Errors: BOXLITE_INVALID_ARGUMENT when `command` is NULL.
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
