//! What the agent tells unasked, one line each, on the events stream that the shim opens first.
//!
//! ```text
//! hello <protocol version> <build id>\n      first line
//! bye <reason>\n                             last line before reboot(2)
//! ```
//!
//! A VM that ends without `bye` has crashed.

use std::fmt;
use std::str::FromStr;

/// Why the agent ended the VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByeReason {
    /// It was asked to, and everything is on the disks.
    PowerOff,
    /// It was asked to, and nothing on the disks is wanted any more: the machine may be killed.
    Discard,
    /// The box's main process ended.
    MainExited,
    /// The agent could not go on.
    AgentFailed,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The agent is there.
    Hello {
        /// Its wire version.
        protocol: u32,
        /// Its build.
        build_id: String,
    },
    /// The agent is about to end the VM.
    Bye(ByeReason),
}

/// A line that is no event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadEvent(pub String);

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello { protocol, build_id } => write!(f, "hello {protocol} {build_id}"),
            Self::Bye(reason) => write!(
                f,
                "bye {}",
                match reason {
                    ByeReason::PowerOff => "power-off",
                    ByeReason::Discard => "discard",
                    ByeReason::MainExited => "main-exited",
                    ByeReason::AgentFailed => "agent-failed",
                }
            ),
        }
    }
}

impl FromStr for Event {
    type Err = BadEvent;
    fn from_str(line: &str) -> Result<Self, BadEvent> {
        let bad = || BadEvent(line.to_owned());
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("hello"), Some(protocol), Some(build_id)) => Ok(Self::Hello {
                protocol: protocol.parse().map_err(|_| bad())?,
                build_id: build_id.to_owned(),
            }),
            (Some("bye"), Some("power-off"), None) => Ok(Self::Bye(ByeReason::PowerOff)),
            (Some("bye"), Some("discard"), None) => Ok(Self::Bye(ByeReason::Discard)),
            (Some("bye"), Some("main-exited"), None) => Ok(Self::Bye(ByeReason::MainExited)),
            (Some("bye"), Some("agent-failed"), None) => Ok(Self::Bye(ByeReason::AgentFailed)),
            _ => Err(bad()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_the_wire() {
        for event in [
            Event::Hello { protocol: 1, build_id: "abc".into() },
            Event::Bye(ByeReason::PowerOff),
            Event::Bye(ByeReason::Discard),
            Event::Bye(ByeReason::MainExited),
            Event::Bye(ByeReason::AgentFailed),
        ] {
            assert_eq!(event.to_string().parse(), Ok(event));
        }
        assert!("bye now".parse::<Event>().is_err());
    }
}
