//! The last words of an agent that dies: on the console, with the stage it had reached, then the VM ends.
//!
//! Owns the panic hook, the handlers of fatal signals and the stage. The kernel turns a dead init into an orderly
//! reboot without a message, so what is not said here is never known. Never sends `bye`: only its absence tells
//! the host of a crash.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU8, Ordering};

use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// What the agent is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    Boot,
    Channel,
    Configure,
    Serve,
    PowerOff,
}

static STAGE: AtomicU8 = AtomicU8::new(Stage::Boot as u8);

/// Remembers how far the agent has come.
pub(crate) fn enter(stage: Stage) {
    STAGE.store(stage as u8, Ordering::Relaxed);
}

fn stage() -> &'static str {
    const NAMES: [&str; 5] = ["boot", "channel", "configure", "serve", "power-off"];
    NAMES.get(usize::from(STAGE.load(Ordering::Relaxed))).copied().unwrap_or("?")
}

/// Writes to the console without allocating or locking; there is nobody to tell when that fails.
fn put(parts: &[&str]) {
    // SAFETY: the kernel opens descriptors 0 to 2 on the console for init, and the agent never closes them.
    let console = unsafe { BorrowedFd::borrow_raw(2) };
    for part in parts {
        let mut rest = part.as_bytes();
        while !rest.is_empty() {
            match nix::unistd::write(console, rest) {
                Ok(n) if n > 0 => rest = &rest[n..],
                _ => return,
            }
        }
    }
}

/// Says one line on the console.
pub(crate) fn say(line: &str) {
    put(&["boxlite-guest: ", line, "\n"]);
}

/// Ends the VM. What processes wrote is flushed first, so that a crash of the agent costs no data of theirs.
fn end() -> ! {
    nix::unistd::sync();
    // reboot(2) only returns on failure; ending init is the other way to end this kernel.
    let _ = reboot(RebootMode::RB_AUTOBOOT);
    crate::sys::process::exit_now(1)
}

/// The agent can't go on: says why and ends the VM.
pub(crate) fn fatal(error: &dyn std::error::Error) -> ! {
    put(&["boxlite-guest: failed in stage ", stage(), ": ", &error.to_string(), "\n"]);
    end()
}

extern "C" fn on_fatal_signal(signal: libc::c_int) {
    let name = Signal::try_from(signal).map_or("unknown signal", Signal::as_str);
    put(&["boxlite-guest: killed by ", name, " in stage ", stage(), "\n"]);
    end()
}

/// Makes every kind of death speak.
pub(crate) fn install() -> io::Result<()> {
    std::panic::set_hook(Box::new(|info| {
        put(&["boxlite-guest: panicked in stage ", stage(), ": ", &info.to_string(), "\n"]);
        end()
    }));
    let action = SigAction::new(
        SigHandler::Handler(on_fatal_signal),
        SaFlags::SA_RESETHAND | SaFlags::SA_NODEFER | SaFlags::SA_ONSTACK,
        SigSet::empty(),
    );
    for signal in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGABRT, Signal::SIGILL, Signal::SIGFPE] {
        // SAFETY: the handler calls only write, sync, reboot and _exit, all async-signal-safe, and reads an atomic.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}
