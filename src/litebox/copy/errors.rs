//! What a copy's failure is called: the kind, the side it happened on, the path, the remedy.
//!
//! Owns these words; decides nothing.

use boxlite_archive::{CopyError, RemoteKind, shown};

use crate::errors::{BoxliteError, Detail};

/// Whose archive it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// One that this library makes and reads itself.
    Ours,
    /// One that the caller gave.
    Callers,
}

/// The error for the caller; `in_box` when it happened there.
pub(super) fn told(error: &CopyError, at: At, in_box: bool) -> BoxliteError {
    let place = if in_box { "in the box: " } else { "" };
    let mut detail = Detail::new(format!("{place}{error}"));
    if let Some(subject) = error.subject() {
        detail = detail.subject(shown(subject));
    }
    if let Some(errno) = error.errno() {
        detail = detail.errno(errno);
    }
    match error.kind() {
        RemoteKind::Path => by_errno(error.errno().unwrap_or(0), detail),
        RemoteKind::Exists => {
            BoxliteError::AlreadyExists(detail.hint("copy to another path, or allow overwriting"))
        }
        RemoteKind::Refused => BoxliteError::InvalidArgument(detail.hint("correct the path or the options")),
        RemoteKind::TooLarge => BoxliteError::ResourceExhausted(
            detail.hint("allow more bytes, or copy the file to the host instead of reading it"),
        ),
        RemoteKind::Archive if at == At::Callers => {
            BoxliteError::InvalidArgument(detail.hint("check that the archive is a whole tar archive"))
        }
        RemoteKind::Archive => BoxliteError::Execution(
            detail.hint("the copy was cut off, or the box tampered with it: try again"),
        ),
    }
}

fn by_errno(errno: i32, detail: Detail) -> BoxliteError {
    match errno {
        libc::ENOENT => BoxliteError::NotFound(detail.hint("check the path")),
        libc::EEXIST => BoxliteError::AlreadyExists(detail.hint("copy to another path")),
        libc::ENOTDIR | libc::EISDIR | libc::ELOOP | libc::EINVAL | libc::ENAMETOOLONG => {
            BoxliteError::InvalidArgument(detail.hint("correct the path"))
        }
        libc::ENOSPC | libc::EDQUOT => {
            BoxliteError::ResourceExhausted(detail.hint("free space on the named disk"))
        }
        libc::EMFILE | libc::ENFILE => {
            BoxliteError::ResourceExhausted(detail.hint("raise the limit on open files (ulimit -n)"))
        }
        libc::ENOMEM => BoxliteError::ResourceExhausted(detail.hint("give it more memory")),
        _ => BoxliteError::Storage(detail.hint("check the path's permissions and its file system")),
    }
}
