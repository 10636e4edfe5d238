//! How long a box may run, and how long it may have nothing to do: when the shim stops it for that.
//!
//! Owns the two clocks. Whether there is something to do, the agent and the gate say; stopping is `life`'s.

use std::time::Duration;

use boxlite_proto::shim::Limits;
use tokio::time::{Instant, sleep, sleep_until};

use super::agent::Calls;
use super::exit::StopReason;
use super::log::log;
use super::sock::Gate;

/// An idle box is looked at this many times until it has been idle for too long.
const LOOKS: u32 = 8;
/// Bounds on the time between two looks.
const SHORTEST: Duration = Duration::from_millis(25);
const LONGEST: Duration = Duration::from_secs(5);

/// Completes when the box, whose life begins now, is to be stopped, and says why. Never, where it has no limit.
pub(crate) async fn reached(limits: Limits, calls: Calls, gate: Gate) -> StopReason {
    let began = Instant::now();
    let lifetime = async {
        match limits.max_lifetime_ms {
            0 => std::future::pending().await,
            limit => sleep_until(began + Duration::from_millis(limit)).await,
        }
    };
    let idle = async {
        match limits.idle_timeout_ms {
            0 => std::future::pending().await,
            limit => idle_for(Duration::from_millis(limit), &calls, &gate).await,
        }
    };
    tokio::select! {
        () = lifetime => StopReason::LifetimeOver,
        () = idle => StopReason::Idle,
    }
}

/// Completes when no command has run and no stream been open for so long.
async fn idle_for(limit: Duration, calls: &Calls, gate: &Gate) {
    let pause = (limit / LOOKS).clamp(SHORTEST, LONGEST);
    let mut last_busy = Instant::now();
    let mut newest = i64::MIN;
    while last_busy.elapsed() < limit {
        sleep(pause.min(limit - last_busy.elapsed())).await;
        let looked = Instant::now();
        let busy = match calls.activity().await {
            // One that began and ended between two looks counts, too.
            Ok(seen) => seen.running || seen.newest_start > std::mem::replace(&mut newest, seen.newest_start),
            Err(error) => {
                log!("cannot tell whether the box is idle: {error}");
                true
            }
        };
        if busy || gate.has_byte_streams() {
            last_busy = looked;
        }
    }
}
