//! The agent's state: not set up, serving, or powering off.
//!
//! Owns what the calls act on, and hands streams to calls, events and executions. What each call means on the wire
//! is `service`'s matter.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use boxlite_proto::agent::{ClaimRequest, ClaimResponse};
use boxlite_proto::event::ByeReason;
use boxlite_proto::stream::BytesHeader;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};
use yamux::Stream;

use crate::channel::events::Events;
use crate::channel::session::Dispatch;
use crate::configure::{self, Boot, Vacant};
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
    /// Set up ahead, and without an image now.
    Vacant(Vacant),
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
            State::Unconfigured | State::Vacant(_) => Err(AgentError::NotConfigured { call }),
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
            State::Serving(_) | State::Vacant(_) => return Err(AgentError::ConfiguredAlready),
            State::PoweringOff => return Err(AgentError::PoweringOff),
        }
        console::enter(Stage::Configure);
        let (home, answer) = make(*lock(&self.boot))?;
        *state = self.serve(home)?;
        console::enter(Stage::Serve);
        Ok(answer)
    }

    /// Makes a box that was set up ahead the one that was asked for.
    pub(crate) fn claim(self: &Arc<Self>, request: &ClaimRequest) -> Result<ClaimResponse, AgentError> {
        let mut state = lock(&self.state);
        let (home, answer) = match &*state {
            State::Serving(_) => configure::claim(request, self.take(&mut state, "Claim")?)?,
            State::Vacant(vacant) => configure::fill(request, vacant)?,
            State::Unconfigured => return Err(AgentError::NotConfigured { call: "Claim" }),
            State::PoweringOff => return Err(AgentError::PoweringOff),
        };
        *state = self.serve(home)?;
        Ok(answer)
    }

    /// Ends all of a box that was set up ahead but its disk, and lets go of the image. An attempt that fails leaves
    /// nothing that could be claimed.
    pub(crate) fn vacate(&self) -> Result<(), AgentError> {
        self.home("Vacate")?;
        let mut state = lock(&self.state);
        let home = self.take(&mut state, "Vacate")?;
        *state = State::Vacant(configure::vacate(home)?);
        Ok(())
    }

    /// Begins a box that was set up ahead anew. An attempt that fails leaves nothing that could be claimed.
    pub(crate) fn renew(self: &Arc<Self>) -> Result<(), AgentError> {
        self.home("Renew")?;
        let mut state = lock(&self.state);
        let home = self.take(&mut state, "Renew")?;
        *state = self.serve(configure::renew(home)?)?;
        Ok(())
    }

    /// Takes a box out in which nothing runs; what ran there is forgotten.
    fn take(&self, state: &mut State, call: &'static str) -> Result<Home, AgentError> {
        self.executions.forget_all()?;
        let State::Serving(home) = std::mem::replace(state, State::Unconfigured) else {
            return Err(AgentError::NotConfigured { call });
        };
        // Whoever else has it is about to start a process.
        Arc::into_inner(home)
            .ok_or_else(|| AgentError::Invalid { what: "something is being started in the box".into() })
    }

    fn serve(self: &Arc<Self>, home: Home) -> Result<State, AgentError> {
        let step = || "watch the box's init".into();
        let init = register(home.init.pidfd().step(step)?, Interest::READABLE).step(step)?;
        let home = Arc::new(home);
        tokio::spawn(watch_init(Arc::clone(self), Arc::downgrade(&home), init));
        Ok(State::Serving(home))
    }

    /// Begins the end; later calls are refused, a second one changes nothing. The box, where there is one to end.
    pub(crate) fn retire(&self) -> Option<Option<Arc<Home>>> {
        match std::mem::replace(&mut *lock(&self.state), State::PoweringOff) {
            State::Unconfigured | State::Vacant(_) => Some(None),
            State::Serving(home) => Some(Some(home)),
            State::PoweringOff => None,
        }
    }
}

/// Without its init the box has no processes and can get none: the VM ends, saying so. Unless the agent has ended it.
async fn watch_init(agent: Arc<Agent>, home: Weak<Home>, init: AsyncFd<OwnedFd>) {
    if init.readable().await.is_ok()
        && home.strong_count() > 0
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
