//! Copying into a box and out of it, and a file's bytes without a file of the host.
//!
//! Owns the bytes that were read. The copying itself is the Rust box's.

use std::ffi::{c_char, c_void};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use super::argument::{Out, bytes, field, free, handle, live, number, optional_live, refused};
use super::boxes::boxlite_box;
use super::call::boxlite_call;
use super::copy_options::boxlite_copy_options;
use super::error::{boxlite_code, boxlite_error};
use super::guard::{enter, value};
use super::wait::{CutOff, Waiter};
use crate::errors::BoxliteResult;
use crate::litebox::CopyOptions;

/// The permission bits of a new file: 0644.
///
/// @ingroup copy
pub const BOXLITE_MODE_DEFAULT: i32 = -1;

/// Bytes that were read. Serves any number of threads, also in a forked child.
///
/// @ingroup copy
pub struct boxlite_bytes {
    content: Vec<u8>,
}

/// Copies a file or a directory of the host into the box, which is started where needed. To exactly `box_path`, or,
/// when that is an existing directory or ends in '/', into it under the source's own name; missing directories are
/// made. Paths may be any bytes; `box_path` is absolute; what is given is copied. `options` may be NULL for the
/// defaults. Modes, times, user.* attributes, hard links and holes are kept; the owner is the box's user; devices and
/// sockets are left out.
///
/// Blocks; reports progress of a start. When `call`, which may be NULL, cuts it off, what was complete stays, and no file
/// has its name before it is complete. Any thread. Errors, which name the path: BOXLITE_NOT_FOUND;
/// BOXLITE_ALREADY_EXISTS; BOXLITE_INVALID_ARGUMENT; BOXLITE_STORAGE; BOXLITE_RESOURCE_EXHAUSTED, when a disk is full;
/// BOXLITE_EXECUTION when the copy's process in the box was killed; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; those of
/// boxlite_box_start().
///
/// @ingroup copy
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_copy_in(
    r#box: *mut boxlite_box,
    host_path: *const c_char,
    box_path: *const c_char,
    options: *const boxlite_copy_options,
    call: *mut boxlite_call,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a live box.
        let one = unsafe { live(r#box, "box") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        // SAFETY: the caller passes NULL or a C string.
        let from = PathBuf::from(unsafe { bytes(host_path, "host_path") }?);
        // SAFETY: the caller passes NULL or a C string.
        let to = unsafe { bytes(box_path, "box_path") }?.to_owned();
        // SAFETY: the caller passes NULL or options that no thread changes meanwhile.
        let options = unsafe { chosen(options) };
        let handle = one.handle();
        let copied: BoxliteResult<_> = Waiter::new("boxlite_box_copy_in", call, CutOff::Undo)
            .with_progress()
            .wait(&handle, |control| async move { one.copy_in(from, to, options, control.sink).await })?;
        copied.map(drop)
    })
}

/// Copies a file or a directory of the box to the host, by the same rules as boxlite_box_copy_in(). The owner is this
/// process's user, and set-uid and set-gid bits are dropped. Whatever the box holds, nothing is written outside the
/// place that `host_path` names.
///
/// What may be NULL and what is copied: as there. Blocks, is cut off, and fails as boxlite_box_copy_in(). Any thread.
///
/// @ingroup copy
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_copy_out(
    r#box: *mut boxlite_box,
    box_path: *const c_char,
    host_path: *const c_char,
    options: *const boxlite_copy_options,
    call: *mut boxlite_call,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a live box.
        let one = unsafe { live(r#box, "box") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        // SAFETY: the caller passes NULL or a C string.
        let from = unsafe { bytes(box_path, "box_path") }?.to_owned();
        // SAFETY: the caller passes NULL or a C string.
        let to = PathBuf::from(unsafe { bytes(host_path, "host_path") }?);
        // SAFETY: the caller passes NULL or options that no thread changes meanwhile.
        let options = unsafe { chosen(options) };
        let handle = one.handle();
        let copied: BoxliteResult<_> = Waiter::new("boxlite_box_copy_out", call, CutOff::Undo)
            .with_progress()
            .wait(&handle, |control| async move { one.copy_from(from, to, options, control.sink).await })?;
        copied.map(drop)
    })
}

