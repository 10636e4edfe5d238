//! The making of a template: a machine that boots, has a box set up in it where that is wanted, is frozen, and ends.
//!
//! Leaves memory and state in the working directory, synced, or nothing of them; the disk of a box that is set up lies
//! there before. What becomes of the directory is the library's to decide.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use boxlite_proto::WAITING;
use boxlite_proto::shim::{Progress, Report, ShimSpec, files};
use nix::sys::statvfs::statvfs;
use tokio::io::Interest;
use tokio::time::{sleep, timeout};

use super::channel;
use super::failure::StartError;
use super::log::log;
use super::machine::{bring_up, stage};
use super::owner::Owner;
use super::signals::Signals;
use super::sparse;
use super::start::{Failed, Steps};
use super::tail::{Sink, Tail};
use crate::engine::process::Process;
use crate::engine::qemu::qmp::{self, Control};
use crate::engine::{self, AgentPipe, Boot, Machine, Verbosity};
use crate::{sys, tsc};

/// The only clock source with which a frozen guest's time goes right.
const CLOCKSOURCE: &str = "tsc";
/// A guest that is made into a template says one line. More is a guest that is in trouble.
const CONSOLE_ROOM: usize = 64 * 1024;
/// What QEMU has to end when it is told to.
const QUIT: Duration = Duration::from_secs(10);
/// Commands that are run in a box before it is frozen.
const WARM_UPS: u32 = 2;
/// Making a template must not take time from boxes.
const NICE: libc::c_int = 10;

/// Makes the template; on failure nothing of it is left.
pub(crate) async fn freeze(
    spec: &ShimSpec,
    progress: Progress,
    owner: &Owner,
    signals: &mut Signals,
    began: Instant,
) -> Result<(), Failed> {
    let step = Steps::new(owner, began);
    let engine = engine::of(spec.engine);
    let at_once = |error| (error, stage::PREPARE, String::new());
    engine.check(spec).map_err(at_once)?;
    sys::be_nice(NICE);
    let tsc_khz = if spec.tsc_khz == 0 { tsc::measure_khz() } else { spec.tsc_khz };
    let boot = Boot { verbosity: Verbosity::Quiet, tsc_khz };
    let machine = engine.launch(spec, boot).map_err(at_once)?;
    step.done(stage::ENGINE);
    let mut console = String::new();
    let made = tokio::select! {
        biased;
        made = make(machine, spec, progress, &mut console, &step) => made,
        gone = owner.gone() => Err(match gone {
            Ok(()) => StartError::OwnerGone,
            Err(source) => StartError::Plumbing { what: "the watch over the owner", source },
        }),
        name = signals.next() => Err(StartError::Interrupted(name)),
        () = sleep(Duration::from_millis(spec.boot_deadline_ms)) => {
            Err(StartError::AgentSilent { after_ms: spec.boot_deadline_ms })
        }
    };
    match made {
        Ok(()) => {
            let stages = Vec::new();
            let (kernel, clocksource) = (String::new(), CLOCKSOURCE.to_owned());
            owner.report(&Report::Ready { stages, kernel, clocksource, tsc_khz });
            Ok(())
        }
        Err(error) => {
            // QEMU says nothing of that: it dies of a signal when it finds no room for a page.
            let error = if is_full() {
                let source = io::Error::from_raw_os_error(libc::ENOSPC);
                StartError::Plumbing { what: "the template's files", source }
            } else {
                error
            };
            for name in [files::RAM, files::STATE] {
                // Of a failure that came before there was one.
                let _ = fs::remove_file(name);
            }
            Err((error, step.reached(&console), console))
        }
    }
}

/// Whether the template's disk has no more room.
fn is_full() -> bool {
    const LEAST: u64 = 4 << 20;
    statvfs(".").is_ok_and(|space| space.blocks_available() * space.fragment_size() < LEAST)
}

