//! What all boxes of one runtime share: paths, database, images, threads, and the boxes that run.

use std::collections::HashMap;
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use boxlite_proto::shim::ShimSpec;
use tokio::sync::watch;

use crate::db::{BoxRow, Database, HeldBox};
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::executor::{self, Executor};
use crate::images::ImageStore;
use crate::layout::Layout;
use crate::litebox::clones::Clones;
use crate::litebox::live::LiveBox;
use crate::litebox::metrics::Counters;
use crate::litebox::recent::RecentIds;
use crate::litebox::spares::Spares;
use crate::litebox::tenure::Title;
use crate::litebox::trace::Trace;
use crate::lock::{LockGuard, Locks};
use crate::log::Log;
use crate::model::id::BoxID;
use crate::model::options::Engine;
use crate::model::types::StartCounts;
use crate::util::process_start_time;
use crate::vmm::engine::{Choice, Engines};
use crate::vmm::pieces::Finder;
use crate::vmm::template::Templates;
use crate::vmm::{StartingShim, TscRate};

/// One runtime's engine room. Boxes and executions keep it; its threads end with the last runtime handle.
pub(crate) struct Core {
    pub(crate) layout: Layout,
    pub(crate) database: Database,
    /// Serialise each box's transitions between processes and tasks, by box id.
    pub(crate) locks: Locks,
    pub(crate) images: ImageStore,
    pub(crate) finder: Finder,
    pub(crate) engines: Engines,
    pub(crate) templates: Templates,
    /// What became of templates in this runtime.
    pub(crate) clones: Clones,
    /// Boxes made ahead by this runtime.
    pub(crate) spares: Spares,
    /// What was done in this runtime.
    pub(crate) counters: Counters,
    pub(crate) executor: Executor,
    pub(crate) log: Log,
    pub(crate) trace: Trace,
    pub(crate) owner: OwnerIdentity,
    /// Which of the boxes with this owner are owned indeed.
    pub(crate) title: Title,
    pub(crate) tsc: TscRate,
    live: Mutex<HashMap<BoxID, Arc<LiveBox>>>,
    /// Boxes that a `stop` removed, so that a later `remove` by the same caller finds its wish fulfilled.
    removed_by_stop: Mutex<RecentIds>,
    /// Turns true with the shutdown.
    shut_down: watch::Sender<bool>,
    /// Starts under way.
    starts: watch::Sender<usize>,
}

/// What a runtime is made of.
pub(crate) struct Parts {
    pub(crate) layout: Layout,
    pub(crate) database: Database,
    pub(crate) locks: Locks,
    pub(crate) images: ImageStore,
    pub(crate) finder: Finder,
    pub(crate) engines: Engines,
    pub(crate) templates: Templates,
    pub(crate) spares: Spares,
    pub(crate) executor: Executor,
    pub(crate) log: Log,
    pub(crate) trace: Trace,
    pub(crate) title: Title,
}

/// The process that made a runtime.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnerIdentity {
    pub(crate) pid: u32,
    pub(crate) start_time: Option<u64>,
}

impl OwnerIdentity {
    pub(crate) fn of_this_process() -> Self {
        let pid = std::process::id();
        Self { pid, start_time: process_start_time(pid) }
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("home", &self.layout.home()).finish_non_exhaustive()
    }
}

