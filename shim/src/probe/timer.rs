//! Interrupts this thread's blocking calls from time to time, and tells what CPU time it has had.
//!
//! CPU time is what counts for a rate: the clock on the wall also runs while a busy machine does other things.

use std::io;
use std::time::Duration;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Ticks from now on until it is dropped. One per process.
pub(super) struct Ticks(());

impl Ticks {
    /// Each tick makes the call that this process's only thread is in fail with EINTR.
    pub(super) fn every(period: Duration) -> io::Result<Self> {
        let action = SigAction::new(SigHandler::Handler(tick), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler does nothing; without SA_RESTART that alone ends a blocking call.
        unsafe { sigaction(Signal::SIGALRM, &action) }?;
        set(period)?;
        Ok(Self(()))
    }
}

impl Drop for Ticks {
    fn drop(&mut self) {
        // It can't fail with a valid value, and a tick that comes all the same does nothing.
        let _ = set(Duration::ZERO);
    }
}

extern "C" fn tick(_signal: libc::c_int) {}

fn set(period: Duration) -> io::Result<()> {
    let period = libc::timeval {
        tv_sec: libc::time_t::try_from(period.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_usec: period.subsec_micros().into(),
    };
    let timer = libc::itimerval { it_interval: period, it_value: period };
    // SAFETY: reads one valid itimerval; the old one is not asked for.
    if unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// CPU time of this thread, the time its guests ran included.
pub(super) fn cpu_time() -> Duration {
    let mut spent = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `spent` is a valid timespec to write to; the clock exists since Linux 2.6.12.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut spent) };
    Duration::new(u64::try_from(spent.tv_sec).unwrap_or(0), u32::try_from(spent.tv_nsec).unwrap_or(0))
}
