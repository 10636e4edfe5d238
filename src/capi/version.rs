//! Which library this is.

use std::ffi::c_char;

/// The version of the interface in this header. It is raised by one with each release that adds functions or constants;
/// none is ever changed or taken away within one soname.
///
/// @ingroup version
pub const BOXLITE_ABI_VERSION: i32 = 1;

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");

/// The library's version, such as "0.1.0".
///
/// The string is static: never freed, valid for ever. Any thread may call this at any time; it does not block and
/// cannot fail.
///
/// @ingroup version
#[unsafe(no_mangle)]
pub extern "C" fn boxlite_version() -> *const c_char {
    VERSION.as_ptr().cast()
}

/// The BOXLITE_ABI_VERSION the loaded library was built with.
///
/// A program compiled against a header with BOXLITE_ABI_VERSION n runs with any library that answers n or more. Any
/// thread may call this at any time; it does not block and cannot fail.
///
/// @ingroup version
#[unsafe(no_mangle)]
pub extern "C" fn boxlite_abi_version() -> i32 {
    BOXLITE_ABI_VERSION
}
