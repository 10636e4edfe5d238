//! Opens a runtime, with every option there is.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use boxlite_proto::probe::KVM_DEVICE;

use crate::caller::Caller;
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::executor::Executor;
use crate::images::{Access, Authorities, Credentials, ImageLimits, ImageStore, Mirrors};
use crate::layout::Layout;
use crate::litebox::core::{Core, Parts};
use crate::litebox::spares::{self, Spares};
use crate::litebox::tenure::Tenure;
use crate::litebox::trace::{self, Trace};
use crate::lock::Locks;
use crate::log::{Log, LogLevel};
use crate::model::options::{BoxliteOptions, Engine};
use crate::model::registry::ImageRegistry;
use crate::runtime::BoxliteRuntime;
use crate::runtime::lifetime::Lifetime;
use crate::runtime::recovery;
use crate::runtime::repair::{self, RepairReport};
use crate::vmm::engine::{self, Engines};
use crate::vmm::pieces::Finder;
use crate::vmm::probe::Probe;
use crate::vmm::template::Templates;

/// How long a call waits for a box's lock when its caller set no deadline.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);

/// Default of [`RuntimeBuilder::template_space`].
const TEMPLATE_SPACE: u64 = 1 << 30;

/// Options of a runtime. Each method takes and gives the builder.
#[derive(Debug, Default)]
pub struct RuntimeBuilder {
    options: BoxliteOptions,
    image_limits: ImageLimits,
    runtime_dir: Option<PathBuf>,
    engine: Option<Engine>,
    kvm_device: Option<PathBuf>,
    template_space: Option<u64>,
    spares: Option<u32>,
    docker_config: Option<PathBuf>,
    mirrors: Vec<(String, String)>,
    ca_files: Vec<PathBuf>,
    log: Log,
    trace: Option<PathBuf>,
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

    /// The file in which `docker login` keeps credentials, for registries that were given none; an empty path: none is
    /// looked at. Credential helpers that it names are run. Default: `$DOCKER_CONFIG/config.json`, else
    /// `~/.docker/config.json`.
    #[must_use]
    pub fn docker_config(mut self, file: impl Into<PathBuf>) -> Self {
        self.docker_config = Some(file.into());
        self
    }

    /// A mirror of a registry, `host[:port]` or a URL without a path (`http://` for plain HTTP): what is pulled from
    /// `registry` is asked for there first, under the same repository name. Several are asked in the order in which they were
    /// added, then the registry itself. A mirror that can't be reached, lacks the image or sends what can't be right is
    /// left with a line in the log. It is reached as [`image_registries`](Self::image_registries) and docker's logins say
    /// for its own host, and never shown the registry's credentials. It is trusted to say what a tag means; all that is
    /// named by digest is verified as ever.
    #[must_use]
    pub fn registry_mirror(mut self, registry: impl Into<String>, mirror: impl Into<String>) -> Self {
        self.mirrors.push((registry.into(), mirror.into()));
        self
    }

    /// A PEM file whose certificates are trusted as authorities of registries, beside those of the system. Read when the
    /// runtime is opened.
    #[must_use]
    pub fn ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca_files.push(file.into());
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

