//! Options of a runtime, collected.
//!
//! Owns a copy of all that was set. Whether it makes sense is found out when the runtime is opened.

use std::ffi::c_char;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;

use super::argument::{Out, builder, bytes, free, not_empty, refused};
use super::engine::engine_of;
use super::error::{boxlite_code, boxlite_error};
use super::guard::{enter, value};
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::images::ImageLimits;
use crate::model::options::{Engine, ImageRegistry};
use crate::runtime::{LogLevel, RuntimeBuilder};

/// Only what failed.
///
/// @ingroup runtime_options
pub const BOXLITE_LOG_ERROR: i32 = 1;
/// Also what is suspicious.
///
/// @ingroup runtime_options
pub const BOXLITE_LOG_WARN: i32 = 2;
/// Also what happens to boxes and images.
///
/// @ingroup runtime_options
pub const BOXLITE_LOG_INFO: i32 = 3;
/// Also what explains a fault.
///
/// @ingroup runtime_options
pub const BOXLITE_LOG_DEBUG: i32 = 4;

/// Options of a runtime. A builder: used by one thread at a time, copied by boxlite_runtime_new(), and usable for any
/// number of runtimes, also in a forked child.
///
/// @ingroup runtime_options
pub struct boxlite_runtime_options {
    home_dir: Option<PathBuf>,
    runtime_dir: Option<PathBuf>,
    log: Option<(LogLevel, OwnedFd)>,
    pub(super) registries: Vec<ImageRegistry>,
    image_limits: ImageLimits,
    engine: Option<Engine>,
    pub(super) template_space: Option<u64>,
    pub(super) spares: Option<u32>,
    pub(super) docker_config: Option<PathBuf>,
    pub(super) mirrors: Vec<(String, String)>,
    pub(super) ca_files: Vec<PathBuf>,
}

impl boxlite_runtime_options {
    /// The Rust API's builder with these options.
    pub(super) fn apply(&self, mut runtime: RuntimeBuilder) -> BoxliteResult<RuntimeBuilder> {
        if let Some(dir) = &self.home_dir {
            runtime = runtime.home_dir(dir.clone());
        }
        if let Some(dir) = &self.runtime_dir {
            runtime = runtime.runtime_dir(dir.clone());
        }
        if let Some(engine) = self.engine {
            runtime = runtime.engine(engine);
        }
        if let Some(bytes) = self.template_space {
            runtime = runtime.template_space(bytes);
        }
        if let Some(count) = self.spares {
            runtime = runtime.spares(count);
        }
        if let Some(file) = &self.docker_config {
            runtime = runtime.docker_config(file.clone());
        }
        for (registry, mirror) in &self.mirrors {
            runtime = runtime.registry_mirror(registry, mirror);
        }
        for file in &self.ca_files {
            runtime = runtime.ca_file(file);
        }
        if let Some((level, fd)) = &self.log {
            runtime = runtime.log_fd(*level, duplicate(fd.as_raw_fd())?);
        }
        Ok(runtime.image_registries(self.registries.clone()).image_limits(self.image_limits))
    }
}

/// A close-on-exec duplicate of a descriptor of the caller's.
fn duplicate(fd: i32) -> BoxliteResult<OwnedFd> {
    let refuse = |problem: String, errno: i32| {
        BoxliteError::InvalidArgument(
            Detail::new(format!("`fd` {problem}"))
                .subject("fd")
                .errno(errno)
                .hint("pass an open descriptor that can be written to"),
        )
    };
    // SAFETY: fcntl takes any number and answers EBADF when it is no open descriptor; 3 keeps clear of stdio.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        let error = std::io::Error::last_os_error();
        return Err(refuse(
            format!("cannot be duplicated ({fd}): {error}"),
            error.raw_os_error().unwrap_or(libc::EBADF),
        ));
    }
    // SAFETY: made just now, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Makes options that say nothing yet: home directory $BOXLITE_HOME, else ~/.boxlite; all registries over TLS without
/// credentials; no log.
///
/// On success *options are new options, which the caller frees with boxlite_runtime_options_free(); on failure NULL.
/// Any thread; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL.
///
/// @ingroup runtime_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_runtime_options_new(
    options: *mut *mut boxlite_runtime_options,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a writable pointer.
        let out = unsafe { Out::new(options, "options") }?;
        out.fill(boxlite_runtime_options {
            home_dir: None,
            runtime_dir: None,
            log: None,
            registries: Vec::new(),
            image_limits: ImageLimits::default(),
            engine: None,
            template_space: None,
            spares: None,
            docker_config: None,
            mirrors: Vec::new(),
            ca_files: Vec::new(),
        });
        Ok(())
    })
}

