//! The one error type of the crate: what failed, about what, and what a person can do about it.
//!
//! Owns the table of codes that the C ABI exposes; never prints, never logs.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

/// Result of every fallible call in this crate.
pub type BoxliteResult<T> = Result<T, BoxliteError>;

/// What an error says besides its kind. Dereferences to the message, so text checks work on it directly.
#[derive(Clone, PartialEq, Eq)]
pub struct Detail(Box<DetailParts>);

#[derive(Clone, Default, PartialEq, Eq)]
struct DetailParts {
    message: String,
    hint: Option<Cow<'static, str>>,
    subject: Option<String>,
    os_errno: Option<i32>,
    exit_code: Option<i32>,
}

impl Detail {
    /// A detail that so far is only a message.
    pub fn new(message: impl Into<String>) -> Self {
        Self(Box::new(DetailParts { message: message.into(), ..DetailParts::default() }))
    }

    /// What the caller can do about it, one sentence.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The path, name, id or reference the error is about.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.0.subject = Some(subject.into());
        self
    }

    /// The operating system's error number, where one was the cause.
    #[must_use]
    pub fn errno(mut self, errno: i32) -> Self {
        self.0.os_errno = Some(errno);
        self
    }

    /// The exit code a shell would give for a command that could not be started (126 or 127).
    #[must_use]
    pub fn exit_code(mut self, code: i32) -> Self {
        self.0.exit_code = Some(code);
        self
    }

    /// The message alone.
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

impl Deref for Detail {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0.message
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0.message, f)
    }
}

impl From<String> for Detail {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}

impl From<&str> for Detail {
    fn from(message: &str) -> Self {
        Self::new(message)
    }
}

macro_rules! errors {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $prefix:literal, $hint:literal;)*) => {
        /// Everything that can go wrong. Each variant has a stable number in the C ABI ([`BoxliteError::code`]).
        #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
        #[non_exhaustive]
        pub enum BoxliteError {
            $($(#[$doc])* #[error($prefix)] $variant(Detail),)*
        }

        impl BoxliteError {
            /// The number of this kind of error in the C ABI; append-only, never reused.
            pub fn code(&self) -> i32 {
                match self { $(Self::$variant(_) => $code,)* }
            }

            /// What is known besides the kind.
            pub fn detail(&self) -> &Detail {
                match self { $(Self::$variant(detail) => detail,)* }
            }

            fn detail_mut(&mut self) -> &mut Detail {
                match self { $(Self::$variant(detail) => detail,)* }
            }

            fn general_hint(&self) -> &'static str {
                match self { $(Self::$variant(_) => $hint,)* }
            }

            /// Every kind's name and code, in order; the C header and its test are made from this.
            pub const CODES: &'static [(&'static str, i32)] = &[$((stringify!($variant), $code),)*];
        }
    };
}

errors! {
    /// The virtual machine monitor failed.
    Engine = 1, "engine error: {0}", "see shim.log and console.log in the box's logs directory";
    /// An option or the installation is wrong.
    Config = 2, "configuration error: {0}", "correct the named option";
    /// A file or directory of the home could not be used.
    Storage = 3, "storage error: {0}", "check that the home directory is writable and has free space";
    /// An image is unusable or could not be fetched.
    Image = 4, "image error: {0}", "check the image reference and that the image is intact";
    /// The channel to a box's shim or guest agent failed.
    Portal = 5, "portal error: {0}", "the box may have ended: query its status, then start it again";
    /// A network peer could not be reached or refused.
    Network = 6, "network error: {0}", "check the network, the registry's address and the proxy settings";
    /// A call to the guest agent was answered with an error.
    Rpc = 7, "rpc error: {0}", "see console.log in the box's logs directory";
    /// A bug in boxlite.
    Internal = 8, "internal error: {0}", "this is a bug in boxlite: report it with this message";
    /// A command could not be started or its output was cut off.
    Execution = 9, "execution error: {0}", "check the command's name, its permissions and the working directory";
    /// Not available in this build or on this machine.
    Unsupported = 10, "unsupported: {0}", "run the system check to see what this machine offers";
    /// No such box, image or execution.
    NotFound = 11, "not found: {0}", "list what exists and check the name";
    /// The name is taken.
    AlreadyExists = 12, "already exists: {0}", "choose another name, or get the existing one";
    /// The operation is not possible in the present state.
    InvalidState = 13, "invalid state: {0}", "query the box's status first";
    /// The home's database failed.
    Database = 14, "database error: {0}", "check the home's db directory; the boxes' disks are not affected";
    /// An argument is wrong.
    InvalidArgument = 15, "invalid argument: {0}", "correct the named argument";
    /// The runtime or the box was stopped.
    Stopped = 16, "stopped: {0}", "get the box again, or open a new runtime";
    /// Out of memory, disk, descriptors or another limit.
    ResourceExhausted = 17, "resource exhausted: {0}", "free some of the named resource or raise its limit";
    /// The connection to the guest agent broke.
    RpcTransport = 18, "rpc transport error: {0}", "the box may have ended: query its status, then start it again";
    /// Stored metadata is damaged.
    MetadataError = 19, "metadata error: {0}", "remove the named item and create it again";
    /// The execution's session is gone.
    SessionReaped = 20, "session reaped: {0}", "start the command again";
    /// The deadline passed.
    Timeout = 21, "timeout: {0}", "allow more time";
    /// The caller cancelled.
    Cancelled = 22, "cancelled: {0}", "nothing is wrong: the caller asked for this; reset the call to use it again";
    /// The handle belongs to the process that forked this one.
    Forked = 23, "forked: {0}", "open a runtime of its own in the child process";
    /// Another process or thread holds the lock.
    Busy = 24, "busy: {0}", "wait for the named owner, or allow more time";
    /// A panic was caught at the C boundary.
    Panic = 25, "panic: {0}", "this is a bug in boxlite: report it with this message";
}

