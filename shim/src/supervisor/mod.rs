//! The process that is a box on the host, from the library's request to the exit record.
//!
//! Owns the order of things: launch, start, life, end. Each of them lives in a file of its own.

mod agent;
mod channel;
mod children;
mod claim;
mod disk_lock;
mod exit;
pub(crate) mod failure;
mod freeze;
mod launch;
mod life;
mod limits;
mod log;
mod machine;
mod oom;
mod owner;
mod pidfile;
mod program;
mod relay;
mod signals;
mod sock;
mod sparse;
mod start;
mod tail;
mod transfer_disk;

use std::process::ExitCode;
use std::time::Instant;

use boxlite_proto::shim::{Course, ExitRecord, Progress, Report, ShimSpec, files};

use failure::StartError;
use launch::Side;
use life::Standing;
use log::log;
use machine::stage;
use owner::Owner;
use signals::Signals;

use crate::sys;

/// Clients' buffers are this large. A box lives long, and hundreds of clients may come at once and never again.
const BUFFERS: i32 = relay::CHUNK as i32;

/// Runs the box `box_id` as the library on descriptor 0 asks. Returns in both the intermediate process and the box.
pub(crate) fn run(box_id: &str, began: Instant) -> ExitCode {
    sys::give_back_buffers_from(BUFFERS);
    let (owner, request) = match launch::receive(box_id) {
        Ok(received) => received,
        Err(error) => {
            eprintln!("boxlite-shim: {error}");
            return ExitCode::from(2);
        }
    };
    let refuse = |owner: &Owner, error: StartError| {
        owner.report(&Report::Failed(error.into_report(stage::PREPARE, String::new())));
        ExitCode::FAILURE
    };
    let spec = match request {
        Ok(spec) => spec,
        Err(error) => return refuse(&owner, error),
    };
    match launch::detach() {
        Ok(Side::Intermediate) => return ExitCode::SUCCESS,
        Ok(Side::Daemon) => {}
        Err(error) => return refuse(&owner, error),
    }
    let _lock = match launch::settle(&spec, began) {
        Ok(lock) => lock,
        Err(error) => return refuse(&owner, error),
    };
    owner.report(&Report::Started { pid: std::process::id() });
    match spec.course {
        Course::Boot | Course::Clone { .. } => be_the_box(&spec, owner, began),
        Course::Freeze { progress } => make_a_template(&spec, progress, owner, began),
    }
}

/// What both courses need before they begin: an event loop, and eyes on signals and owner.
fn open_eyes(owner: &mut Owner) -> Result<(tokio::runtime::Runtime, Signals), StartError> {
    let plumbing = |what| move |source| StartError::Plumbing { what, source };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(plumbing("the shim's event loop"))?;
    let signals = {
        let _inside = runtime.enter();
        Signals::new().map_err(plumbing("signal handling"))?
    };
    owner.watch_program().map_err(plumbing("the watch over the owner"))?;
    Ok((runtime, signals))
}

/// There is no box, so there is no exit record: the report is all.
fn make_a_template(spec: &ShimSpec, progress: Progress, mut owner: Owner, began: Instant) -> ExitCode {
    let outcome = match open_eyes(&mut owner) {
        Ok((runtime, mut signals)) => {
            runtime.block_on(freeze::freeze(spec, progress, &owner, &mut signals, began))
        }
        Err(error) => Err((error, stage::PREPARE, String::new())),
    };
    children::end_all();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err((error, stage, console)) => {
            let failure = error.into_report(stage, console);
            log!("no template, stage {stage}: {}", failure.message);
            owner.report(&Report::Failed(failure));
            ExitCode::FAILURE
        }
    }
}

/// Everything that happens while the box has its lock and its pid file.
fn be_the_box(spec: &ShimSpec, mut owner: Owner, began: Instant) -> ExitCode {
    let (runtime, mut signals) = match open_eyes(&mut owner) {
        Ok(opened) => opened,
        Err(error) => return start_failed(&owner, error, stage::PREPARE, String::new()),
    };
    let outcome = runtime.block_on(async {
        let started = start::start(spec, &owner, &mut signals, began).await?;
        if spec.detach {
            owner.let_go();
        }
        let mut standing = Standing::of(spec);
        let record = life::live(started, spec, &mut standing, &mut owner, &mut signals).await;
        Ok((record, standing))
    });
    // Whatever still runs on the runtime holds descriptors of the machine; after this nothing does.
    drop(runtime);
    children::end_all();
    for name in [files::AGENT_SOCKET, files::TRANSFER] {
        unlink(name);
    }
    match outcome {
        Ok((record, standing)) => {
            end(&record);
            if standing == Standing::Spare {
                clear_away(spec);
            }
            ExitCode::SUCCESS
        }
        Err((error, stage, console)) => {
            let code = start_failed(&owner, error, stage, console);
            if spec.spare {
                clear_away(spec);
            }
            code
        }
    }
}

/// Deletes a file that is of use only while the machine runs.
fn unlink(name: &str) {
    if let Err(error) = std::fs::remove_file(name)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        log!("cannot delete {name}: {error}");
    }
}

/// Nobody ever had this box: nothing of it is worth keeping.
fn clear_away(spec: &ShimSpec) {
    if let Err(error) = std::fs::remove_dir_all(&spec.box_dir) {
        log!("cannot delete {}: {error}", spec.box_dir.display());
    }
}

fn start_failed(owner: &Owner, error: StartError, stage: &str, console: String) -> ExitCode {
    let failure = error.into_report(stage, console);
    log!("the start failed at stage {stage}: {}", failure.message);
    end(&exit::start_failed(&failure));
    owner.report(&Report::Failed(failure));
    ExitCode::FAILURE
}

/// The record is there before the pid file goes: who sees the one gone can rely on the other.
fn end(record: &ExitRecord) {
    log!("the box has ended: {:?}, {}", record.kind, record.message);
    if let Err(error) = exit::write(record) {
        log!("cannot write the exit record: {error}");
    }
    if let Err(error) = pidfile::remove() {
        log!("cannot delete the pid file: {error}");
    }
}
