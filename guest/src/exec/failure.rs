//! Why a command did not start, as an exit code and a sentence.
//!
//! Owns the wording and the 125 / 126 / 127 rule: 127 not found, 126 found but not executable, 125 all before that.

use boxlite_proto::agent::StartFailure;
use nix::errno::Errno;

use crate::exec::child::Step;

/// A failure before the command itself was tried.
pub(crate) fn before(os_errno: Option<Errno>, message: String) -> StartFailure {
    failure(125, os_errno, message)
}

fn failure(exit_code: u32, os_errno: Option<Errno>, message: String) -> StartFailure {
    let os_errno = os_errno.map_or(0, |errno| (errno as i32).unsigned_abs());
    StartFailure { exit_code, os_errno, message, ..StartFailure::default() }
}

/// What the person named.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) command: String,
    pub(crate) directory: String,
    pub(crate) user: String,
}

/// The child's report in words.
pub(crate) fn reported(step: Step, errno: Errno, named: &Named) -> StartFailure {
    let Named { command, directory, user } = named;
    let reason = errno.desc();
    let is_path = command.contains('/');
    match step {
        Step::Exec => {
            let (code, message) = match errno {
                Errno::ENOENT | Errno::ENOTDIR if is_path => {
                    (127, format!("command '{command}' not found in the box"))
                }
                Errno::ENOENT | Errno::ENOTDIR => {
                    (127, format!("command '{command}' not found in any directory of the box's PATH"))
                }
                Errno::EACCES => (
                    126,
                    format!(
                        "command '{command}' can't be executed by user '{user}': it is no file with execute permission for that user"
                    ),
                ),
                Errno::ENOEXEC => (
                    126,
                    format!(
                        "command '{command}' is no program this box can run: wrong architecture, or a script without a '#!' line"
                    ),
                ),
                Errno::E2BIG => (
                    126,
                    format!(
                        "arguments and environment of '{command}' are too long: one string may have 128 KiB, all together 2 MiB"
                    ),
                ),
                _ => (126, format!("command '{command}' could not be executed: {reason}")),
            };
            failure(code, Some(errno), message)
        }
        Step::Interpreter => {
            let message =
                format!("command '{command}' is there, but the interpreter or loader it names is not");
            failure(126, Some(errno), message)
        }
        Step::Directory => before(
            Some(errno),
            format!("working directory '{directory}' can't be entered by user '{user}': {reason}"),
        ),
        Step::User => before(Some(errno), format!("user '{user}' could not be taken on: {reason}")),
        Step::Limits => before(Some(errno), format!("the limit of open files was refused: {reason}")),
        Step::Namespace | Step::Session | Step::Streams | Step::Terminal => {
            before(Some(errno), format!("'{command}' could not be placed in the box ({step:?}): {reason}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_follow_the_shells_rule() {
        let named = Named { command: "frob".into(), directory: "/w".into(), user: "app".into() };
        let code = |step, errno| reported(step, errno, &named).exit_code;
        assert_eq!(code(Step::Exec, Errno::ENOENT), 127);
        assert_eq!(code(Step::Exec, Errno::ENOTDIR), 127);
        assert_eq!(code(Step::Exec, Errno::EACCES), 126);
        assert_eq!(code(Step::Exec, Errno::ENOEXEC), 126);
        assert_eq!(code(Step::Exec, Errno::E2BIG), 126);
        assert_eq!(code(Step::Interpreter, Errno::ENOENT), 126);
        assert_eq!(code(Step::Directory, Errno::ENOENT), 125);
        assert_eq!(code(Step::User, Errno::EPERM), 125);
        let failure = reported(Step::Directory, Errno::ENOENT, &named);
        assert!(failure.message.contains("'/w'") && failure.message.contains("'app'"), "{}", failure.message);
        assert_eq!(failure.os_errno, Errno::ENOENT as u32);
    }
}