/// Unpacks a tar archive, read from `fd` to its end, into the directory `box_path` of the box, which is made where it is
/// missing. `fd` may be a file, a pipe or a socket, blocking or not; it stays the caller's, who must not read from it
/// meanwhile. Of `options`, which may be NULL, only the overwriting matters.
///
/// Blocks, is cut off, and fails as boxlite_box_copy_in(); an archive that is damaged or ends too early is
/// BOXLITE_INVALID_ARGUMENT. Any thread.
///
/// @ingroup copy
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_copy_in_tar(
    r#box: *mut boxlite_box,
    fd: i32,
    box_path: *const c_char,
    options: *const boxlite_copy_options,
    call: *mut boxlite_call,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a live box.
        let one = unsafe { live(r#box, "box") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        // SAFETY: the caller passes NULL or a C string.
        let to = unsafe { bytes(box_path, "box_path") }?.to_owned();
        // SAFETY: the caller passes NULL or options that no thread changes meanwhile.
        let options = unsafe { chosen(options) };
        let archive = own(fd)?;
        let handle = one.handle();
        Waiter::new("boxlite_box_copy_in_tar", call, CutOff::Undo).with_progress().wait(
            &handle,
            |control| async move { one.copy_in_tar(archive, to, options, control.sink).await },
        )?
    })
}

/// Writes a tar archive (POSIX, with PAX records) of a file or a directory of the box to `fd`. Its entries begin with
/// the last name of `box_path`, or with '.' when the options leave the parent out. `fd` may be a file, a pipe or a
/// socket, blocking or not; it stays the caller's, and open. After a failure the archive lacks its end.
///
/// What may be NULL, and what is copied: as there. Blocks, is cut off, and fails as boxlite_box_copy_out(). Any thread.
///
/// @ingroup copy
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_copy_out_tar(
    r#box: *mut boxlite_box,
    box_path: *const c_char,
    fd: i32,
    options: *const boxlite_copy_options,
    call: *mut boxlite_call,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a live box.
        let one = unsafe { live(r#box, "box") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        // SAFETY: the caller passes NULL or a C string.
        let from = unsafe { bytes(box_path, "box_path") }?.to_owned();
        // SAFETY: the caller passes NULL or options that no thread changes meanwhile.
        let options = unsafe { chosen(options) };
        let archive = own(fd)?;
        let handle = one.handle();
        Waiter::new("boxlite_box_copy_out_tar", call, CutOff::Undo).with_progress().wait(
            &handle,
            |control| async move { one.copy_out_tar(from, archive, options, control.sink).await },
        )?
    })
}

/// Reads a whole file of the box, whatever its bytes; the box is started where needed. A file of more than `max_bytes` is
/// refused with BOXLITE_RESOURCE_EXHAUSTED. `box_path` is copied.
///
/// On success *content is new, and the caller frees it with boxlite_bytes_free(); on failure NULL. Blocks; reports
/// progress of a start; `call` may be NULL. Any thread. Errors, which name the path: BOXLITE_NOT_FOUND;
/// BOXLITE_INVALID_ARGUMENT when it is no regular file, `max_bytes` is negative or an argument is NULL; BOXLITE_STORAGE;
/// BOXLITE_TIMEOUT; BOXLITE_CANCELLED; those of boxlite_box_start().
///
/// @ingroup copy
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_read_file(
    r#box: *mut boxlite_box,
    box_path: *const c_char,
    max_bytes: i64,
    call: *mut boxlite_call,
    content: *mut *mut boxlite_bytes,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a writable pointer.
        let out = unsafe { Out::new(content, "content") }?;
        // SAFETY: the caller passes NULL or a live box.
        let one = unsafe { live(r#box, "box") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        // SAFETY: the caller passes NULL or a C string.
        let path = unsafe { bytes(box_path, "box_path") }?.to_owned();
        let limit: u64 = number(max_bytes, 0..=i64::MAX, "max_bytes")?;
        let handle = one.handle();
        let read: BoxliteResult<Vec<u8>> = Waiter::new("boxlite_box_read_file", call, CutOff::Undo)
            .with_progress()
            .wait(&handle, |control| async move { one.read_file(path, limit, control.sink).await })?;
        out.fill(boxlite_bytes { content: read? });
        Ok(())
    })
}

