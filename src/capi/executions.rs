//! The commands of a box at one moment, as C sees them.
//!
//! Owns a snapshot. Taking one up is `execution`'s.

use std::ffi::{CString, c_char};
use std::os::unix::ffi::OsStrExt;
use std::time::UNIX_EPOCH;

use super::argument::{Out, c_string, field, free, live, optional_live};
use super::boxes::boxlite_box;
use super::call::boxlite_call;
use super::command_streams::{output_number, stdin_number};
use super::error::{boxlite_code, boxlite_error};
use super::execution::boxlite_exit;
use super::guard::{enter, value};
use super::wait::{CutOff, Waiter};
use crate::errors::BoxliteResult;
use crate::litebox::ExecutionInfo;

/// The commands of a box at one moment, in the order they were started. Read-only, so any number of threads may read it.
///
/// @ingroup executions
pub struct boxlite_execution_list {
    executions: Vec<boxlite_execution_info>,
}

/// One command of a list.
///
/// @ingroup executions
pub struct boxlite_execution_info {
    id: CString,
    argv: Vec<CString>,
    started_at_ms: i64,
    exit: Option<boxlite_exit>,
    known: ExecutionInfo,
}

impl boxlite_execution_info {
    fn new(info: ExecutionInfo) -> Self {
        let since = info.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            id: c_string(info.id.as_str()),
            argv: info.argv.iter().map(|arg| c_string(arg.as_bytes())).collect(),
            started_at_ms: i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            exit: info.exit.map(boxlite_exit::new),
            known: info,
        }
    }
}

/// Lists the box's commands: those that run, and the newest 64 that have ended since the box started. A box that does not
/// run has none; it is not started.
///
/// On success *list is a new list, which the caller frees with boxlite_execution_list_free(); on failure NULL. Blocks;
/// `call` may be NULL. Any thread. Errors: BOXLITE_INVALID_ARGUMENT when `box` or `list` is NULL; BOXLITE_NOT_FOUND when
/// the box was removed; BOXLITE_STOPPED; BOXLITE_BUSY; BOXLITE_PORTAL; BOXLITE_RPC; BOXLITE_RPC_TRANSPORT;
/// BOXLITE_DATABASE; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_FORKED.
///
/// @ingroup executions
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_executions(
    r#box: *mut boxlite_box,
    call: *mut boxlite_call,
    list: *mut *mut boxlite_execution_list,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a writable pointer.
        let out = unsafe { Out::new(list, "list") }?;
        // SAFETY: the caller passes NULL or a live box.
        let one = unsafe { live(r#box, "box") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        let runtime = one.handle();
        let found: BoxliteResult<Vec<ExecutionInfo>> =
            Waiter::new("boxlite_box_executions", call, CutOff::Undo)
                .wait(&runtime, |_| async move { one.executions().await })?;
        let executions = found?.into_iter().map(boxlite_execution_info::new).collect();
        out.fill(boxlite_execution_list { executions });
        Ok(())
    })
}

/// How many commands the list has; 0 when `list` is NULL. Any thread; does not block.
///
/// @ingroup executions
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_execution_list_len(list: *const boxlite_execution_list) -> usize {
    // SAFETY: the caller passes NULL or a live list.
    unsafe { field(list, 0, |list| list.executions.len()) }
}

/// The command at `index`, counted from 0; NULL when there is none or `list` is NULL. Lent: it lives as long as the
/// list. Any thread; does not block.
///
/// @ingroup executions
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_execution_list_at(
    list: *const boxlite_execution_list,
    index: usize,
) -> *const boxlite_execution_info {
    let at = |list: &boxlite_execution_list| -> *const boxlite_execution_info {
        list.executions.get(index).map_or(std::ptr::null(), std::ptr::from_ref)
    };
    // SAFETY: the caller passes NULL or a live list.
    unsafe { field(list, std::ptr::null(), at) }
}

/// The command's id, by which boxlite_box_attach() takes it up; NULL when `info` is NULL. Lives as long as the list.
/// Any thread; does not block.
///
/// @ingroup executions
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_execution_info_id(info: *const boxlite_execution_info) -> *const c_char {
    // SAFETY: the caller passes NULL or a live info.
    unsafe { field(info, std::ptr::null(), |info| info.id.as_ptr()) }
}

/// How many words the command has, its program among them; 0 when `info` is NULL. Any thread; does not block.
///
/// @ingroup executions
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_execution_info_arg_len(info: *const boxlite_execution_info) -> usize {
    // SAFETY: the caller passes NULL or a live info.
    unsafe { field(info, 0, |info| info.argv.len()) }
}