impl BoxliteError {
    /// What the caller can do about it, one sentence; never empty.
    pub fn hint(&self) -> &str {
        match &self.detail().0.hint {
            Some(hint) => hint,
            None => self.general_hint(),
        }
    }

    /// The path, name, id or reference the error is about.
    pub fn subject(&self) -> Option<&str> {
        self.detail().0.subject.as_deref()
    }

    /// The operating system's error number, where one was the cause.
    pub fn os_errno(&self) -> Option<i32> {
        self.detail().0.os_errno
    }

    /// 126 or 127 when a command could not be started.
    pub fn exit_code(&self) -> Option<i32> {
        self.detail().0.exit_code
    }

    /// The same error with a better hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.detail_mut().0.hint = Some(hint.into());
        self
    }

    /// The same error, about `subject`.
    #[must_use]
    pub fn with_subject(mut self, subject: impl Into<String>) -> Self {
        self.detail_mut().0.subject = Some(subject.into());
        self
    }

    /// A storage error from an I/O error on `path`; a full disk or descriptor table is `ResourceExhausted`.
    pub fn io(action: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        let mut detail = Detail::new(format!("cannot {action} {}: {error}", path.display()))
            .subject(path.display().to_string());
        detail.0.os_errno = error.raw_os_error();
        match error.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => {
                Self::ResourceExhausted(detail.hint("free space on the file system that holds the home"))
            }
            Some(libc::EMFILE | libc::ENFILE) => {
                Self::ResourceExhausted(detail.hint("raise the limit on open files (ulimit -n)"))
            }
            Some(libc::ENOMEM) => Self::ResourceExhausted(detail.hint("free memory on the host")),
            Some(libc::EROFS) => Self::Storage(
                detail.hint("the file system is mounted read-only: choose a home on a writable one"),
            ),
            Some(libc::EACCES | libc::EPERM) => {
                Self::Storage(detail.hint("choose a home directory that this user owns"))
            }
            _ => Self::Storage(detail),
        }
    }
}

/// For `?` in code that has nothing to add; where a path is known, [`BoxliteError::io`] says more.
impl From<std::io::Error> for BoxliteError {
    fn from(error: std::io::Error) -> Self {
        let mut detail = Detail::new(format!("I/O error: {error}"));
        detail.0.os_errno = error.raw_os_error();
        Self::Internal(detail)
    }
}

impl From<serde_json::Error> for BoxliteError {
    fn from(error: serde_json::Error) -> Self {
        Self::Internal(Detail::new(format!("JSON error: {error}")))
    }
}

impl From<String> for BoxliteError {
    fn from(message: String) -> Self {
        Self::Internal(message.into())
    }
}

impl From<&str> for BoxliteError {
    fn from(message: &str) -> Self {
        Self::Internal(message.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_code_and_a_hint() {
        let mut codes: Vec<i32> = BoxliteError::CODES.iter().map(|(_, code)| *code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), BoxliteError::CODES.len());
        let error = BoxliteError::Stopped("the runtime was shut down".into());
        assert!(!error.hint().is_empty());
        assert!(matches!(&error, BoxliteError::Stopped(text) if text.contains("shut down")));
        assert_eq!(error.to_string(), "stopped: the runtime was shut down");
    }

    #[test]
    fn a_full_disk_is_told_from_a_broken_one() {
        let full = std::io::Error::from_raw_os_error(libc::ENOSPC);
        let error = BoxliteError::io("write", std::path::Path::new("/x"), &full);
        assert!(matches!(error, BoxliteError::ResourceExhausted(_)));
        assert_eq!(error.os_errno(), Some(libc::ENOSPC));
        assert_eq!(error.subject(), Some("/x"));
    }
}
