//! Spares and the boxes that are claimed from them, in real virtual machines: a claimed box is like any other, and a spare
//! that nobody claims leaves nothing.

#[path = "../support/again.rs"]
mod again;
#[path = "../support/processes.rs"]
mod processes;
#[path = "../support/small_box.rs"]
mod small_box;
#[path = "../support/waiting.rs"]
mod waiting;

mod claiming;
mod leaving;
mod limits;
mod swapping;

use std::fs;
use std::path::Path;
use std::time::Duration;

use boxlite::{BoxCommand, BoxliteRuntime, LiteBox};
use boxlite_test_utils::home::PerTestBoxHome;
use futures::StreamExt;
use small_box::small_box;
use waiting::{PATIENCE, within};

/// Until there is a spare: the first rest, a clone, the warm-up; where there is no template yet, its making, too.
const SOON: Duration = Duration::from_secs(300);

fn open(home: &Path, spares: u32) -> BoxliteRuntime {
    BoxliteRuntime::builder().home_dir(home).spares(spares).build().unwrap()
}

/// A runtime that has started a box, removed it, and has a spare like it now.
async fn with_spare(home: &PerTestBoxHome) -> BoxliteRuntime {
    let runtime = open(&home.path, 1);
    let first = runtime.create(small_box(), None).await.unwrap();
    first.start().await.unwrap();
    ready(&runtime).await;
    let commands = runtime.metrics().await.unwrap().total_commands_executed();
    assert_eq!(commands, 0, "nobody has asked for those that warm a spare up");
    runtime.remove(first.id().as_str(), true).await.unwrap();
    runtime
}

async fn ready(runtime: &BoxliteRuntime) {
    within(SOON, "a spare is ready", || runtime.start_counts().spares_ready == 1).await;
}

fn was_claimed(sandbox: &LiteBox) -> bool {
    sandbox.info().start_stages.iter().any(|stage| stage.name.starts_with("claim/"))
}

fn spares(home: &PerTestBoxHome) -> Vec<String> {
    let entries = fs::read_dir(home.path.join("spares")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// What a script that succeeds writes to stdout.
async fn output(sandbox: &LiteBox, script: &str) -> String {
    let mut execution = sandbox.exec(BoxCommand::new("sh").args(["-c", script])).await.unwrap();
    let said: Vec<String> = execution.stdout().unwrap().collect().await;
    assert_eq!(execution.wait().await.unwrap().exit_code, 0, "{script}: {said:?}");
    said.concat()
}
