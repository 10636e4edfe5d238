//! The transfer disk's file in the box's directory: there while the machine runs.
//!
//! Owns making it. What lies on it is the affair of those who copy.

use std::fs::File;
use std::io;

use boxlite_proto::shim::files;
use boxlite_proto::transfer::DISK_BYTES;

/// Makes it anew: all hole, whatever an earlier run has left.
pub(crate) fn make() -> io::Result<()> {
    File::create(files::TRANSFER)?.set_len(DISK_BYTES)
}
