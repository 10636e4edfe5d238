//! A command, collected: program, arguments, environment, what goes in and how much may come out.
//!
//! Owns a copy of all that was set. Running it is `exec`'s.

use std::ffi::{OsString, c_char, c_void};
use std::time::Duration;

use super::argument::{Out, builder, bytes, free, not_empty, refused, text, variable};
use super::box_options::set_variable;
use super::error::{boxlite_code, boxlite_error};
use super::guard::{enter, value};
use crate::errors::BoxliteResult;
use crate::litebox::{BoxCommand, ExecLimits, OutputMode, RunOptions, StdinMode};

/// What is kept of each output stream when the caller sets no bound.
const DEFAULT_MAX_OUTPUT: u64 = 64 * 1024 * 1024;
/// How long output is waited for after the process has ended, when the caller sets nothing.
const DEFAULT_DRAIN: Duration = Duration::from_millis(200);

/// A command to run in a box. A builder: used by one thread at a time, copied by what runs it, and usable any number of
/// times, also in a forked child.
///
/// @ingroup command
pub struct boxlite_command {
    argv: Vec<OsString>,
    env: Vec<(String, OsString)>,
    working_dir: Option<OsString>,
    user: Option<String>,
    timeout: Option<Duration>,
    merge_stderr: bool,
    input: Vec<u8>,
    max_output: u64,
    drain: Duration,
    pub(super) stdin: Option<StdinMode>,
    pub(super) stdout: OutputMode,
    pub(super) stderr: OutputMode,
    /// Rows and columns of its terminal.
    pub(super) tty: Option<(u16, u16)>,
    pub(super) limits: ExecLimits,
}

impl boxlite_command {
    fn new(program: OsString) -> Self {
        Self {
            argv: vec![program],
            env: Vec::new(),
            working_dir: None,
            user: None,
            timeout: None,
            merge_stderr: false,
            input: Vec::new(),
            max_output: DEFAULT_MAX_OUTPUT,
            drain: DEFAULT_DRAIN,
            stdin: None,
            stdout: OutputMode::Retain,
            stderr: OutputMode::Retain,
            tty: None,
            limits: ExecLimits::default(),
        }
    }

    /// As the Rust API has it.
    pub(super) fn to_box_command(&self) -> BoxCommand {
        let (program, arguments) =
            self.argv.split_first().map_or_else(Default::default, |(p, a)| (p.clone(), a));
        let mut command = BoxCommand::new(program)
            .args(arguments)
            .merge_stderr(self.merge_stderr)
            .stdout_mode(self.stdout)
            .stderr_mode(self.stderr)
            .limits(self.limits);
        for (name, content) in &self.env {
            command = command.env(name, content);
        }
        if let Some(dir) = &self.working_dir {
            command = command.working_dir(dir);
        }
        if let Some(user) = &self.user {
            command = command.user(user.clone());
        }
        if let Some(timeout) = self.timeout {
            command = command.timeout(timeout);
        }
        if let Some(mode) = self.stdin {
            command = command.stdin_mode(mode);
        }
        if let Some((rows, cols)) = self.tty {
            command = command.tty(true).tty_size(rows, cols);
        }
        command
    }

    /// Whether it has no standard error of its own.
    pub(super) fn merges_stderr(&self) -> bool {
        self.merge_stderr
    }

    /// What concerns running it to its end.
    pub(super) fn to_run_options(&self) -> RunOptions {
        RunOptions { input: self.input.clone(), max_output: self.max_output, drain: self.drain }
    }
}

