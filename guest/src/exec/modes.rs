//! Which streams a command has, and how each of them behaves: from the request, and for the list.
//!
//! Owns the translation from and to the wire.

use boxlite_proto::agent::{self, ExecRequest, ExecutionInfo};

use crate::streams::{InputMode, OutputMode};

/// The modes of a command's three streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Modes {
    pub(super) stdin: InputMode,
    pub(super) stdout: OutputMode,
    pub(super) stderr: OutputMode,
    /// stderr goes the way of stdout.
    pub(super) merge_stderr: bool,
}

impl Modes {
    /// Those that the request asks for.
    pub(super) fn of(request: &ExecRequest) -> Self {
        let output = |mode: agent::OutputMode| match mode {
            agent::OutputMode::OUTPUT_RETAIN => OutputMode::Retain,
            agent::OutputMode::OUTPUT_PIPE => OutputMode::Pipe,
            agent::OutputMode::OUTPUT_NULL => OutputMode::Null,
        };
        let stdin = match request.stdin.enum_value_or_default() {
            agent::StdinMode::STDIN_NULL => InputMode::Null,
            agent::StdinMode::STDIN_ONCE => InputMode::Once,
            agent::StdinMode::STDIN_KEEP => InputMode::Keep,
        };
        let stdout = output(request.stdout.enum_value_or_default());
        let stderr = output(request.stderr.enum_value_or_default());
        // A terminal has output in any case.
        let stdout = if request.tty && stdout == OutputMode::Null { OutputMode::Retain } else { stdout };
        let merge_stderr = request.tty || request.merge_stderr;
        Self { stdin, stdout, stderr: if merge_stderr { stdout } else { stderr }, merge_stderr }
    }

    /// Says them of a command in the list.
    pub(super) fn tell(self, info: &mut ExecutionInfo) {
        let output = |mode| match mode {
            OutputMode::Retain => agent::OutputMode::OUTPUT_RETAIN,
            OutputMode::Pipe => agent::OutputMode::OUTPUT_PIPE,
            OutputMode::Null => agent::OutputMode::OUTPUT_NULL,
        };
        let stdin = match self.stdin {
            InputMode::Null => agent::StdinMode::STDIN_NULL,
            InputMode::Once => agent::StdinMode::STDIN_ONCE,
            InputMode::Keep => agent::StdinMode::STDIN_KEEP,
        };
        info.stdin = stdin.into();
        info.stdout = output(self.stdout).into();
        info.stderr = output(self.stderr).into();
        info.merge_stderr = self.merge_stderr;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_says_what_the_request_asked_for() {
        let mut request = ExecRequest::new();
        request.stdin = agent::StdinMode::STDIN_KEEP.into();
        request.stdout = agent::OutputMode::OUTPUT_PIPE.into();
        request.stderr = agent::OutputMode::OUTPUT_NULL.into();
        let told = |request: &ExecRequest| {
            let mut info = ExecutionInfo::new();
            Modes::of(request).tell(&mut info);
            (info.stdin, info.stdout, info.stderr, info.merge_stderr)
        };
        assert_eq!(told(&request), (request.stdin, request.stdout, request.stderr, false));
        request.merge_stderr = true;
        assert_eq!(told(&request), (request.stdin, request.stdout, request.stdout, true));
        request.tty = true;
        request.merge_stderr = false;
        request.stdout = agent::OutputMode::OUTPUT_NULL.into();
        let retain = agent::OutputMode::OUTPUT_RETAIN.into();
        assert_eq!(told(&request), (request.stdin, retain, retain, true), "a terminal always has output");
    }
}
