//! The `exit` file: how the box ended, for whoever finds its directory later.

use std::fs;
use std::io;
use std::path::Path;

use boxlite_proto::event::ByeReason;
use boxlite_proto::shim::{ExitKind, ExitRecord, StartFailure, files};

use super::pidfile::replace;
use crate::engine::process::End;

/// Puts the record of the run before aside. The caller has the box's lock.
pub(crate) fn put_aside() -> io::Result<()> {
    match fs::rename(files::EXIT, files::EXIT_PREVIOUS) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Writes the record into the working directory.
pub(crate) fn write(record: &ExitRecord) -> io::Result<()> {
    let mut json = serde_json::to_vec(record)?;
    json.push(b'\n');
    replace(Path::new(files::EXIT), &json)
}

/// Everything that is known of a box's end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// How the engine's process ended.
    pub(crate) engine: End,
    /// The agent's last word.
    pub(crate) bye: Option<ByeReason>,
    /// Who asked the shim to stop the box.
    pub(crate) asked: Option<StopReason>,
    /// The shim itself had to end the machine: it did not end by its agent.
    pub(crate) forced: bool,
    /// The engine has had a SIGKILL of the shim.
    pub(crate) killed: bool,
    /// The host has killed for want of memory since the machine was started.
    pub(crate) oom_kills: bool,
}

impl Facts {
    /// A SIGKILL that was not the shim's, where the host kills for want of memory. (Somebody else's signal looks the same
    /// once the host has killed another process of the same control group.)
    fn is_out_of_memory(&self) -> bool {
        self.engine == End::Signalled(libc::SIGKILL) && !self.killed && self.oom_kills
    }
}

/// Why the shim stops a box by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// Its owner is gone or has given it up.
    OwnerGone,
    /// A signal to the shim.
    Signal(&'static str),
    /// It has run for as long as it may.
    LifetimeOver,
    /// It has had nothing to do for as long as it may.
    Idle,
}

const OUT_OF_MEMORY: &str = "the host's kernel killed the virtual machine for want of memory: give the host, or the control \
    group (cgroup) in which the box runs, more memory, or the box less";

/// The record of a box that had been up. `console` is the end of the guest's console.
pub(crate) fn record(facts: Facts, console: &str) -> ExitRecord {
    let kind = match (facts.bye, facts.asked) {
        (Some(ByeReason::MainExited), _) => ExitKind::MainExited,
        (Some(ByeReason::PowerOff), Some(StopReason::OwnerGone)) => ExitKind::OwnerGone,
        (Some(ByeReason::PowerOff), Some(StopReason::LifetimeOver)) => ExitKind::LifetimeOver,
        (Some(ByeReason::PowerOff), Some(StopReason::Idle)) => ExitKind::Idle,
        (Some(ByeReason::PowerOff | ByeReason::Discard), _) => ExitKind::Stopped,
        (None, _) if facts.is_out_of_memory() => ExitKind::OutOfMemory,
        (None, Some(_)) if facts.forced => ExitKind::Killed,
        (Some(ByeReason::AgentFailed) | None, _) => ExitKind::Crashed,
    };
    let (exit_code, signal) = match facts.engine {
        End::Exited(code) => (Some(code), None),
        End::Signalled(signal) => (None, Some(signal)),
    };
    let message = match kind {
        ExitKind::MainExited => "the box's main process ended".to_owned(),
        ExitKind::OwnerGone => "stopped because its owner went away".to_owned(),
        ExitKind::Stopped => match facts.asked {
            Some(StopReason::Signal(signal)) => format!("stopped because the shim got {signal}"),
            _ => "stopped in order".to_owned(),
        },
        ExitKind::LifetimeOver => "stopped because it had run for as long as it may".to_owned(),
        ExitKind::Idle => "stopped because it had been idle for as long as it may".to_owned(),
        ExitKind::Killed => "killed: the agent did not end the machine in time".to_owned(),
        ExitKind::OutOfMemory => OUT_OF_MEMORY.to_owned(),
        ExitKind::Crashed | ExitKind::StartFailed => crash(facts, console),
    };
    ExitRecord { kind, exit_code, signal, message }
}