/// Dropping the future kills the machine.
async fn make(
    machine: Machine,
    spec: &ShimSpec,
    progress: Progress,
    console: &mut String,
    step: &Steps<'_>,
) -> Result<(), StartError> {
    let Machine { mut process, agent, console: console_fd, messages, monitor, frozen: _ } = machine;
    let refused = |why: String| StartError::Freeze { why };
    let plumbing = |what| move |source| StartError::Plumbing { what, source };
    let _messages = Tail::start(messages, Sink::ShimLog).map_err(plumbing("the engine's messages"))?;
    // Whoever clones the machine finds its agent waiting for a host, for the first time or again.
    match progress {
        Progress::Booted => drop(agent),
        Progress::SetUp => set_up(agent, spec, step).await?,
    }
    let monitor = monitor.ok_or_else(|| refused("this engine has no monitor".into()))?;
    let monitor = qmp::connect(monitor).map_err(plumbing("the engine's monitor"))?;
    let mut control = Control::begin(monitor).await.map_err(|error| refused(error.to_string()))?;
    let clocksource =
        word_of_the_agent(console_fd, console).await.map_err(plumbing("the guest's console"))?;
    match clocksource {
        Some(source) if source == CLOCKSOURCE => {}
        Some(source) => return Err(refused(format!("the guest's clock source is {source:?}, not tsc"))),
        None => return Err(StartError::GuestDied),
    }
    step.done(stage::AGENT);
    write_state(&mut control, &mut process).await.map_err(refused)?;
    let seal = || -> io::Result<u64> {
        let ram = OpenOptions::new().read(true).write(true).open(files::RAM)?;
        let punched = sparse::punch_zeros(&ram)?;
        ram.sync_all()?;
        File::open(files::STATE)?.sync_all()?;
        Ok(punched)
    };
    let punched = seal().map_err(plumbing("the template's files"))?;
    log!("punched {punched} bytes of zeros out of the template's memory");
    step.done(stage::FREEZE);
    Ok(())
}

/// Sets the box up that its clones will have, and leaves its agent alone again.
async fn set_up(agent: AgentPipe, spec: &ShimSpec, step: &Steps<'_>) -> Result<(), StartError> {
    let (opener, channel) = channel::start(agent)
        .map_err(|source| StartError::Plumbing { what: "the channel to the agent", source })?;
    let up = bring_up(opener, spec, |name| step.done(name)).await?;
    for number in 0..WARM_UPS {
        up.calls.warm_up(number).await?;
    }
    up.calls.renew().await?;
    up.calls.sync().await?;
    step.done(stage::WARM_UP);
    drop(up);
    channel.abort();
    // What it ended with is of no interest, but its end of the pipe is closed now.
    let _ = channel.await;
    Ok(())
}

async fn write_state(control: &mut Control, process: &mut Process) -> Result<(), String> {
    let state = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(files::STATE)
        .map_err(|error| format!("{}: {error}", files::STATE))?;
    control.freeze(state.as_fd()).await.map_err(|error| error.to_string())?;
    control.quit().await.map_err(|error| error.to_string())?;
    match timeout(QUIT, process.ended()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("QEMU's end can't be watched: {error}")),
        Err(_) => Err("QEMU did not end when it was told to".into()),
    }
}

/// Waits until the agent says that it waits for its host: the clock source that it names. `None` when the console ends,
/// or is full, before it has.
async fn word_of_the_agent(console: OwnedFd, said: &mut String) -> io::Result<Option<String>> {
    sys::set_nonblocking(&console)?;
    let console = sys::watch(console, Interest::READABLE)?;
    let mut buffer = [0; 1024];
    while said.len() < CONSOLE_ROOM {
        let read = |fd: &OwnedFd| Ok(nix::unistd::read(fd, &mut buffer)?);
        let length = console.async_io(Interest::READABLE, read).await?;
        if length == 0 {
            break;
        }
        said.push_str(&String::from_utf8_lossy(&buffer[..length]));
        if let Some(word) = waiting(said) {
            return Ok(Some(word.to_owned()));
        }
    }
    Ok(None)
}

/// The clock source in the agent's line, once that is whole.
fn waiting(said: &str) -> Option<&str> {
    let (_, rest) = said.split_once(WAITING)?;
    rest.split_once('\n').map(|(word, _)| word.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_word_counts_when_its_line_is_whole() {
        let line = format!("noise\r\nboxlite-guest: {WAITING} tsc\r\n");
        assert_eq!(waiting(&line), Some("tsc"));
        assert_eq!(waiting(line.trim_end()), None);
        assert_eq!(waiting("boxlite-guest: panicked\n"), None);
    }

    #[tokio::test]
    async fn a_console_that_ends_without_the_word_says_so() {
        let (ours, mut guest) = UnixStream::pair().unwrap();
        guest.write_all(b"Kernel panic\n").unwrap();
        drop(guest);
        let mut said = String::new();
        assert_eq!(word_of_the_agent(ours.into(), &mut said).await.unwrap(), None);
        assert_eq!(said, "Kernel panic\n");
    }
}
