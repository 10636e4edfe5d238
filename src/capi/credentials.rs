//! Where a runtime finds the credentials that its user has for registries already.

use std::ffi::c_char;

use super::argument::{builder, bytes};
use super::error::{boxlite_code, boxlite_error};
use super::guard::enter;
use super::runtime_options::boxlite_runtime_options;

/// Sets the file in which `docker login` keeps credentials; "" = none is looked at. Default:
/// $DOCKER_CONFIG/config.json, else ~/.docker/config.json. It is read at each pull from a registry without credentials
/// of its own in these options, and need not exist. Credential helpers that it names (docker-credential-...) are run,
/// found by this process's PATH, for at most 30 s. Identity tokens are exchanged for a bearer token at each pull. What
/// gives no credentials is no error: the registry is asked without, and the hint of its refusal tells. Any bytes; copied.
///
/// One thread at a time; does not block and does not look at the file. Errors: BOXLITE_INVALID_ARGUMENT when `options`
/// or `path` is NULL.
///
/// @ingroup runtime_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_runtime_options_set_docker_config(
    options: *mut boxlite_runtime_options,
    path: *const c_char,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        let options = unsafe { builder(options, "options") }?;
        // SAFETY: the caller passes NULL or a C string.
        options.docker_config = Some(unsafe { bytes(path, "path") }?.into());
        Ok(())
    })
}
