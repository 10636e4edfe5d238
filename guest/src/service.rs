//! The calls, as the wire has them.
//!
//! Owns turning messages into actions and results into messages. No action is done here.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use boxlite_proto::agent::{
    ClaimRequest, ClaimResponse, CloseStdinRequest, ConfigureRequest, ConfigureResponse, Empty, ExecRequest,
    ExecResponse, ExecutionsResponse, InfoResponse, KillRequest, PowerOffRequest, ResizeTtyRequest,
    SignalRequest, StreamStateRequest, StreamStateResponse, WaitRequest, WaitResponse,
};
use boxlite_proto::agent_ttrpc;
use boxlite_proto::event::ByeReason;
use boxlite_proto::stream::Which;
use tokio::sync::mpsc::UnboundedReceiver;
use ttrpc::r#async::{Server, TtrpcContext};
use ttrpc::asynchronous::transport::Listener;

use crate::agent::{Agent, CallStream};
use crate::error::{AgentError, Context};
use crate::exec::execution::on_wire;
use crate::sys::tty::WindowSize;
use crate::test_hooks::TestHooks;
use crate::{configure, power};

/// The calls on an agent.
struct Calls(Arc<Agent>, TestHooks);

/// Serves calls on every stream that comes.
pub(crate) async fn serve(
    agent: Arc<Agent>,
    mut streams: UnboundedReceiver<CallStream>,
) -> Result<Server, AgentError> {
    let hooks = TestHooks::default();
    let incoming = futures::stream::poll_fn(move |cx| {
        streams.poll_recv(cx).map(|stream| stream.map(std::io::Result::Ok))
    });
    let mut server = Server::new()
        .add_listener(Listener::new(incoming))
        .register_service(agent_ttrpc::create_agent(Arc::new(Calls(agent, hooks.clone()))))
        .register_service(agent_ttrpc::create_test(Arc::new(hooks)));
    server.start().await.map_err(|error| AgentError::Internal { what: format!("serve calls: {error}") })?;
    Ok(server)
}

#[async_trait]
impl agent_ttrpc::Agent for Calls {
    async fn configure(
        &self,
        _: &TtrpcContext,
        request: ConfigureRequest,
    ) -> ttrpc::Result<ConfigureResponse> {
        let response = self.0.configure(|boot| configure::run(&request, boot))?;
        self.1.set(request.test_hooks);
        Ok(response)
    }

    async fn claim(&self, _: &TtrpcContext, request: ClaimRequest) -> ttrpc::Result<ClaimResponse> {
        let response = self.0.claim(&request)?;
        if request.test_hooks {
            self.1.set(true);
        }
        Ok(response)
    }

    async fn vacate(&self, _: &TtrpcContext, _: Empty) -> ttrpc::Result<Empty> {
        self.0.vacate()?;
        Ok(Empty::new())
    }

    async fn renew(&self, _: &TtrpcContext, _: Empty) -> ttrpc::Result<Empty> {
        self.0.renew()?;
        Ok(Empty::new())
    }

    async fn exec(&self, _: &TtrpcContext, request: ExecRequest) -> ttrpc::Result<ExecResponse> {
        let home = self.0.home("Exec")?;
        let inline = (request.inline_bytes > 0).then(|| Duration::from_millis(request.drain_ms));
        // Known from now on, so that a call that follows on the same stream finds it.
        let pending = self.0.executions.add(request)?;
        let execution = pending.execution();
        let table = Arc::clone(&self.0.executions);
        let outcome = if pending.awaits_nothing() {
            let started = table.start(&home, pending).await;
            // Who ends the box waits for those that have it.
            drop(home);
            started
        } else {
            // A task of its own: a caller that goes away mid-way must not leave half an execution.
            let start = tokio::spawn(async move { table.start(&home, pending).await });
            start.await.map_err(|error| AgentError::Internal { what: format!("start a process: {error}") })?
        };
        let mut response = ExecResponse::new();
        match outcome {
            Ok(pid) => {
                response.pid = pid;
                if let Some(drain) = inline {
                    response.outcome = execution.outcome(drain).await.into();
                }
            }
            Err(failure) => response.failure = Some(failure).into(),
        }
        Ok(response)
    }

