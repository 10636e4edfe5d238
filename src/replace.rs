//! Gives a file its content in one step: whoever reads it sees all of the old or all of the new, also after a kill.
//!
//! Does not sync: after a crash of the host a small file may be empty, which its reader must bear.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::layout::draft_of;

/// Writes `content` beside `path`, for its owner's eyes only, and renames it there. A failure leaves nothing behind.
/// One writer at a time; the draft of one that was killed is overwritten.
pub(crate) fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    replace_by(&draft_of(path), path, content)
}

/// The same with a draft of the caller's naming, for files with several writers at once.
pub(crate) fn replace_by(draft: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let written = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(draft)
        .and_then(|mut file| file.write_all(content))
        .and_then(|()| fs::rename(draft, path));
    if written.is_err() {
        // The first failure is the one to report.
        let _ = fs::remove_file(draft);
    }
    written
}
