//! A command to run in a box.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

/// Where a process's stdin comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StdinMode {
    /// `/dev/null`.
    Null,
    /// A stream; losing its connection is EOF.
    Once,
    /// A stream; only an explicit close is EOF, a later attach may write on.
    Keep,
}

/// Where a process's stdout or stderr goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputMode {
    /// The newest 1 MiB is kept until somebody takes the stream; the process never blocks.
    Retain,
    /// Lossless from the first byte: the process blocks until somebody takes the stream.
    Pipe,
    /// `/dev/null`.
    Null,
}

/// Limits of one execution; `None` = none but the box's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExecLimits {
    /// Most processes.
    pub pids: Option<u64>,
    /// Most memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Most open files of each process.
    pub open_files: Option<u64>,
    /// CPU time in thousandths of one CPU.
    pub cpu_millis: Option<u64>,
}

/// A command and everything about its process. A builder: each method takes and gives it.
#[derive(Clone, Debug)]
pub struct BoxCommand {
    pub(crate) argv: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) working_dir: Option<OsString>,
    pub(crate) user: Option<String>,
    pub(crate) tty: bool,
    pub(crate) tty_size: (u16, u16),
    pub(crate) timeout: Option<Duration>,
    pub(crate) stdin: Option<StdinMode>,
    pub(crate) stdout: OutputMode,
    pub(crate) stderr: OutputMode,
    pub(crate) merge_stderr: bool,
    pub(crate) limits: ExecLimits,
}

impl BoxCommand {
    /// Runs `program`, looked up through the box's PATH when it has no slash.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            argv: vec![program.as_ref().to_owned()],
            env: Vec::new(),
            working_dir: None,
            user: None,
            tty: false,
            tty_size: (24, 80),
            timeout: None,
            stdin: None,
            stdout: OutputMode::Retain,
            stderr: OutputMode::Retain,
            merge_stderr: false,
            limits: ExecLimits::default(),
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.argv.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I, S>(mut self, args: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.argv.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable, over the box's and the image's.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets the working directory, an absolute path in the box.
    #[must_use]
    pub fn working_dir(mut self, dir: impl AsRef<OsStr>) -> Self {
        self.working_dir = Some(dir.as_ref().to_owned());
        self
    }

    /// Sets the user: `name`, `uid`, `uid:gid` or `name:group`.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Whether the process gets a terminal: one merged stream.
    #[must_use]
    pub fn tty(mut self, tty: bool) -> Self {
        self.tty = tty;
        self
    }

    /// The terminal's size when the process starts.
    #[must_use]
    pub fn tty_size(mut self, rows: u16, cols: u16) -> Self {
        self.tty_size = (rows, cols);
        self
    }

    /// Kills all of the command's processes after `timeout`.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Where stdin comes from. Default: a stream, `Keep` with a terminal or in a detached box, else `Once`.
    #[must_use]
    pub fn stdin_mode(mut self, mode: StdinMode) -> Self {
        self.stdin = Some(mode);
        self
    }

    /// Where stdout goes. Default: `Retain`.
    #[must_use]
    pub fn stdout_mode(mut self, mode: OutputMode) -> Self {
        self.stdout = mode;
        self
    }

    /// Where stderr goes. Default: `Retain`.
    #[must_use]
    pub fn stderr_mode(mut self, mode: OutputMode) -> Self {
        self.stderr = mode;
        self
    }

    /// Whether stderr is written into stdout.
    #[must_use]
    pub fn merge_stderr(mut self, merge: bool) -> Self {
        self.merge_stderr = merge;
        self
    }

    /// Limits of this execution.
    #[must_use]
    pub fn limits(mut self, limits: ExecLimits) -> Self {
        self.limits = limits;
        self
    }
}