    async fn wait(&self, _: &TtrpcContext, request: WaitRequest) -> ttrpc::Result<WaitResponse> {
        Ok(self.0.executions.expect(&request.id).await?.over().await)
    }

    async fn signal(&self, _: &TtrpcContext, request: SignalRequest) -> ttrpc::Result<Empty> {
        self.0.executions.get(&request.id)?.signal(request.signal)?;
        Ok(Empty::new())
    }

    async fn kill(&self, _: &TtrpcContext, request: KillRequest) -> ttrpc::Result<Empty> {
        let execution = match request.expected {
            true => self.0.executions.expect(&request.id).await?,
            false => self.0.executions.get(&request.id)?,
        };
        execution.kill()?;
        Ok(Empty::new())
    }

    async fn resize_tty(&self, _: &TtrpcContext, request: ResizeTtyRequest) -> ttrpc::Result<Empty> {
        let size = WindowSize::from_wire(request.rows, request.cols);
        self.0.executions.get(&request.id)?.resize(size)?;
        Ok(Empty::new())
    }

    async fn close_stdin(&self, _: &TtrpcContext, request: CloseStdinRequest) -> ttrpc::Result<Empty> {
        self.0.executions.get(&request.id)?.close_stdin(request.total_bytes);
        Ok(Empty::new())
    }

    async fn stream_state(
        &self,
        _: &TtrpcContext,
        request: StreamStateRequest,
    ) -> ttrpc::Result<StreamStateResponse> {
        let execution = self.0.executions.get(&request.id)?;
        let which = u8::try_from(request.which).ok().and_then(Which::from_wire);
        let count = which.and_then(|which| execution.count_of(which, request.taker)).ok_or_else(|| {
            AgentError::Invalid {
                what: format!(
                    "execution '{}' has no output stream {}: 1 is stdout, 2 stderr",
                    request.id, request.which
                ),
            }
        })?;
        let mut response = StreamStateResponse::new();
        response.taken = count.taken;
        response.taken_over = count.taken_over;
        response.count = Some(on_wire(count)).into();
        Ok(response)
    }

    async fn executions(&self, _: &TtrpcContext, _: Empty) -> ttrpc::Result<ExecutionsResponse> {
        let mut response = ExecutionsResponse::new();
        let all = self.0.executions.all();
        let commands = all.iter().filter(|execution| !execution.own_program);
        response.executions = commands.map(|execution| execution.info()).collect();
        Ok(response)
    }

    async fn power_off(&self, _: &TtrpcContext, request: PowerOffRequest) -> ttrpc::Result<Empty> {
        if let Some(home) = self.0.retire() {
            let agent = Arc::clone(&self.0);
            let grace = Duration::from_millis(request.grace_ms);
            let reason = if request.discard { ByeReason::Discard } else { ByeReason::PowerOff };
            tokio::spawn(async move { power::end(&agent, home, grace, reason).await });
        }
        Ok(Empty::new())
    }

    async fn sync(&self, _: &TtrpcContext, _: Empty) -> ttrpc::Result<Empty> {
        self.0.home("Sync")?;
        power::flush().await.step(|| "flush the box's disk".into())?;
        Ok(Empty::new())
    }

    async fn info(&self, _: &TtrpcContext, _: Empty) -> ttrpc::Result<InfoResponse> {
        let mut response = InfoResponse::new();
        response.version = env!("CARGO_PKG_VERSION").to_owned();
        response.build_id = boxlite_proto::BUILD_ID.to_owned();
        response.clocksource = configure::clocksource();
        if let Ok(home) = self.0.home("Info") {
            response.processes = u32::try_from(home.cgroup.processes()).unwrap_or(u32::MAX);
        }
        let system = crate::sys::usage();
        response.uptime_ms = system.uptime_ms;
        response.memory_total_bytes = system.memory_total;
        response.memory_used_bytes = system.memory_used;
        response.agent_descriptors = system.descriptors;
        response.agent_memory_bytes = system.resident;
        Ok(response)
    }
}
