//! The spares of one runtime: free ones, those kept for a box, and which kind is wanted next. Ends none of them itself.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Spare;
use super::kind::Kind;
use crate::litebox::spec::BoxImage;
use crate::model::id::BoxID;
use crate::model::types::StartCounts;

/// The pool and what became of spares.
pub(crate) struct Spares {
    limit: usize,
    pool: Mutex<Pool>,
    claimed: AtomicU64,
    swapped: AtomicU64,
    made: AtomicU64,
    refused: AtomicU64,
}

#[derive(Default)]
struct Pool {
    /// Oldest first.
    free: Vec<Spare>,
    kept: HashMap<BoxID, Spare>,
    wanted: Option<(Kind, BoxImage)>,
    /// A task makes what is missing.
    is_filling: bool,
    is_closed: bool,
    /// Images of the boxes that were started: one, or more than one.
    images: Images,
    /// A box has found no spare since the last was begun.
    was_missed: bool,
}

/// What is known of the images that a runtime's boxes have.
#[derive(Default)]
enum Images {
    #[default]
    None,
    One(String),
    Several,
}

impl Images {
    fn note(&mut self, digest: &str) {
        match self {
            Self::None => *self = Self::One(digest.to_owned()),
            Self::One(known) if known != digest => *self = Self::Several,
            Self::One(_) | Self::Several => {}
        }
    }
}

/// What to make next.
pub(super) struct Next {
    pub(super) kind: Kind,
    pub(super) image: BoxImage,
    /// In whose place: of no use to what is wanted, or dead.
    pub(super) unwanted: Vec<Spare>,
}

impl Spares {
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            pool: Mutex::default(),
            claimed: AtomicU64::new(0),
            swapped: AtomicU64::new(0),
            made: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    pub(crate) fn add_to(&self, counts: StartCounts) -> StartCounts {
        StartCounts {
            claimed: self.claimed.load(Ordering::Relaxed),
            swapped: self.swapped.load(Ordering::Relaxed),
            spares_made: self.made.load(Ordering::Relaxed),
            spares_refused: self.refused.load(Ordering::Relaxed),
            spares_ready: self.pool().free.iter().filter(|spare| spare.is_alive()).count() as u64,
            ..counts
        }
    }

    pub(crate) fn count_claimed(&self, swapped: bool) {
        self.claimed.fetch_add(1, Ordering::Relaxed);
        self.swapped.fetch_add(swapped.into(), Ordering::Relaxed);
    }

    pub(crate) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn has_made(&self) -> bool {
        self.made.load(Ordering::Relaxed) > 0
    }

    /// Says which kind is wanted next; tells whether the caller is to fill the pool.
    pub(super) fn want(&self, kind: Kind, image: BoxImage) -> bool {
        let mut pool = self.pool();
        pool.images.note(&image.manifest_digest);
        pool.wanted = Some((kind, image));
        let begin = self.limit > 0 && !pool.is_filling && !pool.is_closed;
        pool.is_filling |= begin;
        begin
    }

    /// What is missing; `None` ends the filling.
    pub(super) fn next(&self) -> Option<Next> {
        let mut pool = self.pool();
        let wanted = pool.wanted.clone().filter(|_| !pool.is_closed);
        let Some((kind, image)) = wanted else {
            pool.is_filling = false;
            return None;
        };
        let fits = |spare: &Spare| spare.is_alive() && spare.kind.has_machine_of(&kind);
        let (mut fitting, mut unwanted): (Vec<_>, Vec<_>) =
            std::mem::take(&mut pool.free).into_iter().partition(fits);
        // One at least has the image.
        if fitting.len() >= self.limit && fitting.iter().all(|spare| spare.kind != kind) {
            unwanted.push(fitting.remove(0));
        }
        let enough = fitting.len() >= self.limit;
        pool.free = fitting;
        if enough && unwanted.is_empty() {
            pool.is_filling = false;
            return None;
        }
        Some(Next { kind, image, unwanted })
    }

    /// Whether the next spare is to go once through what a claim for another image does. It is quicker then, also in what
    /// that has in common with a box's first command and its end, but later: where boxes come faster than spares, it does
    /// so only when it may well be claimed for another image.
    pub(super) fn begin_one(&self) -> bool {
        let mut pool = self.pool();
        let was_missed = std::mem::take(&mut pool.was_missed);
        !was_missed || matches!(pool.images, Images::Several)
    }

    pub(super) fn stop_filling(&self) {
        self.pool().is_filling = false;
    }

    /// Adds a new one; gives it back when the pool is closed, or has enough.
    pub(super) fn put(&self, spare: Spare) -> Option<Spare> {
        let mut pool = self.pool();
        if pool.is_closed || pool.free.len() >= self.limit {
            return Some(spare);
        }
        self.made.fetch_add(1, Ordering::Relaxed);
        pool.free.push(spare);
        None
    }

    /// Sets a free one aside for the box that gets its id: of this kind, or else one that can be made so.
    pub(super) fn reserve(&self, kind: &Kind) -> Option<BoxID> {
        let mut pool = self.pool();
        let find = |fits: &dyn Fn(&Kind) -> bool| {
            pool.free.iter().position(|spare| fits(&spare.kind) && spare.is_alive())
        };
        let found = find(&|own| own == kind).or_else(|| find(&|own| own.has_machine_of(kind)));
        let Some(at) = found else {
            pool.was_missed = true;
            return None;
        };
        let spare = pool.free.remove(at);
        let id = spare.id.clone();
        pool.kept.insert(id.clone(), spare);
        Some(id)
    }

    /// The one that is kept for the box `id`.
    pub(super) fn take(&self, id: &BoxID) -> Option<Spare> {
        self.pool().kept.remove(id)
    }

    /// Takes all of them out, and no new ones in.
    pub(super) fn close(&self) -> Vec<Spare> {
        let mut pool = self.pool();
        pool.is_closed = true;
        let kept: Vec<Spare> = pool.kept.drain().map(|(_, spare)| spare).collect();
        pool.free.drain(..).chain(kept).collect()
    }

    /// Makes all of them end by themselves, without waiting.
    pub(crate) fn let_go(&self) {
        let pool = self.pool();
        for spare in pool.free.iter().chain(pool.kept.values()) {
            spare.owner.let_go();
        }
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
