//! Opens a runtime, with every option there is.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::db::Database;
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::executor::Executor;
use crate::images::{ImageLimits, ImageStore};
use crate::layout::Layout;
use crate::litebox::core::Core;
use crate::lock::Locks;
use crate::log::{Log, LogLevel};
use crate::model::options::BoxliteOptions;
use crate::model::registry::ImageRegistry;
use crate::runtime::BoxliteRuntime;
use crate::runtime::lifetime::Lifetime;
use crate::runtime::recovery;
use crate::vmm::pieces::Finder;

/// How long a call waits for a box's lock when its caller set no deadline.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);

/// Options of a runtime. Each method takes and gives the builder.
#[derive(Debug, Default)]
pub struct RuntimeBuilder {
    options: BoxliteOptions,
    image_limits: ImageLimits,
    runtime_dir: Option<PathBuf>,
    log: Log,
}

impl RuntimeBuilder {
    /// Directory that holds everything the runtime keeps. Default: `$BOXLITE_HOME`, else `~/.boxlite`.
    #[must_use]
    pub fn home_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.options.home_dir = dir.into();
        self
    }

    /// Registries with settings of their own.
    #[must_use]
    pub fn image_registries(mut self, registries: Vec<ImageRegistry>) -> Self {
        self.options.image_registries = registries;
        self
    }

    /// What an image may be at most; more is refused by name.
    #[must_use]
    pub fn image_limits(mut self, limits: ImageLimits) -> Self {
        self.image_limits = limits;
        self
    }

    /// Directory that holds the shim, the guest disk and the kernel. Default: found beside the library.
    #[must_use]
    pub fn runtime_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.runtime_dir = Some(dir.into());
        self
    }

    /// Where the runtime logs to, one JSON object a line, up to `level`. Default: nowhere.
    #[must_use]
    pub fn log_fd(mut self, level: LogLevel, fd: OwnedFd) -> Self {
        self.log = Log::to(level, fd);
        self
    }

    /// Opens the home.
    ///
    /// # Errors
    /// As [`BoxliteRuntime::new`].
    pub fn build(self) -> BoxliteResult<BoxliteRuntime> {
        let layout = Layout::prepare(&self.options.home_dir)?;
        let database = Database::open(&layout.database())?;
        let images = ImageStore::open(layout.images(), self.options.image_registries, self.image_limits)?;
        let locks = Locks::open(layout.locks(), LOCK_PATIENCE)?;
        let executor = Executor::start()?;
        let core = Arc::new(Core::new(
            layout,
            database,
            locks,
            images,
            Finder::new(self.runtime_dir),
            executor,
            self.log,
        ));
        let lifetime = Arc::new(Lifetime::of(core.clone()));
        recover(&core)?;
        Ok(BoxliteRuntime { core, _lifetime: lifetime })
    }
}

/// Recovers on the runtime's own threads, while this one waits: it may belong to anybody's async runtime.
fn recover(core: &Arc<Core>) -> BoxliteResult<()> {
    let (done, recovered) = crossbeam_channel::bounded(1);
    let recovering = core.clone();
    core.executor.handle().spawn(async move {
        // The builder waits for exactly this message.
        let _ = done.send(recovery::recover(&recovering).await);
    });
    recovered
        .recv()
        .unwrap_or_else(|_| Err(BoxliteError::Internal(Detail::new("the recovery of the home was cut off"))))
}