/// Makes a file in the box of the `len` bytes at `data` (NULL only when `len` is 0), with these permission bits
/// (BOXLITE_MODE_DEFAULT: 0644), in the place of a file that is there. Missing directories are made; the owner is the
/// box's user. The file has its name only when it is complete.
///
/// The bytes are copied. Blocks; reports progress of a start; `call` may be NULL. Any thread. Errors, which name the
/// path: BOXLITE_INVALID_ARGUMENT, also when it is a directory; BOXLITE_STORAGE; BOXLITE_RESOURCE_EXHAUSTED when the
/// box's disk is full; BOXLITE_EXECUTION; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; those of boxlite_box_start().
///
/// @ingroup copy
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_write_file(
    r#box: *mut boxlite_box,
    box_path: *const c_char,
    data: *const c_void,
    len: usize,
    mode: i32,
    call: *mut boxlite_call,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a live box.
        let one = unsafe { live(r#box, "box") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        // SAFETY: the caller passes NULL or a C string.
        let path = unsafe { bytes(box_path, "box_path") }?.to_owned();
        let content = if len == 0 {
            Vec::new()
        } else {
            // SAFETY: the caller passes NULL or `len` readable bytes.
            let data = unsafe { handle(data.cast::<u8>(), "data") }?;
            // SAFETY: as above.
            unsafe { std::slice::from_raw_parts(data, len) }.to_vec()
        };
        let mode = match mode {
            BOXLITE_MODE_DEFAULT => 0o644,
            0..=0o7777 => mode.unsigned_abs(),
            other => {
                let hint = "pass permission bits such as 0644, or BOXLITE_MODE_DEFAULT";
                return Err(refused("mode", format!("is {other:#o}, which is no mode"), hint));
            }
        };
        let handle = one.handle();
        Waiter::new("boxlite_box_write_file", call, CutOff::Undo)
            .with_progress()
            .wait(&handle, |control| async move { one.write_file(path, content, mode, control.sink).await })?
    })
}

/// The bytes: boxlite_bytes_len() of them, any of which may be NUL. Valid until they are freed; NULL when `bytes` is
/// NULL. Any thread; does not block.
///
/// @ingroup copy
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_bytes_data(bytes: *const boxlite_bytes) -> *const c_void {
    // SAFETY: the caller passes NULL or live bytes.
    unsafe { field(bytes, std::ptr::null(), |bytes| bytes.content.as_ptr().cast()) }
}

/// How many bytes there are; 0 when `bytes` is NULL. Any thread; does not block.
///
/// @ingroup copy
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_bytes_len(bytes: *const boxlite_bytes) -> usize {
    // SAFETY: the caller passes NULL or live bytes.
    unsafe { field(bytes, 0, |bytes| bytes.content.len()) }
}

/// Frees bytes. Does nothing when `bytes` is NULL. Any thread; does not block.
///
/// @ingroup copy
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_bytes_free(bytes: *mut boxlite_bytes) {
    // SAFETY: the caller passes NULL or bytes it has not freed yet.
    value((), || unsafe { free(bytes) });
}

/// What the options say; the defaults for NULL.
///
/// # Safety
/// `options` is NULL or live options that no thread changes during this call.
unsafe fn chosen(options: *const boxlite_copy_options) -> CopyOptions {
    // SAFETY: passed on from this function's own contract.
    unsafe { options.as_ref() }.map_or_else(CopyOptions::default, |options| options.inner.clone())
}

/// A descriptor of our own for the caller's, which may close its one once the call has returned.
fn own(fd: i32) -> BoxliteResult<OwnedFd> {
    let unusable = |problem: &dyn std::fmt::Display| {
        refused("fd", format!("is {fd}, which can't be used: {problem}"), "pass an open descriptor")
    };
    if fd < 0 {
        return Err(unusable(&"it is negative"));
    }
    // SAFETY: a number that is no open descriptor is refused by the kernel; the borrow ends with this call.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    borrowed.try_clone_to_owned().map_err(|error| unusable(&error))
}