fn crash(facts: Facts, console: &str) -> String {
    let what = match (facts.bye, facts.engine) {
        (Some(_), _) => "the agent could not go on".to_owned(),
        (None, _) if facts.forced => "the agent left its channel and the machine hung".to_owned(),
        (None, End::Exited(0)) => "the virtual machine ended without a word of its agent".to_owned(),
        (None, end @ End::Signalled(libc::SIGBUS)) => format!(
            "the engine ended ({end}): a file behind the machine's memory was changed, such as the template it is a clone of"
        ),
        (None, end) => format!("the engine ended ({end})"),
    };
    match console.trim() {
        "" => what,
        console => format!("{what}; the console's end: {console}"),
    }
}

/// The record of a box that never came up.
pub(crate) fn start_failed(failure: &StartFailure) -> ExitRecord {
    ExitRecord {
        kind: ExitKind::StartFailed,
        exit_code: None,
        signal: None,
        message: format!("{} (at stage {})", failure.message, failure.stage),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(bye: Option<ByeReason>, asked: Option<StopReason>, forced: bool, engine: End) -> ExitKind {
        record(Facts { engine, bye, asked, forced, killed: forced, oom_kills: false }, "").kind
    }

    #[test]
    fn ends_have_their_kinds() {
        let clean = End::Exited(0);
        let owner = Some(StopReason::OwnerGone);
        assert_eq!(kind(Some(ByeReason::PowerOff), None, false, clean), ExitKind::Stopped);
        assert_eq!(kind(Some(ByeReason::PowerOff), owner, false, clean), ExitKind::OwnerGone);
        assert_eq!(
            kind(Some(ByeReason::PowerOff), Some(StopReason::Signal("SIGTERM")), false, clean),
            ExitKind::Stopped
        );
        let limit = |reason| kind(Some(ByeReason::PowerOff), Some(reason), false, clean);
        assert_eq!(limit(StopReason::LifetimeOver), ExitKind::LifetimeOver);
        assert_eq!(limit(StopReason::Idle), ExitKind::Idle);
        assert_eq!(kind(Some(ByeReason::MainExited), None, false, clean), ExitKind::MainExited);
        assert_eq!(kind(Some(ByeReason::AgentFailed), None, false, clean), ExitKind::Crashed);
        assert_eq!(kind(None, None, false, clean), ExitKind::Crashed);
        assert_eq!(kind(None, None, false, End::Signalled(9)), ExitKind::Crashed);
        assert_eq!(kind(None, owner, true, End::Signalled(9)), ExitKind::Killed);
        // One whose disk is not wanted any more is killed at its agent's word.
        assert_eq!(kind(Some(ByeReason::Discard), None, false, End::Signalled(9)), ExitKind::Stopped);
        // A machine that was told to flush and end after its agent's word has not been killed.
        assert_eq!(kind(Some(ByeReason::PowerOff), None, true, clean), ExitKind::Stopped);
    }

    #[test]
    fn only_a_kill_that_is_nobody_elses_is_for_want_of_memory() {
        let facts = Facts {
            engine: End::Signalled(9),
            bye: None,
            asked: None,
            forced: false,
            killed: false,
            oom_kills: true,
        };
        let kind = |facts| record(facts, "").kind;
        assert_eq!(kind(facts), ExitKind::OutOfMemory);
        assert!(record(facts, "").message.contains("the box less"));
        let asked = Some(StopReason::OwnerGone);
        assert_eq!(kind(Facts { asked, ..facts }), ExitKind::OutOfMemory);
        assert_eq!(kind(Facts { oom_kills: false, ..facts }), ExitKind::Crashed);
        assert_eq!(kind(Facts { engine: End::Signalled(11), ..facts }), ExitKind::Crashed);
        assert_eq!(kind(Facts { asked, forced: true, killed: true, ..facts }), ExitKind::Killed);
        // What it had to write is written.
        assert_eq!(kind(Facts { bye: Some(ByeReason::PowerOff), ..facts }), ExitKind::Stopped);
    }

    #[test]
    fn a_crash_tells_what_ended_and_what_was_on_the_console() {
        let facts = Facts {
            engine: End::Signalled(11),
            bye: None,
            asked: None,
            forced: false,
            killed: false,
            oom_kills: true,
        };
        let record = record(facts, "Oops\n");
        assert_eq!((record.exit_code, record.signal), (None, Some(11)));
        assert!(
            record.message.contains("signal 11") && record.message.ends_with("Oops"),
            "{}",
            record.message
        );
    }
}
