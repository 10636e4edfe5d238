//! A spare becomes the box that was asked for: its agent gets the box's name, the time, new entropy and its limits, its
//! machine the box's image where it has another.
//!
//! Owns the order of the steps. What half a claim comes to is `life`'s to decide: nothing of it can be used.

use std::time::Instant;

use boxlite_proto::shim::{Claim, Limits};

use super::agent::{Calls, entropy};
use super::log::log;
use crate::engine::qemu::monitor::Monitor;
use crate::engine::qemu::qmp::QmpError;

/// Why a spare could not be made the box.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClaimError {
    #[error("the agent did not {call}: {source}")]
    Agent { call: &'static str, source: ttrpc::Error },
    #[error("the machine can't be given the box's image: {0}")]
    Image(#[from] QmpError),
    #[error("this engine's machines keep their image")]
    NoMonitor,
    #[error("there is no entropy for the guest: {0}")]
    Entropy(#[from] std::io::Error),
    #[error("the shim itself failed: {0}")]
    Shim(#[from] tokio::task::JoinError),
}

/// A spare that is a box now.
pub(crate) struct Claimed {
    pub(crate) detach: bool,
    /// Those that the shim keeps count from now on.
    pub(crate) limits: Limits,
    /// Given back.
    pub(crate) monitor: Option<Monitor>,
    /// The steps done, by name, with what each took in microseconds.
    pub(crate) stages: Vec<(String, u64)>,
}

/// Does all that the box needs. The future may be dropped when the machine ends.
pub(crate) async fn claim(
    calls: Calls,
    mut monitor: Option<Monitor>,
    wanted: Claim,
) -> Result<Claimed, ClaimError> {
    let mut stages = Vec::new();
    let mut began = Instant::now();
    let mut done = |name: &str| {
        stages.push((name.to_owned(), u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)));
        began = Instant::now();
    };
    let refused = |call| move |source| ClaimError::Agent { call, source };
    if let Some(disk) = &wanted.image_disk {
        log!("gets another image: {disk}");
        let monitor = monitor.as_mut().ok_or(ClaimError::NoMonitor)?;
        calls.vacate().await.map_err(refused("let go of the image"))?;
        done("vacate");
        monitor.replace_image(disk).await?;
        done("image");
    }
    let anew = calls.claim(&wanted, entropy()?).await.map_err(refused("take the claim"))?;
    done("agent");
    if let Some((_, whole)) = stages.last_mut() {
        // The rest of it is the way there and back.
        *whole = whole.saturating_sub(anew.stages.iter().map(|stage| stage.micros).sum());
    }
    stages.extend(anew.stages.into_iter().map(|stage| (format!("agent/{}", stage.name), stage.micros)));
    Ok(Claimed { detach: wanted.detach, limits: wanted.limits, monitor, stages })
}