/// Makes a command that runs `program`, without arguments: a path in the box, or a bare name that is looked up through
/// the box's PATH. It is argv[0] as well. Any bytes; copied.
///
/// On success *command is a new command, which the caller frees with boxlite_command_free(); on failure NULL. Any
/// thread; does not block. Errors: BOXLITE_INVALID_ARGUMENT when an argument is NULL or `program` is empty.
///
/// @ingroup command
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_command_new(
    program: *const c_char,
    command: *mut *mut boxlite_command,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a writable pointer.
        let out = unsafe { Out::new(command, "command") }?;
        // SAFETY: the caller passes NULL or a C string.
        let program = unsafe { bytes(program, "program") }?;
        not_empty(program, "program", "name the program to run")?;
        out.fill(boxlite_command::new(program.to_owned()));
        Ok(())
    })
}

/// Adds one argument, which may be empty. Any bytes; copied.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when an argument is NULL.
///
/// @ingroup command
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_command_add_arg(
    command: *mut boxlite_command,
    arg: *const c_char,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a command that this thread alone uses.
        let command = unsafe { builder(command, "command") }?;
        // SAFETY: the caller passes NULL or a C string.
        command.argv.push(unsafe { bytes(arg, "arg") }?.to_owned());
        Ok(())
    })
}

/// Adds `count` arguments. Any bytes; copied. On failure none is added.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `command` is NULL, `args` is NULL while
/// `count` is not 0, or one of the arguments is NULL.
///
/// @ingroup command
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_command_add_args(
    command: *mut boxlite_command,
    args: *const *const c_char,
    count: usize,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a command that this thread alone uses.
        let command = unsafe { builder(command, "command") }?;
        // SAFETY: the caller passes NULL or `count` pointers.
        let pointers = unsafe { slice(args, count, "args") }?;
        let mut added = Vec::with_capacity(count);
        for (index, pointer) in pointers.iter().enumerate() {
            // SAFETY: the caller passes NULL or a C string at each place.
            let arg = unsafe { bytes(*pointer, "args") };
            let hint = "pass a string at each place, or a smaller count";
            added.push(arg.map_err(|_| refused("args", format!("is NULL at [{index}]"), hint))?.to_owned());
        }
        command.argv.append(&mut added);
        Ok(())
    })
}

/// An array from C; NULL is an empty one.
///
/// # Safety
/// `pointer` is NULL or points to `length` readable values that stay unchanged during this call.
unsafe fn slice<'a, T>(pointer: *const T, length: usize, name: &'static str) -> BoxliteResult<&'a [T]> {
    if length == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(refused(name, "is NULL", "pass a valid pointer, or a length of 0"));
    }
    if length > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(refused(name, format!("is longer than memory: {length}"), "pass its true length"));
    }
    // SAFETY: not NULL and not longer than an object can be; readable by this function's own contract.
    Ok(unsafe { std::slice::from_raw_parts(pointer, length) })
}

/// Sets an environment variable of this command, over the box's and the image's; setting it again replaces it. The name
/// is UTF-8, the value any bytes; copied.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when an argument is NULL, or `name` is empty,
/// not UTF-8 or has a "=" in it.
///
/// @ingroup command
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_command_set_env(
    command: *mut boxlite_command,
    name: *const c_char,
    value: *const c_char,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a command that this thread alone uses.
        let command = unsafe { builder(command, "command") }?;
        // SAFETY: the caller passes NULL or a C string.
        let name = unsafe { variable(name, "name") }?;
        // SAFETY: the caller passes NULL or a C string.
        let content = unsafe { bytes(value, "value") }?;
        set_variable(&mut command.env, name, content);
        Ok(())
    })
}

/// Sets the working directory, an absolute path in the box. Any bytes; copied.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when an argument is NULL or `path` is not
/// absolute.
///
/// @ingroup command
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_command_set_working_dir(
    command: *mut boxlite_command,
    path: *const c_char,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a command that this thread alone uses.
        let command = unsafe { builder(command, "command") }?;
        // SAFETY: the caller passes NULL or a C string.
        let path = unsafe { bytes(path, "path") }?;
        if !path.as_encoded_bytes().starts_with(b"/") {
            let problem = format!("is not an absolute path: {path:?}");
            return Err(refused("path", problem, "pass a path in the box that begins with /"));
        }
        command.working_dir = Some(path.to_owned());
        Ok(())
    })
}