/// Sets the directory that holds everything a runtime keeps: boxes, images, database. It is made when it is missing.
/// Any bytes; copied.
///
/// One thread at a time; does not block and does not look at the directory. Errors: BOXLITE_INVALID_ARGUMENT when
/// `options` or `path` is NULL or `path` is empty.
///
/// @ingroup runtime_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_runtime_options_set_home_dir(
    options: *mut boxlite_runtime_options,
    path: *const c_char,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        let options = unsafe { builder(options, "options") }?;
        // SAFETY: the caller passes NULL or a C string.
        options.home_dir = Some(unsafe { directory(path, "path") }?);
        Ok(())
    })
}

/// Sets the directory with the parts a runtime starts: boxlite-shim, guest disk, kernel. Without it they are looked for
/// in $BOXLITE_RUNTIME_DIR, beside the library, and below the prefix that the library was built with. Any bytes; copied.
///
/// One thread at a time; does not block and does not look at the directory. Errors: BOXLITE_INVALID_ARGUMENT when
/// `options` or `path` is NULL or `path` is empty.
///
/// @ingroup runtime_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_runtime_options_set_runtime_dir(
    options: *mut boxlite_runtime_options,
    path: *const c_char,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        let options = unsafe { builder(options, "options") }?;
        // SAFETY: the caller passes NULL or a C string.
        options.runtime_dir = Some(unsafe { directory(path, "path") }?);
        Ok(())
    })
}

/// # Safety
/// `path` is NULL or a NUL-terminated string that stays unchanged during this call.
unsafe fn directory(path: *const c_char, name: &'static str) -> BoxliteResult<PathBuf> {
    // SAFETY: passed on from this function's own contract.
    let path = unsafe { bytes(path, name) }?;
    not_empty(path, name, "name a directory")?;
    Ok(PathBuf::from(path))
}

/// Bounds what an image may be: `max_layer_bytes`, the unpacked bytes of one layer (default 64 GiB), and `max_entries`,
/// the entries of all its layers together (default 4,000,000). 0 keeps the default. An image beyond a bound is refused
/// with BOXLITE_RESOURCE_EXHAUSTED, and nothing of its disk stays.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL.
///
/// @ingroup runtime_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_runtime_options_set_image_limits(
    options: *mut boxlite_runtime_options,
    max_layer_bytes: u64,
    max_entries: u64,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        let options = unsafe { builder(options, "options") }?;
        let defaults = ImageLimits::default();
        let or = |value: u64, default: u64| if value == 0 { default } else { value };
        options.image_limits.max_layer_bytes = or(max_layer_bytes, defaults.max_layer_bytes);
        options.image_limits.max_entries = or(max_entries, defaults.max_entries);
        Ok(())
    })
}

/// Sends the runtime's log to a descriptor: one JSON object a line, from `level` (BOXLITE_LOG_...) up in severity. By
/// default there is no log; nothing is ever written to stderr.
///
/// `fd` is duplicated: the caller keeps it and may close it at once. One thread at a time; does not block. Errors:
/// BOXLITE_INVALID_ARGUMENT when `options` is NULL, `level` is no level, or `fd` is not open.
///
/// @ingroup runtime_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_runtime_options_set_log_fd(
    options: *mut boxlite_runtime_options,
    level: i32,
    fd: i32,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        let options = unsafe { builder(options, "options") }?;
        options.log = Some((log_level(level)?, duplicate(fd)?));
        Ok(())
    })
}

fn log_level(level: i32) -> BoxliteResult<LogLevel> {
    match level {
        BOXLITE_LOG_ERROR => Ok(LogLevel::Error),
        BOXLITE_LOG_WARN => Ok(LogLevel::Warn),
        BOXLITE_LOG_INFO => Ok(LogLevel::Info),
        BOXLITE_LOG_DEBUG => Ok(LogLevel::Debug),
        _ => Err(refused(
            "level",
            format!("is no log level: {level}"),
            "pass one of the BOXLITE_LOG_ constants",
        )),
    }
}

/// Sets the engine (BOXLITE_ENGINE_...) of boxes whose own options say none. Without it $BOXLITE_ENGINE ("auto", "krun",
/// "qemu") says it, else it is BOXLITE_ENGINE_AUTO.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL or `engine` is no
/// engine.
///
/// @ingroup runtime_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_runtime_options_set_engine(
    options: *mut boxlite_runtime_options,
    engine: i32,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        unsafe { builder(options, "options") }?.engine = Some(engine_of(engine)?);
        Ok(())
    })
}

/// Frees options; runtimes opened with them are not affected. Does nothing when `options` is NULL. Any thread; does not
/// block.
///
/// @ingroup runtime_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_runtime_options_free(options: *mut boxlite_runtime_options) {
    // SAFETY: the caller passes NULL or options it has not freed yet.
    value((), || unsafe { free(options) });
}
