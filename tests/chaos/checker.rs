//! A child that looks at a home as its next user would: everything settled, every promised file there, ready for use.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;
use std::time::{Duration, Instant};

use boxlite::litebox::OutputMode;
use boxlite::runtime::types::BoxInfo;
use boxlite::{BoxCommand, BoxStatus, BoxliteError, BoxliteResult, BoxliteRuntime, LiteBox};
use futures::TryStreamExt;
use sha2::{Digest, Sha256};

use crate::processes::{self, Part};
use crate::report::{Event, Examination, Failure, Listed, say};
use crate::rng::content;
use crate::worker::{open, options};

/// How long boxes have to be settled: ten seconds, and some more where the machine has no time for it.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

pub(crate) async fn examine(order: Examination, go: &mut impl BufRead) {
    say(&Event::Opening);
    let runtime = match open(&order.home) {
        Ok(runtime) => runtime,
        Err(error) => return say(&Event::NotOpened(Failure::from(&error))),
    };
    say(&Event::Opened);
    if let Err(error) = look(&runtime, &order, go).await {
        say(&Event::Violated(format!("the home can't be examined: {error}")));
    }
    drop(runtime);
    say(&Event::Finished);
}

async fn look(runtime: &BoxliteRuntime, order: &Examination, go: &mut impl BufRead) -> BoxliteResult<()> {
    let began = Instant::now();
    let boxes = loop {
        let boxes = runtime.list_info().await?;
        if boxes.iter().all(is_settled) || began.elapsed() > SETTLED_WITHIN {
            break boxes;
        }
        tokio::time::sleep(POLL).await;
    };
    let settled_ms = began.elapsed().as_millis() as u64;
    say(&Event::Listed { boxes: boxes.iter().map(listed).collect(), settled_ms });
    // The driver looks at the process table meanwhile.
    let mut line = String::new();
    let _ = go.read_line(&mut line);

    let none = BTreeMap::new();
    let checks = boxes.iter().filter_map(|info| {
        let files = order.files.get(info.id.as_str()).unwrap_or(&none);
        let asked = !files.is_empty() || info.status == BoxStatus::Running;
        asked.then(|| check_files(runtime, info, files, order.small_disk))
    });
    let (_, used) = futures::future::join(futures::future::join_all(checks), use_home(runtime, order)).await;
    if let Err(error) = used {
        say(&Event::Violated(format!("the home can't be used: {error}")));
    }
    for info in boxes.iter().skip(order.keep) {
        match runtime.remove(info.id.as_str(), true).await {
            Ok(()) => say(&Event::Removed { id: info.id.to_string() }),
            Err(error) => say(&Event::Violated(format!("box {} can't be removed: {error}", info.id))),
        }
    }
    Ok(())
}

/// A box whose machine has just ended runs until its shim has written that down.
fn is_settled(info: &BoxInfo) -> bool {
    match info.status {
        BoxStatus::Running => {
            let found = processes::naming(&BTreeSet::from([info.id.to_string()]));
            found.iter().map(|process| process.part).eq([Part::Shim, Part::Engine])
        }
        BoxStatus::Configured | BoxStatus::Stopped | BoxStatus::Failed => true,
        _ => false,
    }
}

fn listed(info: &BoxInfo) -> Listed {
    Listed {
        id: info.id.to_string(),
        name: info.name.clone().unwrap_or_default(),
        status: info.status.as_str().to_owned(),
        pid: info.pid,
        failure: info.failure.clone(),
    }
}

/// Asks the box for the digests of its files, starting it where needed.
async fn check_files(runtime: &BoxliteRuntime, info: &BoxInfo, files: &BTreeMap<u64, u32>, small_disk: bool) {
    if let Err(error) = try_check_files(runtime, info, files, small_disk).await {
        say(&Event::Violated(format!("box {} ({}) can't be used: {error}", info.id, info.status.as_str())));
    }
}

async fn try_check_files(
    runtime: &BoxliteRuntime,
    info: &BoxInfo,
    files: &BTreeMap<u64, u32>,
    small_disk: bool,
) -> BoxliteResult<()> {
    let Some(sandbox) = runtime.get(info.id.as_str()).await? else {
        say(&Event::Violated(format!("box {} has gone while nobody did anything", info.id)));
        return Ok(());
    };
    let digests = "{ cd /w && sha256sum *; : >/usable && echo usable; } 2>/dev/null; true";
    let mut found = output(&sandbox, digests).await?;
    // A full disk refused what the box wrote, and its kernel gave the file system up: until the next start it can't be
    // used. What had been synced before is there then.
    if small_disk && info.status == BoxStatus::Running && !found.ends_with("usable\n") {
        say(&Event::GaveUpDisk { id: info.id.to_string() });
        sandbox.stop().await?;
        let Some(started_anew) = runtime.get(info.id.as_str()).await? else {
            return Err(BoxliteError::NotFound("the box has gone with its stop".into()));
        };
        found = output(&started_anew, digests).await?;
    }
    for (file, size) in files {
        let digest = hex(&Sha256::digest(content(*file, *size)));
        let line = found.lines().find(|line| line.ends_with(&format!("  {file}")));
        if !line.is_some_and(|line| line.starts_with(&digest)) {
            say(&Event::Violated(format!(
                "box {}: file {file} of {size} bytes was acknowledged as synced, and is {}",
                info.id,
                line.map_or("missing".to_owned(), |line| format!("another: {line}, not {digest}")),
            )));
        }
    }
    if info.status != BoxStatus::Running {
        sandbox.stop().await?;
    }
    Ok(())
}

/// Creates, uses and removes a box.
async fn use_home(runtime: &BoxliteRuntime, order: &Examination) -> BoxliteResult<()> {
    let options = options(&order.image, false, false);
    let sandbox = runtime.create(options, Some(order.fresh_name.clone())).await?;
    let said = output(&sandbox, "echo usable").await?;
    if said != "usable\n" {
        say(&Event::Violated(format!("a new box says {said:?}")));
    }
    runtime.remove(&order.fresh_name, true).await
}

async fn output(sandbox: &LiteBox, script: &str) -> BoxliteResult<String> {
    let command = BoxCommand::new("sh").args(["-c", script]).stdout_mode(OutputMode::Pipe);
    let mut execution = sandbox.exec(command).await?;
    let mut text = Vec::new();
    if let Some(stdout) = execution.stdout() {
        text = stdout.bytes().try_collect::<Vec<_>>().await?.concat();
    }
    execution.wait().await?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
