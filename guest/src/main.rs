//! `boxlite-guest`: the agent inside a box, PID 1 of its virtual machine.
//!
//! Owns the start: stage by stage to a served channel. It has one thread for good: threads and the box's PID
//! namespace exclude each other, and a fork of a process with one thread needs no care for locks.

mod agent;
mod boot;
mod cgroup;
mod channel;
mod configure;
mod console;
mod copy;
mod error;
mod exec;
mod init;
mod power;
mod rootfs;
mod service;
mod streams;
mod sys;
mod test_hooks;

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::agent::{Agent, Router};
use crate::channel::Link;
use crate::channel::session::Dispatch;
use crate::configure::Boot;
use crate::console::Stage;
use crate::error::{AgentError, Context};

fn main() -> ExitCode {
    if std::env::args_os().next().is_some_and(|name| name == boxlite_proto::copy::PROGRAM) {
        return copy::main();
    }
    if std::process::id() != 1 {
        eprintln!(
            "boxlite-guest {} is the first process of a box's virtual machine and does nothing elsewhere",
            boxlite_proto::BUILD_ID
        );
        return ExitCode::from(2);
    }
    match run() {
        Err(error) => console::fatal(&error),
    }
}

fn run() -> Result<Infallible, AgentError> {
    let start = Instant::now();
    let kernel =
        nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
    console::install().step(|| "install the crash handlers".into())?;
    boot::prepare()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .step(|| "start the event loop".into())?;
    runtime.block_on(serve(Boot { kernel, agent: start.elapsed(), channel: Duration::ZERO }))
}

async fn serve(boot: Boot) -> Result<Infallible, AgentError> {
    let start = Instant::now();
    console::enter(Stage::Channel);
    let agent = Arc::new(Agent::new(boot));
    let (calls, streams) = tokio::sync::mpsc::unbounded_channel();
    let _server = service::serve(Arc::clone(&agent), streams).await?;
    let router: Arc<dyn Dispatch> = Arc::new(Router { agent: Arc::clone(&agent), calls });
    let link = Link::find().await?;
    agent.connected(start.elapsed());
    loop {
        if link.is_alone() {
            // The machine is being made into a template: what is frozen now is what all its clones begin with.
            let clocksource = configure::settled_clocksource().await;
            console::say(&format!("{} {clocksource}", boxlite_proto::WAITING));
        }
        link.visit(&router).await?;
    }
}
