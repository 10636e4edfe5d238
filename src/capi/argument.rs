//! Arguments from C, checked: pointers that may be NULL, text that must be UTF-8, handles of another process.
//!
//! Owns the texts of these refusals. The borrows it gives must end with the C call they are made in.

use std::ffi::{CStr, CString, OsStr, c_char};
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;

use super::guard::{Live, value};
use crate::errors::{BoxliteError, BoxliteResult, Detail};

/// An error about the argument called `name` in the header.
pub(super) fn refused(
    name: &'static str,
    problem: impl std::fmt::Display,
    hint: &'static str,
) -> BoxliteError {
    BoxliteError::InvalidArgument(Detail::new(format!("`{name}` {problem}")).subject(name).hint(hint))
}

fn null(name: &'static str) -> BoxliteError {
    refused(name, "is NULL", "pass a valid pointer: this argument is required")
}

/// What a required handle points to.
///
/// # Safety
/// `pointer` is NULL or a live handle of type `T`.
pub(super) unsafe fn handle<'a, T>(pointer: *const T, name: &'static str) -> BoxliteResult<&'a T> {
    // SAFETY: passed on from this function's own contract.
    unsafe { pointer.as_ref() }.ok_or_else(|| null(name))
}

/// What a required builder points to.
///
/// # Safety
/// `pointer` is NULL or a live builder of type `T` that no other thread uses during this call.
pub(super) unsafe fn builder<'a, T>(pointer: *mut T, name: &'static str) -> BoxliteResult<&'a mut T> {
    // SAFETY: passed on from this function's own contract.
    unsafe { pointer.as_mut() }.ok_or_else(|| null(name))
}

/// What a required handle points to, refused in a forked child.
///
/// # Safety
/// `pointer` is NULL or a live handle of type `T`.
pub(super) unsafe fn live<'a, T: Live>(pointer: *const T, name: &'static str) -> BoxliteResult<&'a T> {
    // SAFETY: passed on from this function's own contract.
    let handle = unsafe { handle(pointer, name) }?;
    not_forked(handle, name)?;
    Ok(handle)
}

/// What an optional handle points to, refused in a forked child.
///
/// # Safety
/// `pointer` is NULL or a live handle of type `T`.
pub(super) unsafe fn optional_live<'a, T: Live>(
    pointer: *const T,
    name: &'static str,
) -> BoxliteResult<Option<&'a T>> {
    // SAFETY: passed on from this function's own contract.
    let handle = unsafe { pointer.as_ref() };
    if let Some(handle) = handle {
        not_forked(handle, name)?;
    }
    Ok(handle)
}

fn not_forked<T: Live>(handle: &T, name: &'static str) -> BoxliteResult<()> {
    if handle.owner().is_other_process() {
        return Err(BoxliteError::Forked(
            Detail::new(format!("`{name}` was made by the process that forked this one")).subject(name),
        ));
    }
    Ok(())
}

/// Reads one thing from what an accessor is given; `absent` when that is NULL.
///
/// # Safety
/// `pointer` is NULL or a live handle of type `H`.
pub(super) unsafe fn field<H, T: Copy>(pointer: *const H, absent: T, read: impl FnOnce(&H) -> T) -> T {
    // SAFETY: passed on from this function's own contract.
    value(absent, || unsafe { pointer.as_ref() }.map_or(absent, read))
}

/// Bytes of a required string, any but NUL.
///
/// # Safety
/// `pointer` is NULL or a NUL-terminated string that stays unchanged during this call.
pub(super) unsafe fn bytes<'a>(pointer: *const c_char, name: &'static str) -> BoxliteResult<&'a OsStr> {
    if pointer.is_null() {
        return Err(null(name));
    }
    // SAFETY: not NULL, so NUL-terminated by this function's own contract.
    Ok(OsStr::from_bytes(unsafe { CStr::from_ptr(pointer) }.to_bytes()))
}

/// A required string that must be UTF-8.
///
/// # Safety
/// As for [`bytes`].
pub(super) unsafe fn text<'a>(pointer: *const c_char, name: &'static str) -> BoxliteResult<&'a str> {
    // SAFETY: passed on from this function's own contract.
    let bytes = unsafe { bytes(pointer, name) }?.as_bytes();
    std::str::from_utf8(bytes).map_err(|error| {
        let offset = error.valid_up_to();
        let problem = format!("is not UTF-8: byte 0x{:02x} at offset {offset}", bytes[offset]);
        refused(
            name,
            problem,
            "pass this argument in UTF-8; only paths, arguments and values may be other bytes",
        )
    })
}

/// Refuses an empty string; `hint` says what to give.
pub(super) fn not_empty(
    value: impl AsRef<OsStr>,
    name: &'static str,
    hint: &'static str,
) -> BoxliteResult<()> {
    if value.as_ref().is_empty() { Err(refused(name, "is empty", hint)) } else { Ok(()) }
}

