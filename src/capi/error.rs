//! Error codes and error objects as C sees them.
//!
//! Owns the constants, which a test compares with `BoxliteError::CODES`. Never decides what is an error.

use std::ffi::{CString, c_char};

use super::argument::{c_string, field, free, pointer};
use super::guard::value;
use crate::errors::BoxliteError;

/// What a call returns: BOXLITE_OK, or the kind of its failure. Codes are never renumbered and never reused; newer
/// libraries may return codes that this header does not have.
///
/// @ingroup error
pub type boxlite_code = i32;

/// Success.
///
/// @ingroup error
pub const BOXLITE_OK: boxlite_code = 0;
/// The virtual machine monitor failed.
///
/// @ingroup error
pub const BOXLITE_ENGINE: boxlite_code = 1;
/// An option or the installation is wrong.
///
/// @ingroup error
pub const BOXLITE_CONFIG: boxlite_code = 2;
/// A file or directory of the home could not be used.
///
/// @ingroup error
pub const BOXLITE_STORAGE: boxlite_code = 3;
/// An image is unusable or could not be fetched.
///
/// @ingroup error
pub const BOXLITE_IMAGE: boxlite_code = 4;
/// The channel to a box's shim or guest agent failed.
///
/// @ingroup error
pub const BOXLITE_PORTAL: boxlite_code = 5;
/// A network peer could not be reached or refused.
///
/// @ingroup error
pub const BOXLITE_NETWORK: boxlite_code = 6;
/// A call to the guest agent was answered with an error.
///
/// @ingroup error
pub const BOXLITE_RPC: boxlite_code = 7;
/// A bug in boxlite.
///
/// @ingroup error
pub const BOXLITE_INTERNAL: boxlite_code = 8;
/// A command could not be started, or its output was cut off.
///
/// @ingroup error
pub const BOXLITE_EXECUTION: boxlite_code = 9;
/// Not available in this build or on this machine.
///
/// @ingroup error
pub const BOXLITE_UNSUPPORTED: boxlite_code = 10;
/// No such box, image or execution.
///
/// @ingroup error
pub const BOXLITE_NOT_FOUND: boxlite_code = 11;
/// The name is taken.
///
/// @ingroup error
pub const BOXLITE_ALREADY_EXISTS: boxlite_code = 12;
/// The operation is not possible in the present state.
///
/// @ingroup error
pub const BOXLITE_INVALID_STATE: boxlite_code = 13;
/// The home's database failed.
///
/// @ingroup error
pub const BOXLITE_DATABASE: boxlite_code = 14;
/// An argument is wrong: NULL where a value is required, not UTF-8 where that is required, out of range.
///
/// @ingroup error
pub const BOXLITE_INVALID_ARGUMENT: boxlite_code = 15;
/// The runtime or the box was stopped.
///
/// @ingroup error
pub const BOXLITE_STOPPED: boxlite_code = 16;
/// Out of memory, disk space, descriptors or another limit.
///
/// @ingroup error
pub const BOXLITE_RESOURCE_EXHAUSTED: boxlite_code = 17;
/// The connection to the guest agent broke.
///
/// @ingroup error
pub const BOXLITE_RPC_TRANSPORT: boxlite_code = 18;
/// Stored metadata is damaged.
///
/// @ingroup error
pub const BOXLITE_METADATA_ERROR: boxlite_code = 19;
/// The execution's session is gone.
///
/// @ingroup error
pub const BOXLITE_SESSION_REAPED: boxlite_code = 20;
/// The call's deadline passed.
///
/// @ingroup error
pub const BOXLITE_TIMEOUT: boxlite_code = 21;
/// The caller cancelled.
///
/// @ingroup error
pub const BOXLITE_CANCELLED: boxlite_code = 22;
/// The handle belongs to the process that forked this one.
///
/// @ingroup error
pub const BOXLITE_FORKED: boxlite_code = 23;
/// Another process or thread holds the lock.
///
/// @ingroup error
pub const BOXLITE_BUSY: boxlite_code = 24;
/// A bug in boxlite, caught before it could harm the caller.
///
/// @ingroup error
pub const BOXLITE_PANIC: boxlite_code = 25;

/// Why a call failed. Read-only, so any number of threads may read it; freed with boxlite_error_free().
///
/// @ingroup error
pub struct boxlite_error {
    code: boxlite_code,
    message: CString,
    hint: CString,
    subject: Option<CString>,
    os_errno: i32,
    exit_code: i32,
}

impl boxlite_error {
    pub(super) fn new(cause: &BoxliteError) -> Self {
        Self {
            code: cause.code(),
            message: c_string(cause.to_string()),
            hint: c_string(cause.hint()),
            subject: cause.subject().map(c_string),
            os_errno: cause.os_errno().unwrap_or(0),
            exit_code: cause.exit_code().unwrap_or(-1),
        }
    }
}

/// The error's code; never BOXLITE_OK. BOXLITE_OK when `error` is NULL. Any thread; does not block.
///
/// @ingroup error
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_error_code(error: *const boxlite_error) -> boxlite_code {
    // SAFETY: the caller passes NULL or a live error.
    unsafe { field(error, BOXLITE_OK, |error| error.code) }
}

