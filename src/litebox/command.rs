//! A command to run in a box.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use crate::errors::{BoxliteError, BoxliteResult, Detail};

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
    /// The agent runs a part of itself, not a program of the box.
    pub(super) own_program: bool,
    /// Nobody asked for it: no figure counts it.
    pub(super) is_warm_up: bool,
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
            own_program: false,
            is_warm_up: false,
        }
    }

    /// A part of the agent itself, see `boxlite_proto::copy`.
    pub(super) fn own_program(name: &str) -> Self {
        Self { own_program: true, ..Self::new(name).working_dir("/") }
    }

    /// Runs for no caller, see [`super::spares`].
    pub(super) fn warm_up(self) -> Self {
        Self { is_warm_up: true, ..self }
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

    /// Sets the user: `name`, `uid`, `uid:gid` or `name:group`. A blank one is the default.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into()).filter(|user| !user.trim().is_empty());
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

impl BoxCommand {
    /// Refuses what no process can be given.
    pub(super) fn check(&self) -> BoxliteResult<()> {
        if self.argv[0].is_empty() {
            return refuse("argv[0]", "argv[0] is empty: the command needs a name");
        }
        for (index, argument) in self.argv.iter().enumerate() {
            refuse_nul(&format!("argv[{index}]"), argument)?;
        }
        for (name, value) in &self.env {
            let shown = format!("environment variable {:?}", name.to_string_lossy());
            if name.is_empty() || name.as_bytes().contains(&b'=') {
                return refuse(&shown, &format!("{shown} has an empty name, or a name with '='"));
            }
            refuse_nul(&format!("the name of {shown}"), name)?;
            refuse_nul(&shown, value)?;
        }
        if let Some(user) = &self.user {
            refuse_nul("user", user.as_ref())?;
        }
        let Some(dir) = &self.working_dir else { return Ok(()) };
        refuse_nul("working_dir", dir)?;
        if !dir.as_bytes().starts_with(b"/") {
            let message = format!("working_dir {:?} is not an absolute path", dir.to_string_lossy());
            return refuse("working_dir", &message);
        }
        Ok(())
    }
}

fn refuse(subject: &str, message: &str) -> BoxliteResult<()> {
    Err(BoxliteError::InvalidArgument(Detail::new(message).subject(subject).hint("correct the command")))
}

fn refuse_nul(name: &str, text: &OsStr) -> BoxliteResult<()> {
    nul_byte(name, text.as_bytes()).map_or(Ok(()), |message| refuse(name, &message))
}

/// What is wrong with `bytes`, called `name`, when the kernel would take them to end before their end.
pub(crate) fn nul_byte(name: &str, bytes: &[u8]) -> Option<String> {
    let at = bytes.iter().position(|byte| *byte == 0)?;
    Some(format!("{name} contains a NUL byte at offset {at}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_process_can_be_given_is_refused_by_name() {
        let nul = "contains a NUL byte at offset";
        for (command, named) in [
            (BoxCommand::new(""), "argv[0] is empty".to_owned()),
            (BoxCommand::new("a\0"), format!("argv[0] {nul} 1")),
            (BoxCommand::new("a").arg("b").arg("b\0c"), format!("argv[2] {nul} 1")),
            (BoxCommand::new("a").env("A=B", "c"), "\"A=B\"".to_owned()),
            (BoxCommand::new("a").env("", "c"), "environment variable \"\"".to_owned()),
            (
                BoxCommand::new("a").env("A\0", "c"),
                format!("the name of environment variable \"A\\0\" {nul} 1"),
            ),
            (BoxCommand::new("a").env("A", "bc\0"), format!("environment variable \"A\" {nul} 2")),
            (BoxCommand::new("a").working_dir("tmp"), "working_dir \"tmp\"".to_owned()),
            (BoxCommand::new("a").working_dir("/tmp\0"), format!("working_dir {nul} 4")),
            (BoxCommand::new("a").user("root\0"), format!("user {nul} 4")),
        ] {
            let error = command.check().unwrap_err();
            assert!(
                matches!(&error, BoxliteError::InvalidArgument(text) if text.contains(&named)),
                "{error}"
            );
            assert!(error.subject().is_some());
        }
        BoxCommand::new("a").arg("").env("A", "").user(" ").working_dir("/").check().unwrap();
    }
}
