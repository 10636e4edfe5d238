//! Turns what ttrpc reports into the crate's errors.

use crate::errors::{BoxliteError, Detail};

/// The error of a call named `call` that the agent refused or that did not get through.
pub(super) fn refused(call: &str, error: ttrpc::Error) -> BoxliteError {
    use ttrpc::Code;
    match error {
        ttrpc::Error::RpcStatus(status) => {
            let detail = Detail::new(status.message().to_owned());
            match status.code() {
                Code::NOT_FOUND => BoxliteError::NotFound(detail),
                Code::INVALID_ARGUMENT => BoxliteError::InvalidArgument(detail),
                Code::ALREADY_EXISTS => BoxliteError::AlreadyExists(detail),
                Code::RESOURCE_EXHAUSTED => BoxliteError::ResourceExhausted(detail),
                Code::FAILED_PRECONDITION => BoxliteError::InvalidState(detail),
                Code::UNAVAILABLE => {
                    BoxliteError::Stopped(detail.hint("the box is going down: get it again"))
                }
                Code::DEADLINE_EXCEEDED => {
                    BoxliteError::Timeout(Detail::new(format!("{call}: the agent did not answer in time")))
                }
                _ => BoxliteError::Rpc(Detail::new(format!("{call}: {}", status.message()))),
            }
        }
        other => BoxliteError::RpcTransport(Detail::new(format!("{call}: {other}"))),
    }
}
