//! How to copy: what becomes of what exists, of directories and of links.

use super::argument::{Out, builder, free};
use super::error::{boxlite_code, boxlite_error};
use super::guard::{enter, value};
use crate::litebox::CopyOptions;

/// How to copy. A builder: used by one thread at a time, copied by what uses it, and usable any number of times, also in
/// a forked child.
///
/// @ingroup copy
pub struct boxlite_copy_options {
    pub(super) inner: CopyOptions,
}

/// Makes options that copy directories with all they hold, overwrite what exists, keep symbolic links, and let a
/// directory keep its name below an existing one.
///
/// On success *options is new, and the caller frees it with boxlite_copy_options_free(); on failure NULL. Any thread;
/// does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL.
///
/// @ingroup copy
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_copy_options_new(
    options: *mut *mut boxlite_copy_options,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a writable pointer.
        let out = unsafe { Out::new(options, "options") }?;
        out.fill(boxlite_copy_options { inner: CopyOptions::default() });
        Ok(())
    })
}

/// Sets whether what exists is overwritten (not 0, the default). When it is not, the copy fails with
/// BOXLITE_ALREADY_EXISTS before anything is written; only boxlite_box_copy_in_tar(), whose archive can't be read twice,
/// may have written what comes before.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL.
///
/// @ingroup copy
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_copy_options_set_overwrite(
    options: *mut boxlite_copy_options,
    overwrite: i32,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        unsafe { builder(options, "options") }?.inner.overwrite = overwrite != 0;
        Ok(())
    })
}

/// Sets whether directories are copied (not 0, the default); else they are refused with BOXLITE_INVALID_ARGUMENT.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL.
///
/// @ingroup copy
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_copy_options_set_recursive(
    options: *mut boxlite_copy_options,
    recursive: i32,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        unsafe { builder(options, "options") }?.inner.recursive = recursive != 0;
        Ok(())
    })
}

/// Sets whether what symbolic links of the source lead to is copied (not 0), or the links (0, the default).
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL.
///
/// @ingroup copy
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_copy_options_set_follow_symlinks(
    options: *mut boxlite_copy_options,
    follow: i32,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        unsafe { builder(options, "options") }?.inner.follow_symlinks = follow != 0;
        Ok(())
    })
}

/// Sets whether a directory that is copied into an existing one keeps its name there (not 0, the default), or only what
/// it holds is copied.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL.
///
/// @ingroup copy
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_copy_options_set_include_parent(
    options: *mut boxlite_copy_options,
    include: i32,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        unsafe { builder(options, "options") }?.inner.include_parent = include != 0;
        Ok(())
    })
}

/// Frees options. Does nothing when `options` is NULL. Any thread; does not block.
///
/// @ingroup copy
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_copy_options_free(options: *mut boxlite_copy_options) {
    // SAFETY: the caller passes NULL or options it has not freed yet.
    value((), || unsafe { free(options) });
}
