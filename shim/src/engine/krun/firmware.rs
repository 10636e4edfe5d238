//! libkrunfw, the guest's kernel as a library, loaded before libkrun asks for it.
//!
//! Owns making sure that libkrun gets the very file that was chosen and checked: libkrun opens the library by its
//! soname, and the dynamic loader answers with the one that is loaded under that name already.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use boxlite_proto::shim::libkrunfw::{NAME, SYSTEM_PLACES};

use crate::kernel::KernelError;
use crate::kernel::library::{KrunFw, check_file};

/// Tries the library that this shim would find: beside itself, else where distributions put it.
pub(super) fn try_own() -> Result<(), KernelError> {
    let own = std::env::current_exe().unwrap_or_default();
    let beside = own.parent().map(Path::to_owned).unwrap_or_default();
    let found = std::iter::once(beside.clone())
        .chain(SYSTEM_PLACES.map(PathBuf::from))
        .map(|place| place.join(NAME))
        .find(|path| path.is_file());
    load(&found.unwrap_or_else(|| beside.join(NAME)))
}

/// Loads the library for the rest of the process's life.
pub(super) fn load(path: &Path) -> Result<(), KernelError> {
    check_file(path)?;
    let library = KrunFw::open(path)?;
    if !CString::new(NAME).is_ok_and(|name| library.is_known_as(&name)) {
        return Err(KernelError::WrongSoname { path: path.into(), soname: NAME });
    }
    // Closing it would let libkrun find another.
    std::mem::forget(library);
    Ok(())
}
