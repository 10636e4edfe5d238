//! A child that embeds the library: does the steps of a program and says what has come of each.
//!
//! It holds no opinion: what the outcomes mean is the ledger's business.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use boxlite::litebox::OutputMode;
use boxlite::{BoxCommand, BoxOptions, BoxliteError, BoxliteResult, BoxliteRuntime, LiteBox, RootfsSpec};

use crate::files::FileLimit;
use crate::plan::{Act, Ending, Program, Target};
use crate::report::{Event, Failure, Outcome, say};
use crate::rng::content;

/// Steps that are still done when the round is over.
const LAST_STEPS: usize = 2;

struct Worker {
    home: PathBuf,
    image: String,
    runtimes: Vec<Option<BoxliteRuntime>>,
    limit: FileLimit,
}

/// A runtime on the home.
pub(crate) fn open(home: &std::path::Path) -> BoxliteResult<BoxliteRuntime> {
    BoxliteRuntime::builder().home_dir(home).spares(1).build()
}

/// Options of every box here.
pub(crate) fn options(image: &str, detach: bool, auto_remove: bool) -> BoxOptions {
    BoxOptions {
        rootfs: RootfsSpec::Image(image.to_owned()),
        memory_mib: Some(96),
        disk_size_gb: Some(1),
        detach,
        auto_remove,
        ..BoxOptions::default()
    }
}

/// Runs `program`; `over` tells that the round is.
pub(crate) async fn work(home: PathBuf, image: String, program: Program, over: Arc<AtomicBool>) {
    let mut worker = Worker { home, image, runtimes: Vec::new(), limit: FileLimit::default() };
    for _ in 0..program.runtimes {
        let opened = worker.open();
        worker.runtimes.push(opened);
    }
    let mut last = LAST_STEPS;
    for (step, planned) in program.steps.iter().enumerate() {
        if over.load(Ordering::Relaxed) {
            if last == 0 {
                break;
            }
            last -= 1;
        }
        say(&Event::Begin { step });
        let few_files = worker.limit.is_low();
        let outcome = match worker.act(step, planned.runtime, &planned.act).await {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Failed(Failure::from(&error)),
        };
        say(&Event::Done { step, few_files, outcome });
    }
    worker.limit.raise();
    if program.ending == Ending::Shutdown {
        for runtime in worker.runtimes.iter().flatten() {
            if let Err(error) = runtime.shutdown(None).await {
                say(&Event::Violated(format!("a shutdown failed: {error}")));
            }
        }
    }
    say(&Event::Finished);
    if program.ending == Ending::Exit {
        std::process::exit(0);
    }
}

fn done(sandbox: &LiteBox) -> Outcome {
    Outcome::Ok { id: Some(sandbox.id().to_string()), pid: sandbox.info().pid }
}

impl Worker {
    fn open(&self) -> Option<BoxliteRuntime> {
        say(&Event::Opening);
        match open(&self.home) {
            Ok(runtime) => {
                say(&Event::Opened);
                Some(runtime)
            }
            Err(error) => {
                say(&Event::NotOpened(Failure::from(&error)));
                None
            }
        }
    }

    async fn act(&mut self, step: usize, index: usize, act: &Act) -> BoxliteResult<Outcome> {
        match act {
            Act::FewFiles(more) => {
                self.limit.lower(*more);
                return Ok(Outcome::Ok { id: None, pid: None });
            }
            Act::ManyFiles => {
                self.limit.raise();
                return Ok(Outcome::Ok { id: None, pid: None });
            }
            Act::Reopen => {
                self.runtimes[index] = None;
                self.runtimes[index] = self.open();
                return Ok(Outcome::Ok { id: None, pid: None });
            }
            _ => {}
        }
        let Some(runtime) = &self.runtimes[index] else { return Ok(Outcome::NoBox) };
        let acting = |sandbox: &LiteBox| {
            let name = sandbox.name().unwrap_or_default().to_owned();
            say(&Event::Acting { step, id: sandbox.id().to_string(), name });
        };
        match act {
            Act::Create { name, detach, auto_remove } => {
                let options = options(&self.image, *detach, *auto_remove);
                runtime.create(options, Some(name.clone())).await.map(|sandbox| done(&sandbox))
            }
            Act::Start(target) => {
                let Some(sandbox) = find(runtime, target).await? else { return Ok(Outcome::NoBox) };
                acting(&sandbox);
                sandbox.start().await.map(|()| done(&sandbox))
            }
            Act::Write { target, file, size, synced } => {
                let Some(sandbox) = find(runtime, target).await? else { return Ok(Outcome::NoBox) };
                acting(&sandbox);
                write(&sandbox, *file, *size, *synced).await
            }
            Act::Stop(target) => {
                let Some(sandbox) = find(runtime, target).await? else { return Ok(Outcome::NoBox) };
                acting(&sandbox);
                sandbox.stop().await.map(|()| Outcome::Ok { id: Some(sandbox.id().to_string()), pid: None })
            }
            Act::Remove { target, force } => {
                let Some(sandbox) = find(runtime, target).await? else { return Ok(Outcome::NoBox) };
                acting(&sandbox);
                let id = sandbox.id().to_string();
                runtime.remove(&id, *force).await.map(|()| Outcome::Ok { id: Some(id), pid: None })
            }
            Act::List => runtime.list_info().await.map(|_| Outcome::Ok { id: None, pid: None }),
            Act::Get(target) => {
                Ok(find(runtime, target).await?.map_or(Outcome::NoBox, |sandbox| done(&sandbox)))
            }
            Act::Pull => {
                runtime.images()?.pull(&self.image).await.map(|_| Outcome::Ok { id: None, pid: None })
            }
            Act::Prepare => {
                let options = options(&self.image, false, false);
                runtime.prepare(&options).await.map(|()| Outcome::Ok { id: None, pid: None })
            }
            Act::Reopen | Act::FewFiles(_) | Act::ManyFiles => Ok(Outcome::NoBox),
        }
    }
}

async fn find(runtime: &BoxliteRuntime, target: &Target) -> BoxliteResult<Option<LiteBox>> {
    match target {
        Target::Named(name) => runtime.get(name).await,
        Target::Listed(place) => {
            let boxes = runtime.list_info().await?;
            match boxes.len() {
                0 => Ok(None),
                count => runtime.get(boxes[place % count].id.as_str()).await,
            }
        }
    }
}

/// Writes the file's content through a command's stdin. Success means that all of it has arrived, and, when `synced`,
/// that fsync(2) has returned.
async fn write(sandbox: &LiteBox, file: u64, size: u32, synced: bool) -> BoxliteResult<Outcome> {
    let sync = if synced { "conv=fsync" } else { "" };
    let script = format!(
        "mkdir -p /w && dd of=/w/{file} bs=65536 {sync} 2>/dev/null && [ \"$(wc -c < /w/{file})\" = {size} ]"
    );
    let command = BoxCommand::new("sh")
        .args(["-c", &script])
        .stdout_mode(OutputMode::Null)
        .stderr_mode(OutputMode::Null);
    let mut execution = sandbox.exec(command).await?;
    let lost = || BoxliteError::Internal("an execution came without its stdin".into());
    let mut stdin = execution.stdin().ok_or_else(lost)?;
    // A command that ends early leaves its input unread: its exit code is what counts.
    let _ = stdin.write_all(&content(file, size)).await;
    stdin.close();
    drop(stdin);
    match execution.wait().await?.exit_code {
        0 => Ok(done(sandbox)),
        code => Ok(Outcome::BadExit(code)),
    }
}
