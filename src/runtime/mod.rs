//! The runtime: opens a home, creates, finds and removes boxes, and takes them along when it goes.
//!
//! Owns the public entry points; what happens to one box is `litebox`'s business.

mod builder;
mod lifetime;
mod recovery;
pub mod repair;
pub mod system_check;
mod validate;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

pub use builder::RuntimeBuilder;

pub use crate::log::LogLevel;

pub use crate::images::ImageHandle;
pub use crate::model::{advanced_options, id, options, registry, types};

use crate::db::{BoxRow, Database, NewBox};
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::images::{Digest, ImageUser};
use crate::litebox::core::Core;
use crate::litebox::metrics::RuntimeMetrics;
use crate::litebox::spec::{BoxImage, BoxSpec, RawBoxExtras, Rootfs};
use crate::litebox::{LiteBox, clones, info, spares, stop};
use crate::model::id::{BoxID, BoxIDMint};
use crate::model::options::{BoxOptions, BoxliteOptions};
use crate::model::types::{BoxInfo, StartCounts};
use crate::runtime::lifetime::Lifetime;
use crate::runtime::system_check::SystemCheck;

/// Seconds that [`BoxliteRuntime::shutdown`] allows when nothing else is said.
const DEFAULT_SHUTDOWN: Duration = Duration::from_secs(10);
/// "For ever", as a span that no clock overflows at.
const NO_LIMIT: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// An open home. Clones are the same runtime; the last one dropped stops the boxes it started that aren't detached.
///
/// Every method may be called from any thread and inside any async runtime.
#[derive(Clone, Debug)]
pub struct BoxliteRuntime {
    core: Arc<Core>,
    /// Ends the runtime with its last handle; boxes and executions don't hold it.
    _lifetime: Arc<Lifetime>,
}

impl BoxliteRuntime {
    /// Opens a home, making it where it is missing, and recovers what earlier runtimes left.
    ///
    /// # Errors
    /// `Storage` when the home can't be used, `Config` when a newer boxlite wrote it, `Database` when its database is
    /// damaged.
    pub fn new(options: BoxliteOptions) -> BoxliteResult<Self> {
        Self::builder().home_dir(options.home_dir).image_registries(options.image_registries).build()
    }

    /// Opens the home that [`BoxliteOptions::default`] names.
    ///
    /// # Errors
    /// As [`BoxliteRuntime::new`].
    pub fn with_defaults() -> BoxliteResult<Self> {
        Self::new(BoxliteOptions::default())
    }

