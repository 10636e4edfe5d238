//! Templates and the boxes cloned from them, in real virtual machines: what a clone shares, what it does not, and what
//! happens when a template is damaged, lost, or in the making.

#[path = "../support/processes.rs"]
mod processes;
#[path = "../support/small_box.rs"]
mod small_box;
#[path = "../support/small_disk.rs"]
mod small_disk;
#[path = "../support/waiting.rs"]
mod waiting;

mod clones;
mod faults;
mod making;
mod programs;
mod set_up;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use boxlite::{BoxCommand, BoxOptions, BoxliteRuntime, LiteBox};
use boxlite_test_utils::home::PerTestBoxHome;
use futures::StreamExt;
use small_box::small_box;

/// A home with images in common with other tests and templates of its own.
fn home() -> PerTestBoxHome {
    PerTestBoxHome::with_own_templates()
}

fn open(home: &PerTestBoxHome) -> BoxliteRuntime {
    open_with(home, 1 << 30)
}

fn open_with(home: &PerTestBoxHome, template_space: u64) -> BoxliteRuntime {
    BoxliteRuntime::builder().home_dir(home.path.clone()).template_space(template_space).build().unwrap()
}

fn options() -> BoxOptions {
    small_box()
}

async fn started(runtime: &BoxliteRuntime) -> LiteBox {
    let sandbox = runtime.create(options(), None).await.unwrap();
    sandbox.start().await.unwrap();
    sandbox
}

/// What a script that succeeds writes to stdout.
async fn output(sandbox: &LiteBox, script: &str) -> String {
    let mut execution = sandbox.exec(BoxCommand::new("sh").args(["-c", script])).await.unwrap();
    let said: Vec<String> = execution.stdout().unwrap().collect().await;
    assert_eq!(execution.wait().await.unwrap().exit_code, 0, "{script}: {said:?}");
    said.concat()
}

fn is_clone(sandbox: &LiteBox) -> bool {
    let stages = sandbox.info().start_stages;
    let has = |name: &str| stages.iter().any(|stage| stage.name == name);
    assert!(has("restore") != has("agent/kernel"), "one or the other: {stages:?}");
    has("restore")
}

/// Until a template is made in the background.
const MADE: Duration = Duration::from_secs(300);

/// The directories of whole templates, and names of all else that makers may leave.
fn templates(home: &PerTestBoxHome) -> (Vec<PathBuf>, Vec<String>) {
    let (mut whole, mut rest) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(home.path.join("templates")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        match name.as_str() {
            "locks" | "digests" => {}
            name if name.starts_with('.') => rest.push(name.to_owned()),
            _ => whole.push(entry.path()),
        }
    }
    rest.extend(
        fs::read_dir(home.path.join("templates/locks"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| format!("locks/{}", entry.file_name().to_string_lossy())),
    );
    (whole, rest)
}

/// Those of any image; one in which a box is set up is made in the background, some time after a clone's start.
fn bare_templates(home: &PerTestBoxHome) -> Vec<PathBuf> {
    templates(home).0.into_iter().filter(|template| !template.join("box.qcow2").exists()).collect()
}
