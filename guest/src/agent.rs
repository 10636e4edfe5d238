//! The agent's state: not set up, serving, or powering off.
//!
//! Owns what the calls act on, and hands streams to calls, events and executions. What each call means on the wire
//! is `service`'s matter.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use boxlite_proto::event::ByeReason;
use boxlite_proto::stream::BytesHeader;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};
use yamux::Stream;

use crate::channel::events::Events;
use crate::channel::session::Dispatch;
use crate::configure::Boot;
use crate::console::{self, Stage};
use crate::error::{AgentError, Context};
use crate::exec::{Home, Table};
use crate::power;
use crate::sys::{lock, register, usage};

/// A stream that carries calls.
pub(crate) type CallStream = Compat<Stream>;

#[derive(Debug)]
enum State {
    Unconfigured,
    Serving(Arc<Home>),
    PoweringOff,
}

/// The agent.
#[derive(Debug)]
pub(crate) struct Agent {
    state: Mutex<State>,
    boot: Mutex<Boot>,
    pub(crate) executions: Arc<Table>,
    pub(crate) events: Arc<Events>,
}

impl Agent {
    /// An agent that has prepared the VM and looks for the host.
    pub(crate) fn new(boot: Boot) -> Self {
        Self {
            state: Mutex::new(State::Unconfigured),
            boot: Mutex::new(boot),
            executions: Arc::new(Table::new(usage().memory_total)),
            events: Arc::new(Events::default()),
        }
    }

    /// The way to the host is found.
    pub(crate) fn connected(&self, took: Duration) {
        lock(&self.boot).channel = took;
    }

    /// The box, for a call that needs one.
    pub(crate) fn home(&self, call: &'static str) -> Result<Arc<Home>, AgentError> {
        match &*lock(&self.state) {
            State::Serving(home) => Ok(Arc::clone(home)),
            State::Unconfigured => Err(AgentError::NotConfigured { call }),
            State::PoweringOff => Err(AgentError::PoweringOff),
        }
    }

    /// Sets the box up by `make`, once; a failed attempt leaves nothing but mounts that a new start clears.
    pub(crate) fn configure<T>(
        self: &Arc<Self>,
        make: impl FnOnce(Boot) -> Result<(Home, T), AgentError>,
    ) -> Result<T, AgentError> {
        let mut state = lock(&self.state);
        match *state {
            State::Unconfigured => {}
            State::Serving(_) => return Err(AgentError::ConfiguredAlready),
            State::PoweringOff => return Err(AgentError::PoweringOff),
        }
        console::enter(Stage::Configure);
        let (home, answer) = make(*lock(&self.boot))?;
        let init = register(home.init.pidfd().step(|| "watch the box's init".into())?, Interest::READABLE)
            .step(|| "watch the box's init".into())?;
        console::enter(Stage::Serve);
        *state = State::Serving(Arc::new(home));
        tokio::spawn(watch_init(Arc::clone(self), init));
        Ok(answer)
    }

    /// Begins the end; later calls are refused, a second one changes nothing. The box, where there is one to end.
    pub(crate) fn retire(&self) -> Option<Option<Arc<Home>>> {
        match std::mem::replace(&mut *lock(&self.state), State::PoweringOff) {
            State::Unconfigured => Some(None),
            State::Serving(home) => Some(Some(home)),
            State::PoweringOff => None,
        }
    }
}

/// Without its init the box has no processes and can get none: the VM ends, saying so.
async fn watch_init(agent: Arc<Agent>, init: AsyncFd<OwnedFd>) {
    if init.readable().await.is_ok()
        && let Some(home) = agent.retire()
    {
        console::say("the box's init has died: ending the virtual machine");
        power::end(&agent, home, Duration::ZERO, ByeReason::AgentFailed).await;
    }
}

/// Where streams go.
#[derive(Debug)]
pub(crate) struct Router {
    pub(crate) agent: Arc<Agent>,
    pub(crate) calls: UnboundedSender<CallStream>,
}

impl Dispatch for Router {
    fn calls(&self, stream: Stream) {
        // The server listens as long as the agent lives.
        let _ = self.calls.send(stream.compat());
    }

    fn events(&self, stream: Stream) {
        let events = Arc::clone(&self.agent.events);
        tokio::spawn(async move { events.greet(stream).await });
    }

    fn bytes(&self, header: BytesHeader, stream: Stream) {
        self.agent.executions.arrived(header, stream);
    }
}