    /// Which engine runs boxes that ask for none. Default: what `$BOXLITE_ENGINE` says (`auto`, `krun`, `qemu`), else
    /// [`Engine::Auto`].
    #[must_use]
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = Some(engine);
        self
    }

    /// Bytes on disk that the home's templates may take together: frozen machines that boxes are cloned from, so that they
    /// need not boot. One takes some 70 MB; the least recently used go first. 0 = no templates: every box boots.
    /// Default: 1 GiB.
    #[must_use]
    pub fn template_space(mut self, bytes: u64) -> Self {
        self.template_space = Some(bytes);
        self
    }

    /// How many boxes the runtime keeps ready ahead of being asked for (spares), each a running machine of the sizes and
    /// the image that were started last: a box of the same sizes is there in some 20 ms, or in about three times that where
    /// the spare has another image, which is swapped for the box's. The first is made when the runtime has had nothing to do
    /// for a while. Spares go with the runtime, cost the memory of an idle box each (some 60 MB), and are
    /// made only where templates are. 0 = none. Default: what `$BOXLITE_SPARES` says, else 1.
    #[must_use]
    pub fn spares(mut self, count: u32) -> Self {
        self.spares = Some(count);
        self
    }

    /// Which device the probe of KVM looks at. For tests: the engines know only `/dev/kvm`.
    #[doc(hidden)]
    #[must_use]
    pub fn kvm_device(mut self, device: impl Into<PathBuf>) -> Self {
        self.kvm_device = Some(device.into());
        self
    }

    /// Where the runtime logs to, one JSON object a line, up to `level`. Default: nowhere.
    #[must_use]
    pub fn log_fd(mut self, level: LogLevel, fd: OwnedFd) -> Self {
        self.log = Log::to(level, fd);
        self
    }

    /// The file that gets a time line of every start, command and removal. Default: what `$BOXLITE_TRACE` names, else none.
    #[doc(hidden)]
    #[must_use]
    pub fn trace_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.trace = Some(file.into());
        self
    }

    /// Repairs the home, also one that can't be opened: a damaged or lost database is kept aside and made anew from the
    /// rows that can still be read and from what the boxes' directories remember. Disks are not touched, and a sound
    /// database only gets rows that it lacks. Runtimes that have the damaged database open answer `Database` from then
    /// on: open new ones. Blocks.
    ///
    /// # Errors
    /// `Config` when a newer boxlite wrote the database, `Storage` when the home can't be used, `Busy` when another
    /// process is opening or repairing it for too long.
    pub fn repair(self) -> BoxliteResult<RepairReport> {
        let layout = Layout::prepare(&self.options.home_dir)?;
        let locks = Locks::open(layout.locks(), LOCK_PATIENCE)?;
        repair::repair(&layout, &locks)
    }

    /// Opens the home.
    ///
    /// # Errors
    /// As [`BoxliteRuntime::new`].
    pub fn build(self) -> BoxliteResult<BoxliteRuntime> {
        let engine = self.engine.map_or_else(engine::from_environment, Ok)?;
        let spares = self.spares.map_or_else(spares::from_environment, Ok)?;
        let mirrors = Mirrors::parse(&self.mirrors)?;
        let authorities = Authorities::read(&self.ca_files)?;
        let layout = Layout::prepare(&self.options.home_dir)?;
        let device = self.kvm_device.unwrap_or_else(|| KVM_DEVICE.into());
        let engines = Engines::new(engine, Probe::new(device, &layout));
        let templates = Templates::at(&layout, self.template_space.unwrap_or(TEMPLATE_SPACE));
        let locks = Locks::open(layout.locks(), LOCK_PATIENCE)?;
        let database = recovery::database::open(&layout, &locks)?;
        let credentials = match self.docker_config {
            None => Credentials::of_user(),
            Some(file) if file.as_os_str().is_empty() => Credentials::none(),
            Some(file) => Credentials::of_file(file),
        };
        let images = ImageStore::open_with(
            layout.images(),
            self.options.image_registries,
            self.image_limits,
            Access { credentials, mirrors, authorities, log: self.log.clone() },
        )?;
        let (tenure, title) = Tenure::begin(layout.home())?;
        let executor = Executor::start()?;
        let core = Arc::new(Core::new(Parts {
            layout,
            database,
            locks,
            images,
            finder: Finder::new(self.runtime_dir),
            engines,
            templates,
            spares: Spares::new(spares),
            executor,
            title,
            log: self.log,
            trace: self.trace.map_or_else(trace::from_environment, |file| Trace::to(&file))?,
        }));
        let lifetime = Arc::new(Lifetime::of(core.clone(), tenure));
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
    match Caller::current().wait_for(&recovered) {
        Ok(Some(result)) => result,
        Ok(None) => Err(BoxliteError::Internal(Detail::new("the recovery of the home was cut off"))),
        Err(cut) => Err(cut.error(
            Detail::new("the home was still being recovered")
                .hint("allow more time: the next open goes on with it"),
        )),
    }
}
