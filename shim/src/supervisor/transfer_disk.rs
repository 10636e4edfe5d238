//! The transfer disk's file in the box's directory: there while the machine runs.
//!
//! Owns making and deleting it. What lies on it is the affair of those who copy.

use std::fs::{self, File};
use std::io;

use boxlite_proto::shim::files;
use boxlite_proto::transfer::DISK_BYTES;

use super::log::log;

/// Makes it anew: all hole, whatever an earlier run has left.
pub(crate) fn make() -> io::Result<()> {
    File::create(files::TRANSFER)?.set_len(DISK_BYTES)
}

/// Deletes it.
pub(crate) fn unlink() {
    if let Err(error) = fs::remove_file(files::TRANSFER)
        && error.kind() != io::ErrorKind::NotFound
    {
        log!("cannot delete {}: {error}", files::TRANSFER);
    }
}