    /// A builder, for all that [`BoxliteOptions`] has no field for.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::default()
    }

    /// Creates a box. Nothing is pulled and no VM starts: that happens at its first use.
    ///
    /// # Errors
    /// `Config` or `InvalidArgument` when an option is wrong, `AlreadyExists` when the name is taken.
    pub async fn create(&self, options: BoxOptions, name: Option<String>) -> BoxliteResult<LiteBox> {
        self.create_with(options, RawBoxExtras::default(), name).await
    }

    /// Like [`BoxliteRuntime::create`], with values that need not be UTF-8.
    pub(crate) async fn create_with(
        &self,
        options: BoxOptions,
        extras: RawBoxExtras,
        name: Option<String>,
    ) -> BoxliteResult<LiteBox> {
        self.core.check_open()?;
        let mut spec = BoxSpec { options, extras };
        validate::name(name.as_deref())?;
        validate::spec(&spec)?;
        spec.make_absolute()?;
        let core = self.core.clone();
        self.core.run_to_the_end(async move { insert(&core, &spec, name).await }).await?.claim()
    }

    /// The box with this name, created when there is none; tells whether it was created. Without a name it always is.
    ///
    /// # Errors
    /// As [`BoxliteRuntime::create`].
    pub async fn get_or_create(
        &self,
        options: BoxOptions,
        name: Option<String>,
    ) -> BoxliteResult<(LiteBox, bool)> {
        self.get_or_create_with(options, RawBoxExtras::default(), name).await
    }

    /// Like [`BoxliteRuntime::get_or_create`], with values that need not be UTF-8.
    pub(crate) async fn get_or_create_with(
        &self,
        options: BoxOptions,
        extras: RawBoxExtras,
        name: Option<String>,
    ) -> BoxliteResult<(LiteBox, bool)> {
        if let Some(wanted) = &name
            && let Some(existing) = self.named(wanted).await?
        {
            return Ok((existing, false));
        }
        match self.create_with(options, extras, name.clone()).await {
            // Somebody else was quicker.
            Err(BoxliteError::AlreadyExists(detail)) => {
                match self.named(name.as_deref().unwrap_or_default()).await? {
                    Some(existing) => Ok((existing, false)),
                    None => Err(BoxliteError::AlreadyExists(detail)),
                }
            }
            created => created.map(|created| (created, true)),
        }
    }

    /// The box with this id, unique id prefix or name.
    pub async fn get(&self, id_or_name: &str) -> BoxliteResult<Option<LiteBox>> {
        let core = self.core.clone();
        Ok(self.find(id_or_name).await?.map(|row| LiteBox::new(core, row)))
    }

    /// What there is to know about the box with this id, unique id prefix or name.
    pub async fn get_info(&self, id_or_name: &str) -> BoxliteResult<Option<BoxInfo>> {
        Ok(self.find(id_or_name).await?.map(|row| info::describe(&self.core, &row)))
    }

    /// All boxes of the home, newest first. Works after a shutdown, too.
    pub async fn list_info(&self) -> BoxliteResult<Vec<BoxInfo>> {
        let core = self.core.clone();
        self.core
            .run(async move {
                let rows = core.query(|database| database.list()).await?;
                let mut boxes = Vec::with_capacity(rows.len());
                for row in rows {
                    if let Some(row) = recovery::refresh(&core, row).await? {
                        boxes.push(info::describe(&core, &row));
                    }
                }
                Ok(boxes)
            })
            .await
    }

    /// Whether there is a box with this id, unique id prefix or name.
    pub async fn exists(&self, id_or_name: &str) -> BoxliteResult<bool> {
        Ok(self.find(id_or_name).await?.is_some())
    }

    /// Removes a box with its disk. An active one only with `force`, which stops it first. Goes on to its end when the
    /// caller leaves.
    ///
    /// # Errors
    /// `NotFound`; `InvalidState` when the box is active and `force` is false.
    pub async fn remove(&self, id_or_name: &str, force: bool) -> BoxliteResult<()> {
        let (core, key) = (self.core.clone(), id_or_name.to_owned());
        self.core
            .run_to_the_end(async move {
                let wanted = key.clone();
                match core.query(move |database| database.find(&wanted)).await? {
                    Some(row) => stop::remove(&core, &row.id, force).await,
                    None if core.was_removed_by_stop(&key) => Ok(()),
                    None => Err(BoxliteError::NotFound(
                        Detail::new(format!("box {key:?} not found")).subject(key),
                    )),
                }
            })
            .await
    }

    /// Stops every box that this runtime started and that isn't detached. `limit` is in seconds: `None` (and any other
    /// negative) is 10, `-1` waits for ever, 0 kills at once. May be called any number of times, also at once.
    /// Afterwards `create`, `start` and `exec` answer `Stopped`.
    pub async fn shutdown(&self, limit: Option<i32>) -> BoxliteResult<()> {
        let limit = match limit {
            Some(-1) => NO_LIMIT,
            Some(seconds) if seconds >= 0 => Duration::from_secs(seconds.unsigned_abs().into()),
            _ => DEFAULT_SHUTDOWN,
        };
        let core = self.core.clone();
        self.core
            .run_to_the_end(async move {
                lifetime::stop_own_boxes(&core, limit).await;
                Ok(())
            })
            .await
    }

    /// Makes the template that boxes with these options are cloned from, so that the first of them need not boot, either.
    /// Without it a template is made in the background after a box has booted. Nothing happens where there is one, or
    /// where boxes need none: on another engine than software emulation, and without `template_space`.
    ///
    /// # Errors
    /// As for the start of a box, and `ResourceExhausted` when the template has no room.
    pub async fn prepare(&self, options: &BoxOptions) -> BoxliteResult<()> {
        self.core.check_open()?;
        let spec = BoxSpec { options: options.clone(), extras: RawBoxExtras::default() };
        validate::spec(&spec)?;
        let core = self.core.clone();
        self.core.run(async move { clones::prepare(&core, &spec).await }).await
    }

    /// What this runtime has done since it was opened. Works after a shutdown, too.
    ///
    /// # Errors
    /// `Forked` in a forked child.
    pub async fn metrics(&self) -> BoxliteResult<RuntimeMetrics> {
        self.core.check_process()?;
        Ok(RuntimeMetrics::of(&self.core))
    }

    /// How boxes were started by this runtime.
    pub fn start_counts(&self) -> StartCounts {
        self.core.start_counts()
    }

    /// What this machine and this installation offer, item by item. Never fails: what is wrong is an item.
    pub async fn system_check(&self) -> SystemCheck {
        let core = self.core.clone();
        let checked = self
            .core
            .run(async move { crate::executor::blocking(move || Ok(system_check::check(&core))).await })
            .await;
        checked.unwrap_or_else(|error| SystemCheck::failed(&error))
    }

    /// The images of this home.
    pub fn images(&self) -> BoxliteResult<ImageHandle> {
        self.core.check_open()?;
        let database = self.core.database.clone();
        let users = move || users_of(&database.list()?);
        Ok(ImageHandle::new(self.core.images.clone(), self.core.executor.handle().clone(), users))
    }

    pub(crate) fn handle(&self) -> tokio::runtime::Handle {
        self.core.executor.handle().clone()
    }

    pub(crate) fn owner_pid(&self) -> u32 {
        self.core.owner.pid
    }

    async fn find(&self, key: &str) -> BoxliteResult<Option<BoxRow>> {
        let key = key.to_owned();
        self.look_up(move |database| database.find(&key)).await
    }

    /// The box of exactly this name: ids, and beginnings of them, may look like names.
    async fn named(&self, name: &str) -> BoxliteResult<Option<LiteBox>> {
        let name = name.to_owned();
        let row = self.look_up(move |database| database.named(&name)).await?;
        Ok(row.map(|row| LiteBox::new(self.core.clone(), row)))
    }

    async fn look_up(
        &self,
        query: impl FnOnce(&Database) -> BoxliteResult<Option<BoxRow>> + Send + 'static,
    ) -> BoxliteResult<Option<BoxRow>> {
        let core = self.core.clone();
        self.core
            .run(async move {
                match core.query(query).await? {
                    Some(row) => recovery::refresh(&core, row).await,
                    None => Ok(None),
                }
            })
            .await
    }
}

