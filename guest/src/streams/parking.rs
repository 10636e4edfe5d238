//! Streams that arrived before the Exec they belong to.
//!
//! Owns them for half a minute; what nobody claims is dropped, which resets it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use boxlite_proto::stream::Which;

use crate::streams::Taker;
use crate::sys::lock;

/// How long a stream waits for its execution, and an execution for its announced streams: longer than a host that is busy
/// takes from one to the other. Who can't open a stream calls its execution off.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

type Place = (String, u8);

/// The waiting streams.
#[derive(Debug, Default)]
pub(crate) struct Parking {
    lot: Mutex<Lot>,
}

#[derive(Debug, Default)]
struct Lot {
    takers: BTreeMap<Place, (u64, Taker)>,
    tickets: u64,
}

impl Parking {
    /// Keeps a stream until it is claimed or time is up; a newer one for the same place replaces it.
    pub(crate) fn park(self: &Arc<Self>, execution: String, which: Which, taker: Taker) {
        let place = (execution, which as u8);
        let ticket = {
            let mut lot = lock(&self.lot);
            lot.tickets += 1;
            let ticket = lot.tickets;
            lot.takers.insert(place.clone(), (ticket, taker));
            ticket
        };
        let parking = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(PATIENCE).await;
            if let Some(parking) = parking.upgrade() {
                let mut lot = lock(&parking.lot);
                if lot.takers.get(&place).is_some_and(|(found, _)| *found == ticket) {
                    lot.takers.remove(&place);
                }
            }
        });
    }

    /// Hands out the stream that waits there.
    pub(crate) fn claim(&self, execution: &str, which: Which) -> Option<Taker> {
        lock(&self.lot).takers.remove(&(execution.to_owned(), which as u8)).map(|(_, taker)| taker)
    }
}