/// What went wrong, in UTF-8 for a person, in English: one line, which the end of the guest's console follows, on lines
/// of its own, where a box failed to start. Its wording may change between versions.
///
/// Valid until the error is freed; never NULL, and "" when `error` is NULL. Any thread; does not block.
///
/// @ingroup error
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_error_message(error: *const boxlite_error) -> *const c_char {
    // SAFETY: the caller passes NULL or a live error.
    unsafe { field(error, c"".as_ptr(), |error| error.message.as_ptr()) }
}

/// What can be done about it: one sentence of UTF-8, never empty.
///
/// Valid until the error is freed; never NULL, and "" when `error` is NULL. Any thread; does not block.
///
/// @ingroup error
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_error_hint(error: *const boxlite_error) -> *const c_char {
    // SAFETY: the caller passes NULL or a live error.
    unsafe { field(error, c"".as_ptr(), |error| error.hint.as_ptr()) }
}

/// What the error is about: a path, a name, an id, an image reference, or the name of a wrong argument. Always UTF-8,
/// for a person: bytes of a path that are not UTF-8 are replaced by U+FFFD, so such a path does not lead anywhere.
///
/// Valid until the error is freed; NULL when there is none or `error` is NULL. Any thread; does not block.
///
/// @ingroup error
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_error_subject(error: *const boxlite_error) -> *const c_char {
    // SAFETY: the caller passes NULL or a live error.
    unsafe { field(error, std::ptr::null(), |error| pointer(error.subject.as_ref())) }
}

/// The operating system's error number (errno) that was the cause; 0 when there is none or `error` is NULL. Any thread;
/// does not block.
///
/// @ingroup error
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_error_os_errno(error: *const boxlite_error) -> i32 {
    // SAFETY: the caller passes NULL or a live error.
    unsafe { field(error, 0, |error| error.os_errno) }
}

/// For BOXLITE_EXECUTION, the exit code a shell would give for a command that could not be started: 127 when it was not
/// found, 126 when it is not executable. -1 for all other errors, and when `error` is NULL. Any thread; does not block.
///
/// @ingroup error
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_error_exit_code(error: *const boxlite_error) -> i32 {
    // SAFETY: the caller passes NULL or a live error.
    unsafe { field(error, -1, |error| error.exit_code) }
}

/// Frees an error. Does nothing when `error` is NULL. Any thread; does not block.
///
/// @ingroup error
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_error_free(error: *mut boxlite_error) {
    // SAFETY: the caller passes NULL or an error it has not freed yet.
    value((), || unsafe { free(error) });
}

/// The name of a code as it stands in this header, such as "BOXLITE_NOT_FOUND"; "BOXLITE_UNKNOWN" for a number that is
/// no code of this library.
///
/// The string is static. Any thread may call this at any time; it does not block and cannot fail.
///
/// @ingroup error
#[unsafe(no_mangle)]
pub extern "C" fn boxlite_code_name(code: boxlite_code) -> *const c_char {
    let name = match code {
        BOXLITE_OK => c"BOXLITE_OK",
        BOXLITE_ENGINE => c"BOXLITE_ENGINE",
        BOXLITE_CONFIG => c"BOXLITE_CONFIG",
        BOXLITE_STORAGE => c"BOXLITE_STORAGE",
        BOXLITE_IMAGE => c"BOXLITE_IMAGE",
        BOXLITE_PORTAL => c"BOXLITE_PORTAL",
        BOXLITE_NETWORK => c"BOXLITE_NETWORK",
        BOXLITE_RPC => c"BOXLITE_RPC",
        BOXLITE_INTERNAL => c"BOXLITE_INTERNAL",
        BOXLITE_EXECUTION => c"BOXLITE_EXECUTION",
        BOXLITE_UNSUPPORTED => c"BOXLITE_UNSUPPORTED",
        BOXLITE_NOT_FOUND => c"BOXLITE_NOT_FOUND",
        BOXLITE_ALREADY_EXISTS => c"BOXLITE_ALREADY_EXISTS",
        BOXLITE_INVALID_STATE => c"BOXLITE_INVALID_STATE",
        BOXLITE_DATABASE => c"BOXLITE_DATABASE",
        BOXLITE_INVALID_ARGUMENT => c"BOXLITE_INVALID_ARGUMENT",
        BOXLITE_STOPPED => c"BOXLITE_STOPPED",
        BOXLITE_RESOURCE_EXHAUSTED => c"BOXLITE_RESOURCE_EXHAUSTED",
        BOXLITE_RPC_TRANSPORT => c"BOXLITE_RPC_TRANSPORT",
        BOXLITE_METADATA_ERROR => c"BOXLITE_METADATA_ERROR",
        BOXLITE_SESSION_REAPED => c"BOXLITE_SESSION_REAPED",
        BOXLITE_TIMEOUT => c"BOXLITE_TIMEOUT",
        BOXLITE_CANCELLED => c"BOXLITE_CANCELLED",
        BOXLITE_FORKED => c"BOXLITE_FORKED",
        BOXLITE_BUSY => c"BOXLITE_BUSY",
        BOXLITE_PANIC => c"BOXLITE_PANIC",
        _ => c"BOXLITE_UNKNOWN",
    };
    name.as_ptr()
}