/// What boxes need of the image store.
fn users_of(rows: &[BoxRow]) -> BoxliteResult<Vec<ImageUser>> {
    let mut users = Vec::with_capacity(rows.len());
    for row in rows {
        let disk = BoxImage::of(row)?.and_then(|image| Digest::parse(&image.manifest_digest).ok());
        let reference = match BoxSpec::of(row)?.rootfs() {
            Rootfs::Image(reference) => Some(reference),
            Rootfs::Directory(_) => None,
        };
        let name = row.name.clone().unwrap_or_else(|| row.id.to_string());
        users.push(ImageUser { name, reference, disk });
    }
    Ok(users)
}

/// A new box that its caller has not got yet: forgotten again at drop.
struct Unclaimed {
    core: Arc<Core>,
    row: Option<BoxRow>,
}

impl Unclaimed {
    fn claim(mut self) -> BoxliteResult<LiteBox> {
        let row = self.row.take().ok_or_else(|| BoxliteError::Internal("a box was claimed twice".into()))?;
        Ok(LiteBox::new(self.core.clone(), row))
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if let Some(row) = self.row.take() {
            let core = self.core.clone();
            self.core.executor.handle().spawn(async move {
                // What can't be forgotten now is a box like any other.
                spares::give_up(&core, &row.id).await;
                let _ = core.query(move |database| database.forget_unused(&row.id)).await;
            });
        }
    }
}

async fn insert(core: &Arc<Core>, spec: &BoxSpec, name: Option<String>) -> BoxliteResult<Unclaimed> {
    let options = spec.to_json()?;
    let owner = core.owner;
    // An id is taken twice once in 62^12 times; the database refuses it then.
    let id: BoxID = spares::reserve(core, spec).unwrap_or_else(BoxIDMint::mint);
    core.title.take(&id);
    let new = NewBox { id: id.clone(), name, options, owner_pid: owner.pid, owner_start: owner.start_time };
    let inserted = core.query(move |database| database.insert(&new)).await;
    if inserted.is_err() {
        spares::give_up(core, &id).await;
    }
    let row = inserted?;
    core.counters.boxes_created.add();
    core.log.write(LogLevel::Info, "box created", row.id.as_str(), json!({ "image": spec.image_name() }));
    Ok(Unclaimed { core: core.clone(), row: Some(row) })
}

#[cfg(test)]
mod tests;
