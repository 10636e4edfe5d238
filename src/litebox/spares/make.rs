//! Makes a spare: a clone with a directory and a disk of its own, in which everything that a first command needs has run
//! once. Software emulation translates code when it first runs: what has run is there at once the next time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use boxlite_proto::agent::Empty;
use boxlite_proto::agent_ttrpc::AgentClient;
use boxlite_proto::shim::EngineKind;
use tokio::io::AsyncReadExt;

use super::kind::Kind;
use super::{Spare, clear};
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::executor;
use crate::layout::BoxLayout;
use crate::litebox::clones;
use crate::litebox::command::{BoxCommand, OutputMode};
use crate::litebox::core::Core;
use crate::litebox::directory::{self, NewDisk};
use crate::litebox::exec::{self, Wanted};
use crate::litebox::live::{LiveBox, Recipe};
use crate::litebox::outcome::Attempt;
use crate::litebox::plan::{Plan, boot_deadline};
use crate::litebox::spec::BoxImage;
use crate::model::id::{BoxID, BoxIDMint};
use crate::portal::{self, Portal};
use crate::vmm;
use crate::vmm::engine::Choice;
use crate::vmm::pieces::Piece;

/// How often the warm-up runs its command.
const WARM_UPS: usize = 3;
/// What all of them may take.
const WARM_UP_TIME: Duration = Duration::from_secs(20);
/// What the shim needs beyond the clone's own deadline.
const REPORT_TIME: Duration = Duration::from_secs(5);

pub(super) async fn make(core: &Arc<Core>, kind: Kind, image: BoxImage) -> BoxliteResult<Spare> {
    // The end of the runtime calls it off and waits for it.
    let _counted = core.count_start();
    core.check_open()?;
    let needed = kind.memory_bytes();
    let spec = kind.spec();
    check_memory(needed).await?;
    clones::prepare(core, &spec).await?;
    let engine = core.choose_engine(spec.options.engine, &core.finder.find(Piece::Shim)?).await?;
    let id = BoxIDMint::mint();
    let paths = core.layout.of_spare(&id);
    // Until the shim has the directory's own lock, this keeps others from clearing it away.
    let _lock = core.locks.acquire(id.as_str(), "make a spare").await?;
    let made = Maker { core, kind, id: &id, paths: &paths }.run(image, engine).await;
    if made.is_err() {
        clear(id, paths).await;
    }
    made
}

struct Maker<'a> {
    core: &'a Arc<Core>,
    kind: Kind,
    id: &'a BoxID,
    paths: &'a BoxLayout,
}

impl Maker<'_> {
    async fn run(self, image: BoxImage, engine: Choice) -> BoxliteResult<Spare> {
        let (core, id, paths) = (self.core, self.id, self.paths);
        let spec = self.kind.spec();
        let template = clones::template_for(core, &spec, &engine, Some(&image)).await;
        let course = match (engine.kind, template.course()) {
            (EngineKind::QemuTcg, Some(course)) => course,
            _ => return Err(BoxliteError::Engine(Detail::new("there is no template to make a spare from"))),
        };
        let (bases, size_gb, there) = (core.layout.bases(), spec.disk_size_gb(), paths.clone());
        let of_template = template.disk().map(Path::to_owned);
        executor::blocking(move || {
            directory::prepare_spare(&there, &NewDisk::of(of_template.as_deref(), size_gb, &bases))
        })
        .await?;
        let rehearses = core.spares.begin_one();
        let plan = Plan {
            core,
            id,
            hostname: id.to_string(),
            paths,
            spec: &spec,
            image: &image,
            engine: &engine,
            is_spare: true,
            rehearses,
        };
        let shim = core.spawn_shim(&core.finder.find(Piece::Shim)?, plan.shim_spec(course)?).await?;
        let answer = tokio::select! {
            answer = tokio::time::timeout(boot_deadline() + REPORT_TIME, shim.ready()) => answer,
            error = core.shutting_down() => return Err(error),
        };
        let started = answer
            .map_err(|_| BoxliteError::Timeout(Detail::new("a spare's shim did not report")))??
            .map_err(|failure| BoxliteError::Engine(Detail::new(failure.message).hint(failure.hint)))?;
        let live = Arc::new(LiveBox::started(
            id.clone(),
            started.process,
            None,
            Portal::new(&paths.agent_socket()),
            paths,
            Vec::new(),
            Recipe { spec, image: image.clone() },
        ));
        let spare = Spare {
            id: id.clone(),
            kind: self.kind,
            image,
            paths: paths.clone(),
            live,
            owner: started.owner,
            engine,
            tsc_khz: started.tsc_khz,
        };
        tokio::select! {
            warm = tokio::time::timeout(WARM_UP_TIME, ready(core, &spare.live, rehearses)) => match warm {
                Ok(Ok(())) => Ok(spare),
                Ok(Err(error)) => Err(error),
                Err(_) => Err(BoxliteError::Timeout(Detail::new("a spare's first command did not end"))),
            },
            error = core.shutting_down() => Err(error),
        }
    }
}

/// Warms it up, and has the disk of one that has rehearsed a swap hold what it has written: what is synced then is soon
/// unmounted.
async fn ready(core: &Arc<Core>, live: &Arc<LiveBox>, rehearsed: bool) -> BoxliteResult<()> {
    warm_up(core, live).await?;
    if !rehearsed {
        return Ok(());
    }
    let synced = live
        .portal()
        .call("sync", |agent: AgentClient| async move { agent.sync(portal::prompt(), &Empty::new()).await });
    synced.await.map(drop)
}

/// Runs a command as callers will: through the shell, where the image has one, to the last byte of its output.
async fn warm_up(core: &Arc<Core>, live: &Arc<LiveBox>) -> BoxliteResult<()> {
    for _ in 0..WARM_UPS {
        // By both ways there are: with one call, and with streams.
        let command = BoxCommand::new("/bin/sh").args(["-c", "echo warm; echo warm >&2"]).warm_up();
        let short = command.clone();
        let outcome = async { Attempt::begin(core, live.clone(), short, Duration::ZERO)?.outcome().await };
        match outcome.await {
            // An image without a shell: what did run has been translated.
            Ok(_) | Err(BoxliteError::Execution(_)) => {}
            Err(error) => return Err(error),
        }
        let command = command.stdout_mode(OutputMode::Pipe).stderr_mode(OutputMode::Pipe);
        let wanted = Wanted { stdin: true, stdout: true, stderr: true };
        match exec::begin_in(core, live.clone(), command, wanted).await {
            Ok((command, mut streams)) => {
                drop(streams.stdin.take());
                for stream in [streams.stdout.take(), streams.stderr.take()].into_iter().flatten() {
                    drain(stream).await?;
                }
                command.execution().exit().await?;
                command.release();
            }
            Err(BoxliteError::Execution(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn drain(mut stream: tokio::net::UnixStream) -> BoxliteResult<()> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.map(drop).map_err(|error| {
        BoxliteError::Portal(Detail::new(format!("a spare's output can't be read: {error}")))
    })
}

/// A spare must not take memory that the host's programs need: twice its own has to be free.
async fn check_memory(needed: u64) -> BoxliteResult<()> {
    let available = executor::blocking(|| Ok(vmm::available_memory())).await?;
    match available {
        Some(available) if available < needed * 2 => Err(BoxliteError::ResourceExhausted(
            Detail::new(format!(
                "the host has {} MiB of memory left, too little for a spare of {} MiB",
                available >> 20,
                needed >> 20
            ))
            .hint("boxes start without spares, too; set the number of spares to 0 to have none"),
        )),
        _ => Ok(()),
    }
}
