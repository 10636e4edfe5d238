//! Where else a runtime may get a registry's images, and whose certificates it believes.

use std::ffi::c_char;

use super::argument::{builder, bytes, not_empty, text};
use super::error::{boxlite_code, boxlite_error};
use super::guard::enter;
use super::runtime_options::boxlite_runtime_options;

/// Adds a mirror of a registry: what is pulled from `registry` ("docker.io", "host:5000") is asked for at `mirror` first,
/// under the same repository name. `mirror` is "host", "host:port", "https://host:port" or "http://host:port", without a
/// path. Several mirrors of a registry are asked in the order in which they were added, then the registry itself.
///
/// A mirror that cannot be reached (tried once, 5 s to connect), refuses, lacks the image or sends what cannot be right is
/// left, with a line in the log at BOXLITE_LOG_WARN; the hint of the registry's own error then names it. A mirror is
/// reached as boxlite_runtime_options_add_registry() says for the mirror's own host, with its own credentials or docker's
/// logins for it, and is never shown the registry's. It is trusted to say what a tag means; what is named by digest is
/// verified as ever. Stored images carry the registry's name. UTF-8; copied.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when an argument is NULL, empty or not UTF-8.
/// What is no host is found by boxlite_runtime_new(): BOXLITE_CONFIG.
///
/// @ingroup runtime_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_runtime_options_add_registry_mirror(
    options: *mut boxlite_runtime_options,
    registry: *const c_char,
    mirror: *const c_char,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        let options = unsafe { builder(options, "options") }?;
        // SAFETY: the caller passes NULL or a C string.
        let registry = unsafe { text(registry, "registry") }?;
        // SAFETY: as above.
        let mirror = unsafe { text(mirror, "mirror") }?;
        not_empty(registry, "registry", "name the registry's host")?;
        not_empty(mirror, "mirror", "name the mirror's host")?;
        options.mirrors.push((registry.to_owned(), mirror.to_owned()));
        Ok(())
    })
}

/// Adds a PEM file of certificates that are trusted as authorities of registries and mirrors, beside those of the system
/// (its trust store, or what $SSL_CERT_FILE and $SSL_CERT_DIR name). May be called several times. Any bytes; copied.
///
/// One thread at a time; does not block and does not look at the file: boxlite_runtime_new() reads it, and answers
/// BOXLITE_CONFIG with the path as subject when it cannot be read or has no certificate. Errors: BOXLITE_INVALID_ARGUMENT
/// when `options` or `path` is NULL or `path` is empty.
///
/// @ingroup runtime_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_runtime_options_add_ca_file(
    options: *mut boxlite_runtime_options,
    path: *const c_char,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        let options = unsafe { builder(options, "options") }?;
        // SAFETY: the caller passes NULL or a C string.
        let path = unsafe { bytes(path, "path") }?;
        not_empty(path, "path", "name a PEM file")?;
        options.ca_files.push(path.into());
        Ok(())
    })
}
