//! What can go wrong in the agent, in words for a person, and how each case travels to the host.
//!
//! Owns the error type only.

use std::io;

use ttrpc::Code;

/// Anything a call can be refused for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    #[error("the box is not set up yet: Configure comes before {call}")]
    NotConfigured { call: &'static str },
    #[error("the box is set up already: Configure is called once per start")]
    ConfiguredAlready,
    #[error("the box is powering off: start it again to run commands")]
    PoweringOff,
    #[error("no execution '{id}' in this box: it never started, or it ended and 64 newer ones pushed it out")]
    UnknownExecution { id: String },
    #[error("execution '{id}' exists already: mint a new id for each")]
    ExecutionExists { id: String },
    #[error("execution '{id}' has ended")]
    ExecutionEnded { id: String },
    #[error("execution '{id}' has not started yet")]
    ExecutionStarting { id: String },
    #[error("execution '{id}' has no terminal: start it with tty")]
    NoTerminal { id: String },
    #[error("{call} exists only where the host asked for test hooks (BOXLITE_TEST_HOOKS=1)")]
    NoTestHooks { call: &'static str },
    #[error("{what}")]
    Invalid { what: String },
    #[error("the agent itself failed to {what}")]
    Internal { what: String },
    #[error("no disk with serial '{serial}' is attached to the virtual machine")]
    MissingDisk { serial: &'static str },
    #[error("the image has '{path}' as something other than a directory, which a box needs there")]
    NotADirectory { path: String },
    #[error("the box's view of the system could not be built: {message}")]
    View { message: String },
    #[error("the host has closed the channel")]
    HostGone,
    #[error("{step}: {source}")]
    Step { step: String, source: io::Error },
}

impl AgentError {
    /// How callers tell the cases apart on the wire.
    fn code(&self) -> Code {
        match self {
            Self::NotConfigured { .. }
            | Self::ConfiguredAlready
            | Self::ExecutionEnded { .. }
            | Self::ExecutionStarting { .. }
            | Self::NoTerminal { .. } => Code::FAILED_PRECONDITION,
            Self::PoweringOff => Code::UNAVAILABLE,
            Self::UnknownExecution { .. } => Code::NOT_FOUND,
            Self::ExecutionExists { .. } => Code::ALREADY_EXISTS,
            Self::Invalid { .. } => Code::INVALID_ARGUMENT,
            Self::NoTestHooks { .. } => Code::UNIMPLEMENTED,
            Self::Internal { .. }
            | Self::MissingDisk { .. }
            | Self::NotADirectory { .. }
            | Self::View { .. }
            | Self::HostGone
            | Self::Step { .. } => Code::INTERNAL,
        }
    }
}

impl From<AgentError> for ttrpc::Error {
    fn from(error: AgentError) -> Self {
        Self::RpcStatus(ttrpc::get_status(error.code(), error.to_string()))
    }
}

/// Names the step in which something failed.
pub(crate) trait Context<T> {
    /// Wraps the error with the sentence `step` makes.
    fn step(self, step: impl FnOnce() -> String) -> Result<T, AgentError>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn step(self, step: impl FnOnce() -> String) -> Result<T, AgentError> {
        self.map_err(|error| AgentError::Step { step: step(), source: error.into() })
    }
}