/// An optional string that must be UTF-8.
///
/// # Safety
/// As for [`bytes`].
pub(super) unsafe fn optional_text<'a>(
    pointer: *const c_char,
    name: &'static str,
) -> BoxliteResult<Option<&'a str>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: passed on from this function's own contract.
    unsafe { text(pointer, name) }.map(Some)
}

/// The name of an environment variable: UTF-8, not empty, without `=`.
///
/// # Safety
/// As for [`bytes`].
pub(super) unsafe fn variable<'a>(pointer: *const c_char, name: &'static str) -> BoxliteResult<&'a str> {
    // SAFETY: passed on from this function's own contract.
    let text = unsafe { text(pointer, name) }?;
    match text.find('=') {
        None if !text.is_empty() => Ok(text),
        None => Err(refused(name, "is empty", "name the environment variable")),
        Some(at) => Err(refused(
            name,
            format!("contains '=' at offset {at}: {text:?}"),
            "pass the variable's name and its value apart",
        )),
    }
}

/// A number of the caller's, which has to be in `range`, as the type that holds it here.
pub(super) fn number<T: TryFrom<i64>>(
    value: i64,
    range: RangeInclusive<i64>,
    name: &'static str,
) -> BoxliteResult<T> {
    let fitting = if range.contains(&value) { T::try_from(value).ok() } else { None };
    fitting.ok_or_else(|| {
        let allowed = match *range.end() {
            i64::MAX => format!("{} or more", range.start()),
            end => format!("{} to {end}", range.start()),
        };
        refused(name, format!("is {value}: it has to be {allowed}"), "pass a number in range")
    })
}

/// Where a handle is returned to. NULL until it is filled.
pub(super) struct Out<T>(*mut *mut T);

impl<T> Out<T> {
    /// # Safety
    /// `pointer` is NULL or points to a writable pointer that this call alone uses.
    pub(super) unsafe fn new(pointer: *mut *mut T, name: &'static str) -> BoxliteResult<Self> {
        if pointer.is_null() {
            return Err(null(name));
        }
        // SAFETY: not NULL, so writable by this function's own contract; the old value is not read.
        unsafe { pointer.write(std::ptr::null_mut()) };
        Ok(Self(pointer))
    }

    /// Gives `value` to the caller.
    pub(super) fn fill(&self, value: T) {
        // SAFETY: checked and promised writable in `new`, which the C call outlives.
        unsafe { self.0.write(Box::into_raw(Box::new(value))) };
    }
}

/// Where an optional flag is returned to. 0 until it is filled.
pub(super) struct OutFlag(*mut i32);

impl OutFlag {
    /// # Safety
    /// `pointer` is NULL or points to a writable integer that this call alone uses.
    pub(super) unsafe fn new(pointer: *mut i32) -> Self {
        if !pointer.is_null() {
            // SAFETY: not NULL, so writable by this function's own contract; the old value is not read.
            unsafe { pointer.write(0) };
        }
        Self(pointer)
    }

    /// Gives `flag` to the caller, where he wants it.
    pub(super) fn fill(&self, flag: bool) {
        if !self.0.is_null() {
            // SAFETY: promised writable in `new`, which the C call outlives.
            unsafe { self.0.write(i32::from(flag)) };
        }
    }
}

/// Takes a handle back from the caller and frees it.
///
/// # Safety
/// `pointer` is NULL or came from [`Out::fill`], and nobody uses it any more.
pub(super) unsafe fn free<T>(pointer: *mut T) {
    if !pointer.is_null() {
        // SAFETY: made by `Box::into_raw`, and given back once, by this function's own contract.
        drop(unsafe { Box::from_raw(pointer) });
    }
}

/// As [`free`], but leaks in a forked child: what the handle stands for is the parent's.
///
/// # Safety
/// As for [`free`].
pub(super) unsafe fn free_live<T: Live>(pointer: *mut T) {
    // SAFETY: NULL or valid, by this function's own contract.
    if unsafe { pointer.as_ref() }.is_some_and(|handle| !handle.owner().is_other_process()) {
        // SAFETY: passed on from this function's own contract.
        unsafe { free(pointer) };
    }
}

/// `text` as a C string. A NUL inside, which C could not see past, becomes `?`.
pub(super) fn c_string(text: impl Into<Vec<u8>>) -> CString {
    let mut bytes = text.into();
    for byte in &mut bytes {
        if *byte == 0 {
            *byte = b'?';
        }
    }
    CString::new(bytes).unwrap_or_default()
}

/// The pointer C gets for a string that may be absent.
pub(super) fn pointer(text: Option<&CString>) -> *const c_char {
    text.map_or(std::ptr::null(), |text| text.as_ptr())
}