/// Sets the user: "name", "uid", "uid:gid" or "name:group". UTF-8; copied.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when an argument is NULL or `user` is not
/// UTF-8.
///
/// @ingroup command
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_command_set_user(
    command: *mut boxlite_command,
    user: *const c_char,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a command that this thread alone uses.
        let command = unsafe { builder(command, "command") }?;
        // SAFETY: the caller passes NULL or a C string.
        command.user = Some(unsafe { text(user, "user") }?.to_owned());
        Ok(())
    })
}

/// Sets how long the command may run, in milliseconds from its start: then all of its processes are killed, and its
/// result says that it timed out. -1 (the default) = for ever. This is a property of the command; how long the caller
/// waits is set by boxlite_call_set_timeout_ms().
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `command` is NULL, or `timeout_ms` is 0
/// or below -1.
///
/// @ingroup command
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_command_set_timeout_ms(
    command: *mut boxlite_command,
    timeout_ms: i64,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a command that this thread alone uses.
        let command = unsafe { builder(command, "command") }?;
        command.timeout = match (timeout_ms, u64::try_from(timeout_ms)) {
            (-1, _) => None,
            (1.., Ok(milliseconds)) => Some(Duration::from_millis(milliseconds)),
            _ => {
                let hint = "pass milliseconds, at least 1, or -1 for no limit";
                return Err(refused("timeout_ms", format!("is out of range: {timeout_ms}"), hint));
            }
        };
        Ok(())
    })
}

/// Sets what the command reads on its standard input, followed by end of file; default nothing. Copied.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `command` is NULL, or `data` is NULL
/// while `len` is not 0.
///
/// @ingroup command
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_command_set_input(
    command: *mut boxlite_command,
    data: *const c_void,
    len: usize,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a command that this thread alone uses.
        let command = unsafe { builder(command, "command") }?;
        // SAFETY: the caller passes NULL or `len` readable bytes.
        command.input = unsafe { slice(data.cast::<u8>(), len, "data") }?.to_vec();
        Ok(())
    })
}

/// Whether standard error is written into standard output, in the order it was written in (0 = no, the default).
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `command` is NULL.
///
/// @ingroup command
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_command_set_merge_stderr(
    command: *mut boxlite_command,
    merge: i32,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a command that this thread alone uses.
        unsafe { builder(command, "command") }?.merge_stderr = merge != 0;
        Ok(())
    })
}

/// Sets how many bytes of each output stream boxlite_exec() keeps; default 64 MiB. The head is kept, the rest is
/// counted and dropped; the process is never blocked by it.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `command` is NULL.
///
/// @ingroup command
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_command_set_max_output(
    command: *mut boxlite_command,
    max_output: u64,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a command that this thread alone uses.
        unsafe { builder(command, "command") }?.max_output = max_output;
        Ok(())
    })
}

/// Sets how long boxlite_exec() waits for more output after the process has ended while other processes still hold its
/// output streams, in milliseconds; default 200. Processes in the background are not killed by it.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `command` is NULL or `drain_ms` is
/// negative.
///
/// @ingroup command
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_command_set_drain_ms(
    command: *mut boxlite_command,
    drain_ms: i64,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a command that this thread alone uses.
        let command = unsafe { builder(command, "command") }?;
        command.drain = Duration::from_millis(super::argument::number(drain_ms, 0..=i64::MAX, "drain_ms")?);
        Ok(())
    })
}

/// Frees a command; what runs already is not affected. Does nothing when `command` is NULL. Any thread; does not block.
///
/// @ingroup command
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_command_free(command: *mut boxlite_command) {
    // SAFETY: the caller passes NULL or a command it has not freed yet.
    value((), || unsafe { free(command) });
}