impl Core {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            tsc: TscRate::at(&parts.layout),
            layout: parts.layout,
            database: parts.database,
            locks: parts.locks,
            images: parts.images,
            finder: parts.finder,
            engines: parts.engines,
            templates: parts.templates,
            clones: Clones::default(),
            spares: parts.spares,
            title: parts.title,
            counters: Counters::default(),
            executor: parts.executor,
            log: parts.log,
            trace: parts.trace,
            owner: OwnerIdentity::of_this_process(),
            live: Mutex::default(),
            removed_by_stop: Mutex::default(),
            shut_down: watch::Sender::new(false),
            starts: watch::Sender::new(0),
        }
    }

    /// Refuses what may not happen after a shutdown or in a forked child.
    pub(crate) fn check_open(&self) -> BoxliteResult<()> {
        self.check_process()?;
        if *self.shut_down.borrow() { Err(was_shut_down()) } else { Ok(()) }
    }

    /// Completes with the shutdown, and gives the error that it means.
    pub(crate) async fn shutting_down(&self) -> BoxliteError {
        // Its sender is `self`'s.
        let _ = self.shut_down.subscribe().wait_for(|shut_down| *shut_down).await;
        was_shut_down()
    }

    /// Counts a start as under way for as long as the result lives. Who counts first and then checks that the runtime
    /// is open is seen by every shutdown that didn't keep it from starting.
    pub(crate) fn count_start(self: &Arc<Self>) -> CountedStart {
        self.starts.send_modify(|starts| *starts += 1);
        CountedStart(self.clone())
    }

    /// Completes when no start is under way.
    pub(crate) async fn no_starts(&self) {
        // Its sender is `self`'s.
        let _ = self.starts.subscribe().wait_for(|starts| *starts == 0).await;
    }

    /// Refuses a forked child: it has neither the threads nor the boxes.
    pub(crate) fn check_process(&self) -> BoxliteResult<()> {
        let me = std::process::id();
        if me == self.owner.pid {
            return Ok(());
        }
        Err(BoxliteError::Forked(Detail::new(format!(
            "process {me} was forked from process {}, which opened this runtime",
            self.owner.pid
        ))))
    }

    /// Begins the shutdown; tells whether this call was the first to.
    pub(crate) fn begin_shutdown(&self) -> bool {
        !self.shut_down.send_replace(true)
    }

    /// The running box `id`, if this runtime knows one and it hasn't ended.
    pub(crate) fn live(&self, id: &BoxID) -> Option<Arc<LiveBox>> {
        self.live_boxes().get(id).filter(|live| !live.process().has_ended()).cloned()
    }

    /// All running boxes this runtime knows. One that has ended may be another runtime's by now.
    pub(crate) fn all_live(&self) -> Vec<Arc<LiveBox>> {
        self.live_boxes().values().filter(|live| !live.process().has_ended()).cloned().collect()
    }

    /// The boxes that go with this runtime, those included that have ended and are not settled yet.
    pub(crate) fn own_boxes(&self) -> Vec<Arc<LiveBox>> {
        self.live_boxes().values().filter(|live| live.is_owned()).cloned().collect()
    }

    pub(crate) fn add_live(&self, live: Arc<LiveBox>) {
        self.live_boxes().insert(live.id().clone(), live);
    }

    pub(crate) fn drop_live(&self, id: &BoxID) {
        self.live_boxes().remove(id);
    }

    /// Forgets a box that has ended, unless it runs again.
    pub(crate) fn drop_ended(&self, ended: &Arc<LiveBox>) {
        let mut live = self.live_boxes();
        if live.get(ended.id()).is_some_and(|other| Arc::ptr_eq(other, ended)) {
            live.remove(ended.id());
        }
    }

    /// Remembers that a stop removed `id`.
    pub(crate) fn note_removed(&self, id: &BoxID) {
        self.removed().add(id.clone());
    }

    /// Whether a stop removed the box with this id.
    pub(crate) fn was_removed_by_stop(&self, key: &str) -> bool {
        BoxID::parse(key).is_some_and(|id| self.removed().contains(&id))
    }

    /// Which engine a box that asks for this one gets; the first time the probe runs a guest.
    pub(crate) async fn choose_engine(
        self: &Arc<Self>,
        wanted: Option<Engine>,
        shim: &Path,
    ) -> BoxliteResult<Choice> {
        let (core, shim) = (self.clone(), shim.to_owned());
        executor::blocking(move || core.engines.choose(wanted, &shim)).await
    }

    /// Starts a shim; it is still to be waited for.
    pub(crate) async fn spawn_shim(&self, program: &Path, spec: ShimSpec) -> BoxliteResult<StartingShim> {
        let (program, handle) = (program.to_owned(), self.executor.handle().clone());
        executor::blocking(move || {
            let _context = handle.enter();
            StartingShim::spawn(&program, &spec)
        })
        .await
    }

    /// A database call, off the async threads.
    pub(crate) async fn query<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Database) -> BoxliteResult<T> + Send + 'static,
    ) -> BoxliteResult<T> {
        let database = self.database.clone();
        executor::blocking(move || query(&database)).await
    }

    /// The row of the box, if there is one.
    pub(crate) async fn row(&self, id: &BoxID) -> BoxliteResult<Option<BoxRow>> {
        let id = id.clone();
        self.query(move |database| database.get(&id)).await
    }

    /// What has been started so far, and how.
    pub(crate) fn start_counts(&self) -> StartCounts {
        self.spares.add_to(self.clones.counts())
    }

    /// The box with its lock held, when nobody else has it for too long; `None` when there is no such box.
    pub(crate) async fn hold(&self, id: &BoxID, operation: &str) -> BoxliteResult<Option<HeldBox>> {
        let lock = self.locks.acquire(id.as_str(), operation).await?;
        self.held(id, lock).await
    }

    /// The box with its lock held, if nobody has it now.
    pub(crate) async fn try_hold(&self, id: &BoxID, operation: &str) -> BoxliteResult<TryHold> {
        match self.locks.try_acquire(id.as_str(), operation)? {
            Some(lock) => Ok(self.held(id, lock).await?.map_or(TryHold::Gone, TryHold::Held)),
            None => Ok(TryHold::Busy),
        }
    }

    async fn held(&self, id: &BoxID, lock: LockGuard) -> BoxliteResult<Option<HeldBox>> {
        let id = id.clone();
        self.query(move |database| database.hold(&id, lock)).await
    }

    /// Runs `work` on this runtime's threads; it stops when the caller leaves.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = BoxliteResult<T>> + Send + 'static,
    ) -> BoxliteResult<T> {
        self.check_process()?;
        self.executor.run(work).await
    }

    /// Runs `work` on this runtime's threads; it goes on when the caller leaves.
    pub(crate) async fn run_to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = BoxliteResult<T>> + Send + 'static,
    ) -> BoxliteResult<T> {
        self.check_process()?;
        self.executor.run_to_the_end(work).await
    }

    fn live_boxes(&self) -> MutexGuard<'_, HashMap<BoxID, Arc<LiveBox>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn removed(&self) -> MutexGuard<'_, RecentIds> {
        self.removed_by_stop.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn was_shut_down() -> BoxliteError {
    BoxliteError::Stopped(Detail::new("the runtime was shut down").hint("open a new runtime on this home"))
}

/// What asking for a box's lock without waiting came to.
pub(crate) enum TryHold {
    /// It is had.
    Held(HeldBox),
    /// Somebody else has it: the box is in good hands.
    Busy,
    /// There is no such box.
    Gone,
}

/// A start that is under way.
pub(crate) struct CountedStart(Arc<Core>);

impl Drop for CountedStart {
    fn drop(&mut self) {
        self.0.starts.send_modify(|starts| *starts -= 1);
    }
}

/// A value that is set once and can be waited for by any number of tasks.
#[derive(Clone, Debug)]
pub(crate) struct Once<T: Clone>(watch::Receiver<Option<T>>);

impl<T: Clone> Once<T> {
    pub(crate) fn new() -> (watch::Sender<Option<T>>, Self) {
        let (sender, receiver) = watch::channel(None);
        (sender, Self(receiver))
    }

    /// Whether nobody need wait for it any more.
    pub(crate) fn has_come(&self) -> bool {
        self.0.borrow().is_some() || self.0.has_changed().is_err()
    }

    /// The value, or `None` when its setter is gone without having set it.
    pub(crate) async fn get(&self) -> Option<T> {
        let mut receiver = self.0.clone();
        receiver.wait_for(Option::is_some).await.ok()?.clone()
    }
}
