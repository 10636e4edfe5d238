//! The rate of the time stamp counter, which the guest's kernel is told since it can't calibrate under emulation.
//!
//! Owns the measurement only; who caches it, and for how long, is the library's affair.

use std::time::Duration;

/// Long enough that the reading's error (well under a microsecond) is far below the rounding.
const WINDOW: Duration = Duration::from_millis(200);
/// Readings differ by some kHz from run to run; a command line, and so a template, must not.
const ROUND_TO_KHZ: u64 = 1000;
/// Tries for one pair of readings; the one least disturbed counts.
const TRIES: u32 = 16;

/// The counter's rate in kHz, rounded to 1 MHz. Takes 200 ms.
pub(crate) fn measure_khz() -> u32 {
    let first = Reading::take();
    std::thread::sleep(WINDOW);
    let second = Reading::take();
    rounded_khz(second.ticks.wrapping_sub(first.ticks), second.nanos.saturating_sub(first.nanos))
}

fn rounded_khz(ticks: u64, nanos: u64) -> u32 {
    let khz = u128::from(ticks) * 1_000_000 / u128::from(nanos.max(1));
    let khz = u64::try_from(khz).unwrap_or(u64::MAX).saturating_add(ROUND_TO_KHZ / 2);
    u32::try_from(khz / ROUND_TO_KHZ * ROUND_TO_KHZ).unwrap_or(u32::MAX)
}

/// Counter and clock at the same moment.
struct Reading {
    ticks: u64,
    nanos: u64,
}

impl Reading {
    /// The pair between whose two counter readings the fewest ticks went by: the one no interrupt fell into.
    fn take() -> Self {
        let mut best = Self { ticks: 0, nanos: 0 };
        let mut least = u64::MAX;
        for _ in 0..TRIES {
            let before = ticks();
            let nanos = raw_nanos();
            let spread = ticks().wrapping_sub(before);
            if spread < least {
                least = spread;
                best = Self { ticks: before.wrapping_add(spread / 2), nanos };
            }
        }
        best
    }
}

#[cfg(target_arch = "x86_64")]
fn ticks() -> u64 {
    // SAFETY: every x86-64 CPU has the instruction; it has no operands and touches no memory.
    unsafe { std::arch::x86_64::_rdtsc() }
}

fn raw_nanos() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec to write to; the clock exists since Linux 2.6.28.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_RAW, &raw mut now) };
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_rounded_to_a_megahertz() {
        assert_eq!(rounded_khz(599_900_000, 200_000_000), 3_000_000);
        assert_eq!(rounded_khz(599_899_999, 200_000_000), 2_999_000);
        assert_eq!(rounded_khz(419_910_000, 200_000_000), 2_100_000);
        assert_eq!(rounded_khz(5, 0), 5_000_000);
    }

    #[test]
    fn two_measurements_agree() {
        let (a, b) = (measure_khz(), measure_khz());
        assert!(a >= 500_000, "{a} kHz");
        assert!(a.abs_diff(b) <= 2000, "{a} and {b} kHz");
    }
}
