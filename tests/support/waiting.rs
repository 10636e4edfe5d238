//! Waiting in tests: for what comes true at a time nobody tells.

use std::time::{Duration, Instant};

/// For what a right product does soon, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Looks again and again whether something holds, for `limit` at most.
pub(crate) async fn within(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
