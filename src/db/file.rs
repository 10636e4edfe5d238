//! The file below an open database: whether it is still the one at its path, and still a database.
//!
//! SQLite itself looks only at the pages it needs and keeps the rest in memory: a file that is deleted or overwritten
//! under it goes unnoticed, and what is written then is lost. Nothing here writes, and no descriptor on the file is
//! opened: closing one would drop SQLite's own locks.

use std::ffi::c_int;
use std::path::Path;
use std::ptr;

use rusqlite::{Connection, ffi};

use crate::errors::{BoxliteError, Detail};

const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// As much of the header as holds page size (at 16) and page count (at 28).
const HEADER: usize = 32;

/// What has befallen the file of an open database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileFault {
    /// Nothing is at its path any more.
    Deleted,
    /// Another file is at its path.
    Replaced,
    /// It ends before its last page.
    Truncated,
    /// It doesn't begin as a database does.
    Overwritten,
}

impl FileFault {
    pub(super) fn describe(self, path: &Path) -> BoxliteError {
        let shown = path.display().to_string();
        let (what, hint) = match self {
            Self::Deleted => ("was deleted", super::REPAIR),
            Self::Replaced => (
                "was replaced by another file",
                "open a new runtime on this home; what it refuses, repair (boxlite_runtime_repair)",
            ),
            Self::Truncated => ("was cut short", super::REPAIR),
            Self::Overwritten => ("was overwritten by something that is no database", super::REPAIR),
        };
        BoxliteError::Database(
            Detail::new(format!("{shown} {what} while this runtime had it open")).subject(shown).hint(hint),
        )
    }
}

/// Remembers how long the file has been: a database of ours never shrinks.
#[derive(Debug, Default)]
pub(super) struct FileWatch {
    longest: i64,
}

impl FileWatch {
    /// What is wrong with the file of `connection`, which was opened at `path`.
    pub(super) fn fault(&mut self, connection: &Connection, path: &Path) -> Option<FileFault> {
        if has_moved(connection) {
            return Some(if path.exists() { FileFault::Replaced } else { FileFault::Deleted });
        }
        let (header, length) = read_file(connection)?;
        let Some(header) = header.filter(|header| header.starts_with(MAGIC)) else {
            return Some(if length == 0 { FileFault::Truncated } else { FileFault::Overwritten });
        };
        let shrunk = length < self.longest;
        self.longest = self.longest.max(length);
        // Shrunk but whole: somebody vacuumed it.
        (shrunk && length < recorded_length(&header)).then_some(FileFault::Truncated)
    }
}

fn recorded_length(header: &[u8; HEADER]) -> i64 {
    let page_size = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65536,
        size => i64::from(size),
    };
    page_size * i64::from(u32::from_be_bytes([header[28], header[29], header[30], header[31]]))
}

/// Whether the path stands for another file than the open one, or for none.
fn has_moved(connection: &Connection) -> bool {
    let mut moved: c_int = 0;
    // SAFETY: the handle is open as long as `connection` is borrowed; this opcode writes one int.
    let code = unsafe {
        ffi::sqlite3_file_control(
            connection.handle(),
            c"main".as_ptr(),
            ffi::SQLITE_FCNTL_HAS_MOVED,
            (&raw mut moved).cast(),
        )
    };
    code == ffi::SQLITE_OK && moved != 0
}

/// The file's first bytes, where it has that many, and its length; `None` when SQLite can't tell.
fn read_file(connection: &Connection) -> Option<(Option<[u8; HEADER]>, i64)> {
    let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
    // SAFETY: as above; this opcode writes one pointer, which stays valid as long as the connection is open.
    let code = unsafe {
        ffi::sqlite3_file_control(
            connection.handle(),
            c"main".as_ptr(),
            ffi::SQLITE_FCNTL_FILE_POINTER,
            (&raw mut file).cast(),
        )
    };
    if code != ffi::SQLITE_OK {
        return None;
    }
    // SAFETY: NULL or an open file; its methods are NULL or a table that is never changed.
    let methods = unsafe { file.as_ref().and_then(|file| file.pMethods.as_ref()) }?;
    let (read, size) = (methods.xRead?, methods.xFileSize?);
    let mut length = 0;
    // SAFETY: `file` is open and this connection is used by this thread alone, which the caller's lock sees to.
    if unsafe { size(file, &raw mut length) } != ffi::SQLITE_OK {
        return None;
    }
    let mut header = [0; HEADER];
    // SAFETY: as above; the buffer has room for HEADER bytes.
    let code = unsafe { read(file, header.as_mut_ptr().cast(), HEADER as c_int, 0) };
    Some(((code == ffi::SQLITE_OK).then_some(header), length))
}
