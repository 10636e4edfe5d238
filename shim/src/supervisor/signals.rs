//! Signals that ask the shim to stop its box.

use std::io;
use std::os::fd::OwnedFd;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::sys;

/// The three signals by which people and service managers ask a process to end, as a descriptor: no handler, so
/// nothing of ours runs at a moment of the sender's choice. Children start with an empty mask (std sees to it).
pub(crate) struct Signals {
    queue: SignalFd,
    watch: AsyncFd<OwnedFd>,
}

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            mask.add(signal);
        }
        mask.thread_block()?;
        let queue = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let watch = sys::watch(&queue, Interest::READABLE)?;
        Ok(Self { queue, watch })
    }

    /// The name of the next one. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> &'static str {
        loop {
            match self.watch.readable().await {
                Ok(mut ready) => match self.queue.read_signal() {
                    Ok(Some(info)) => return name_of(info.ssi_signo),
                    _ => ready.clear_ready(),
                },
                // The event loop is ending, and with it the shim.
                Err(_) => std::future::pending().await,
            }
        }
    }
}

fn name_of(number: u32) -> &'static str {
    i32::try_from(number)
        .ok()
        .and_then(|number| Signal::try_from(number).ok())
        .map_or("a signal", Signal::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_signal_is_told_by_name() {
        let mut signals = Signals::new().unwrap();
        nix::sys::signal::raise(Signal::SIGHUP).unwrap();
        assert_eq!(signals.next().await, "SIGHUP");
    }
}