/// The word at `index`, counted from 0: the program, then its arguments; any bytes but NUL. NULL when there is none or
/// `info` is NULL. Lives as long as the list. Any thread; does not block.
///
/// @ingroup executions
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_execution_info_arg(
    info: *const boxlite_execution_info,
    index: usize,
) -> *const c_char {
    // SAFETY: the caller passes NULL or a live info.
    unsafe { field(info, std::ptr::null(), |info| super::argument::pointer(info.argv.get(index))) }
}

/// When the command was started, by the box's clock, in milliseconds since 1970; 0 when `info` is NULL. Any thread;
/// does not block.
///
/// @ingroup executions
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_execution_info_started_at_ms(info: *const boxlite_execution_info) -> i64 {
    // SAFETY: the caller passes NULL or a live info.
    unsafe { field(info, 0, |info| info.started_at_ms) }
}

/// 1 when the command has a terminal, else 0; 0 when `info` is NULL. Any thread; does not block.
///
/// @ingroup executions
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_execution_info_tty(info: *const boxlite_execution_info) -> i32 {
    // SAFETY: the caller passes NULL or a live info.
    unsafe { field(info, 0, |info| i32::from(info.known.tty)) }
}

/// What the command's standard input is: one of the BOXLITE_STDIN_ constants; -1 when `info` is NULL. With
/// BOXLITE_STDIN_NULL there is none to be taken. Any thread; does not block.
///
/// @ingroup executions
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_execution_info_stdin(info: *const boxlite_execution_info) -> i32 {
    // SAFETY: the caller passes NULL or a live info.
    unsafe { field(info, -1, |info| stdin_number(info.known.stdin)) }
}

/// What becomes of the command's standard output, or of what comes from its terminal: one of the BOXLITE_OUTPUT_ constants;
/// -1 when `info` is NULL. With BOXLITE_OUTPUT_NULL there is none to be taken. Any thread; does not block.
///
/// @ingroup executions
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_execution_info_stdout(info: *const boxlite_execution_info) -> i32 {
    // SAFETY: the caller passes NULL or a live info.
    unsafe { field(info, -1, |info| output_number(info.known.stdout)) }
}

/// What becomes of the command's standard error: one of the BOXLITE_OUTPUT_ constants; -1 when `info` is NULL. Where it is
/// merged it is standard output's. Any thread; does not block.
///
/// @ingroup executions
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_execution_info_stderr(info: *const boxlite_execution_info) -> i32 {
    // SAFETY: the caller passes NULL or a live info.
    unsafe { field(info, -1, |info| output_number(info.known.stderr)) }
}

/// 1 when the command's standard error is written where its standard output is, so that there is none to be taken, as
/// always with a terminal; else 0, also when `info` is NULL. Any thread; does not block.
///
/// @ingroup executions
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_execution_info_merge_stderr(info: *const boxlite_execution_info) -> i32 {
    // SAFETY: the caller passes NULL or a live info.
    unsafe { field(info, 0, |info| i32::from(info.known.merge_stderr)) }
}

/// 1 when somebody is connected to the command's standard input or its terminal, else 0; 0 when
/// `info` is NULL. Any thread; does not block.
///
/// @ingroup executions
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_execution_info_stdin_taken(info: *const boxlite_execution_info) -> i32 {
    // SAFETY: the caller passes NULL or a live info.
    unsafe { field(info, 0, |info| i32::from(info.known.stdin_taken)) }
}

/// 1 when somebody is connected to the command's standard output or its terminal, else 0; 0 when
/// `info` is NULL. Any thread; does not block.
///
/// @ingroup executions
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_execution_info_stdout_taken(info: *const boxlite_execution_info) -> i32 {
    // SAFETY: the caller passes NULL or a live info.
    unsafe { field(info, 0, |info| i32::from(info.known.stdout_taken)) }
}

/// 1 when somebody is connected to the command's standard error, else 0; 0 when
/// `info` is NULL. Any thread; does not block.
///
/// @ingroup executions
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_execution_info_stderr_taken(info: *const boxlite_execution_info) -> i32 {
    // SAFETY: the caller passes NULL or a live info.
    unsafe { field(info, 0, |info| i32::from(info.known.stderr_taken)) }
}

/// How the command ended; NULL while it runs, or when `info` is NULL. Lent: it lives as long as the list, and is not
/// freed. Any thread; does not block.
///
/// @ingroup executions
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_execution_info_exit(
    info: *const boxlite_execution_info,
) -> *const boxlite_exit {
    let exit = |info: &boxlite_execution_info| -> *const boxlite_exit {
        info.exit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref)
    };
    // SAFETY: the caller passes NULL or a live info.
    unsafe { field(info, std::ptr::null(), exit) }
}

/// Frees a list with all that was lent from it. Does nothing when `list` is NULL. Any thread; does not block.
///
/// @ingroup executions
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_execution_list_free(list: *mut boxlite_execution_list) {
    // SAFETY: the caller passes NULL or a list it has not freed yet.
    value((), || unsafe { free(list) });
}
