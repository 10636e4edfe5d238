//! Faults on demand: calls by which tests make the agent die.
//!
//! Owns the switch, which the host throws at Configure, or at the Claim of a clone, and never again. Off, each call is
//! refused before it does anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use boxlite_proto::agent::Empty;
use boxlite_proto::agent_ttrpc;
use ttrpc::r#async::TtrpcContext;

use crate::error::AgentError;

/// Whether the calls do anything. Clones are the same switch.
#[derive(Clone, Debug, Default)]
pub(crate) struct TestHooks(Arc<AtomicBool>);

impl TestHooks {
    /// Throws the switch as the host wants it.
    pub(crate) fn set(&self, on: bool) {
        self.0.store(on, Ordering::Relaxed);
    }

    fn check(&self, call: &'static str) -> Result<(), AgentError> {
        if self.0.load(Ordering::Relaxed) { Ok(()) } else { Err(AgentError::NoTestHooks { call }) }
    }
}

#[async_trait]
impl agent_ttrpc::Test for TestHooks {
    async fn abort(&self, _: &TtrpcContext, _: Empty) -> ttrpc::Result<Empty> {
        self.check("test.abort")?;
        std::process::abort()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_switch_a_call_is_unimplemented() {
        let hooks = TestHooks::default();
        let refused: ttrpc::Error = hooks.check("test.abort").unwrap_err().into();
        let ttrpc::Error::RpcStatus(status) = refused else { panic!("{refused}") };
        assert_eq!(status.code(), ttrpc::Code::UNIMPLEMENTED);
        assert!(status.message().contains("test.abort"));
        hooks.clone().set(true);
        assert!(hooks.check("test.abort").is_ok());
    }
}
