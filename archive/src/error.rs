//! What can be wrong with an archive, and with copying a tree.
//!
//! Owns the texts, and how an error of a copy travels from the box to the host.

use std::io;

use crate::shown;
use crate::tar::HeaderProblem;

/// What is wrong with a tar archive.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// It was cut off.
    #[error("the tar archive ends too early: {0}")]
    Short(&'static str),
    /// There is more than an archive.
    #[error("the tar archive's end is followed by more data")]
    GarbageAfterEnd,
    /// An entry can't be understood.
    #[error("tar header at byte {offset}: {problem}")]
    Header {
        /// Where in the archive.
        offset: u64,
        /// What about it.
        problem: HeaderProblem,
    },
    /// The reader is at fault.
    #[error("{0}")]
    Bug(&'static str),
}

/// Why a copy failed.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A file or directory could not be used.
    #[error("cannot {action} `{}`: {error}", shown(path))]
    Path {
        /// What was tried.
        action: &'static str,
        /// With which path.
        path: Vec<u8>,
        /// The system's answer.
        error: io::Error,
    },
    /// Something is there and may not be overwritten.
    #[error("`{}` exists and is not to be overwritten", shown(.0))]
    Exists(Vec<u8>),
    /// A path can't be copied like this.
    #[error("`{}` {problem}", shown(path))]
    Refused {
        /// Which.
        path: Vec<u8>,
        /// Why.
        problem: &'static str,
    },
    /// There is more than the caller takes.
    #[error("`{}` has more than {limit} bytes", shown(path))]
    TooLarge {
        /// Which file.
        path: Vec<u8>,
        /// What is taken at most.
        limit: u64,
    },
    /// The archive is no good, or was cut off.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// The stream between the two sides failed.
    #[error("the stream broke off: {0}")]
    Stream(io::Error),
    /// What the other side said.
    #[error("{message}")]
    Remote {
        /// What kind of error it was there.
        kind: RemoteKind,
        /// The system's error number, or 0.
        errno: i32,
        /// The path it is about.
        subject: Vec<u8>,
        /// The whole sentence.
        message: String,
    },
}

/// The kinds of errors as they travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteKind {
    /// A path's trouble, told apart by its errno.
    Path,
    /// [`CopyError::Exists`].
    Exists,
    /// [`CopyError::Refused`].
    Refused,
    /// [`CopyError::TooLarge`].
    TooLarge,
    /// Everything about the archive or the stream.
    Archive,
}

/// An error of the place where a stream's bytes lie, on its way through `Read` and `Write`: none of the stream itself.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {place}: {error}")]
pub struct PlaceError {
    action: &'static str,
    place: &'static str,
    error: io::Error,
}

impl PlaceError {
    /// The error, marked.
    pub fn mark(action: &'static str, place: &'static str) -> impl FnOnce(io::Error) -> io::Error {
        move |error| io::Error::other(Self { action, place, error })
    }
}

impl CopyError {
    /// What a stream failed with.
    pub fn stream(error: io::Error) -> Self {
        match error.downcast::<PlaceError>() {
            Ok(PlaceError { action, place, error }) => Self::path(action, place.as_bytes(), error),
            Err(error) => Self::Stream(error),
        }
    }

    /// An error about `path`.
    pub fn path(action: &'static str, path: &[u8], error: io::Error) -> Self {
        Self::Path { action, path: path.to_vec(), error }
    }

    /// A refusal of `path`.
    pub fn refused(path: &[u8], problem: &'static str) -> Self {
        Self::Refused { path: path.to_vec(), problem }
    }

    /// Whether it is only the consequence of what went wrong on the other side.
    pub fn is_cut_off(&self) -> bool {
        matches!(self, Self::Stream(_) | Self::Tar(TarError::Short(_)))
    }

    /// The kind as it travels.
    pub fn kind(&self) -> RemoteKind {
        match self {
            Self::Path { .. } => RemoteKind::Path,
            Self::Exists(_) => RemoteKind::Exists,
            Self::Refused { .. } => RemoteKind::Refused,
            Self::TooLarge { .. } => RemoteKind::TooLarge,
            Self::Tar(_) | Self::Stream(_) => RemoteKind::Archive,
            Self::Remote { kind, .. } => *kind,
        }
    }

    /// The system's error number, where there is one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Path { error, .. } | Self::Stream(error) => error.raw_os_error(),
            Self::Remote { errno, .. } => Some(*errno).filter(|errno| *errno != 0),
            _ => None,
        }
    }

    /// The path it is about.
    pub fn subject(&self) -> Option<&[u8]> {
        match self {
            Self::Path { path, .. }
            | Self::Exists(path)
            | Self::Refused { path, .. }
            | Self::TooLarge { path, .. } => Some(path),
            Self::Remote { subject, .. } => Some(subject).filter(|path| !path.is_empty()).map(Vec::as_slice),
            Self::Tar(_) | Self::Stream(_) => None,
        }
    }

    /// The error for the wire.
    pub fn encode(&self) -> Vec<u8> {
        let subject = self.subject().unwrap_or_default();
        let mut out = vec![self.kind() as u8];
        out.extend_from_slice(&self.errno().unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&(subject.len() as u32).to_le_bytes());
        out.extend_from_slice(subject);
        out.extend_from_slice(self.to_string().as_bytes());
        out
    }

    /// An error from the wire; `None` when it is none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let kind = [
            RemoteKind::Path,
            RemoteKind::Exists,
            RemoteKind::Refused,
            RemoteKind::TooLarge,
            RemoteKind::Archive,
        ]
        .into_iter()
        .find(|one| *one as u8 == *kind)?;
        let (errno, rest) = rest.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (subject, message) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        Some(Self::Remote {
            kind,
            errno: i32::from_le_bytes(*errno),
            subject: subject.to_vec(),
            message: String::from_utf8_lossy(message).into_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_the_wire() {
        let sent = CopyError::path("open", b"/a\xff", io::Error::from_raw_os_error(libc::ENOENT));
        let got = CopyError::decode(&sent.encode()).expect("an error");
        assert_eq!(got.kind(), RemoteKind::Path);
        assert_eq!(got.errno(), Some(libc::ENOENT));
        assert_eq!(got.subject(), Some(&b"/a\xff"[..]));
        assert_eq!(got.to_string(), sent.to_string());
        assert!(CopyError::decode(b"").is_none());
        assert!(CopyError::decode(b"\x63\0\0\0\0\0\0\0\0").is_none());
        assert!(CopyError::decode(b"\0\0\0\0\0\xff\xff\xff\xff").is_none());
    }
}
