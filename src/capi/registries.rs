//! How a runtime reaches the registries it gets images from, and who it is to them.
//!
//! Owns nothing: all goes into the runtime's options. Nobody is asked before a pull.

use std::ffi::c_char;

use super::argument::{builder, not_empty, refused, text};
use super::error::{boxlite_code, boxlite_error};
use super::guard::enter;
use super::runtime_options::boxlite_runtime_options;
use crate::errors::BoxliteResult;
use crate::model::options::{ImageRegistry, ImageRegistryAuth, RegistryTransport};

/// The registry is reached over TLS (the default).
///
/// @ingroup runtime_options
pub const BOXLITE_TRANSPORT_HTTPS: i32 = 0;
/// The registry is reached over plain HTTP.
///
/// @ingroup runtime_options
pub const BOXLITE_TRANSPORT_HTTP: i32 = 1;

/// The registry of this host that was added before.
fn added<'a>(options: &'a mut boxlite_runtime_options, host: &str) -> BoxliteResult<&'a mut ImageRegistry> {
    options.registries.iter_mut().find(|registry| registry.host == host).ok_or_else(|| {
        refused(
            "host",
            format!("names no registry of these options: {host:?}"),
            "call boxlite_runtime_options_add_registry() for this host first",
        )
    })
}

/// Says how a registry is reached: `host` with ":port" where it is not the usual one, and `transport`
/// (BOXLITE_TRANSPORT_...). A registry that was added before starts anew. UTF-8; copied.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` or `host` is NULL, `host` is
/// empty or not UTF-8, or `transport` is no transport.
///
/// @ingroup runtime_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_runtime_options_add_registry(
    options: *mut boxlite_runtime_options,
    host: *const c_char,
    transport: i32,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        let options = unsafe { builder(options, "options") }?;
        // SAFETY: the caller passes NULL or a C string.
        let host = unsafe { text(host, "host") }?;
        not_empty(host, "host", "name the registry's host")?;
        let transport = match transport {
            BOXLITE_TRANSPORT_HTTPS => RegistryTransport::Https,
            BOXLITE_TRANSPORT_HTTP => RegistryTransport::Http,
            _ => {
                let hint = "pass one of the BOXLITE_TRANSPORT_ constants";
                return Err(refused("transport", format!("is no transport: {transport}"), hint));
            }
        };
        options.registries.retain(|registry| registry.host != host);
        options.registries.push(ImageRegistry { transport, ..ImageRegistry::https(host) });
        Ok(())
    })
}

/// Whether short image names such as "alpine" are looked up at this registry (0 = no, the default). Registries are
/// asked in the order in which they were added. `host` is copied.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` or `host` is NULL, or `host`
/// was not added.
///
/// @ingroup runtime_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_runtime_options_set_registry_search(
    options: *mut boxlite_runtime_options,
    host: *const c_char,
    search: i32,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        let options = unsafe { builder(options, "options") }?;
        // SAFETY: the caller passes NULL or a C string.
        added(options, unsafe { text(host, "host") }?)?.search = search != 0;
        Ok(())
    })
}

/// Whether any TLS certificate of this registry is accepted (0 = no, the default). With it anybody on the network path
/// can pose as the registry; images pinned by digest are verified all the same. `host` is copied.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` or `host` is NULL, or `host`
/// was not added.
///
/// @ingroup runtime_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_runtime_options_set_registry_skip_verify(
    options: *mut boxlite_runtime_options,
    host: *const c_char,
    skip_verify: i32,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        let options = unsafe { builder(options, "options") }?;
        // SAFETY: the caller passes NULL or a C string.
        added(options, unsafe { text(host, "host") }?)?.skip_verify = skip_verify != 0;
        Ok(())
    })
}

/// Logs in to this registry with a user name and a password or access token. UTF-8; copied. Replaces other
/// credentials.
///
/// One thread at a time; does not block and does not contact the registry. Errors: BOXLITE_INVALID_ARGUMENT when an
/// argument is NULL or not UTF-8, or `host` was not added.
///
/// @ingroup runtime_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_runtime_options_set_registry_basic_auth(
    options: *mut boxlite_runtime_options,
    host: *const c_char,
    username: *const c_char,
    password: *const c_char,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        let options = unsafe { builder(options, "options") }?;
        // SAFETY: the caller passes NULL or a C string.
        let registry = added(options, unsafe { text(host, "host") }?)?;
        registry.auth = ImageRegistryAuth::Basic {
            // SAFETY: the caller passes NULL or a C string.
            username: unsafe { text(username, "username") }?.to_owned(),
            // SAFETY: the caller passes NULL or a C string.
            password: unsafe { text(password, "password") }?.to_owned(),
        };
        Ok(())
    })
}

/// Presents a ready bearer token to this registry. UTF-8; copied. Replaces other credentials.
///
/// One thread at a time; does not block and does not contact the registry. Errors: BOXLITE_INVALID_ARGUMENT when an
/// argument is NULL or not UTF-8, or `host` was not added.
///
/// @ingroup runtime_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_runtime_options_set_registry_bearer_auth(
    options: *mut boxlite_runtime_options,
    host: *const c_char,
    token: *const c_char,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        let options = unsafe { builder(options, "options") }?;
        // SAFETY: the caller passes NULL or a C string.
        let registry = added(options, unsafe { text(host, "host") }?)?;
        // SAFETY: the caller passes NULL or a C string.
        registry.auth = ImageRegistryAuth::Bearer { token: unsafe { text(token, "token") }?.to_owned() };
        Ok(())
    })
}
