//! What a shim is asked to do for one box, as a message.
//!
//! Owns the translation of a box's options, image and engine into a [`ShimSpec`]. Starts nothing.

use std::path::Path;
use std::time::Duration;

use boxlite_proto::shim::{Course, EngineKind, Limits, ShimSpec};

use crate::errors::BoxliteResult;
use crate::layout::BoxLayout;
use crate::litebox::core::Core;
use crate::litebox::spec::{BoxImage, BoxSpec};
use crate::model::id::BoxID;
use crate::vmm::engine::Choice;
use crate::vmm::pieces::Piece;

/// Until the agent must have answered, unless the environment gives this host more time (or less).
const BOOT_DEADLINE: Duration = Duration::from_secs(30);
/// The same for a machine that has booted already, at least: on a host that is given more time it may be a third of that.
const CLONE_DEADLINE: Duration = Duration::from_secs(10);
/// Between SIGTERM and SIGKILL when the shim stops a box by itself.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// How long the boot may take here.
pub(super) fn boot_deadline() -> Duration {
    let seconds = std::env::var("BOXLITE_BOOT_SECONDS").ok().and_then(|text| text.parse().ok());
    seconds.filter(|seconds| (1..=3600).contains(seconds)).map_or(BOOT_DEADLINE, Duration::from_secs)
}

/// How long a clone may take where a boot may take `boot`.
fn clone_deadline(boot: Duration) -> Duration {
    (boot / 3).max(CLONE_DEADLINE).min(boot)
}

/// Whether faults may be injected, and what rests is hurried.
pub(super) fn test_hooks() -> bool {
    std::env::var_os("BOXLITE_TEST_HOOKS").is_some_and(|value| value == "1")
}

/// One box, and what is known of it before its start.
pub(super) struct Plan<'a> {
    pub(super) core: &'a Core,
    pub(super) id: &'a BoxID,
    pub(super) hostname: String,
    pub(super) paths: &'a BoxLayout,
    pub(super) spec: &'a BoxSpec,
    pub(super) image: &'a BoxImage,
    pub(super) engine: &'a Choice,
    /// Nobody has asked for it yet.
    pub(super) is_spare: bool,
    /// Goes once through what a claim for another image does.
    pub(super) rehearses: bool,
}

impl Plan<'_> {
    pub(super) fn shim_spec(&self, course: Course) -> BoxliteResult<ShimSpec> {
        // A clone that doesn't answer soon doesn't answer at all.
        let deadline = match course {
            Course::Clone { .. } => clone_deadline(boot_deadline()),
            Course::Boot | Course::Freeze { .. } => boot_deadline(),
        };
        let find = |piece| self.core.finder.find(piece);
        let (kernel, guest_disk) = match self.engine.kind {
            EngineKind::QemuTcg | EngineKind::QemuKvm => (find(Piece::Kernel)?, find(Piece::GuestDisk)?),
            EngineKind::Krun => (find(Piece::LibKrunFw)?, find(Piece::GuestAgent)?),
        };
        Ok(ShimSpec {
            protocol: boxlite_proto::PROTOCOL_VERSION,
            build_id: boxlite_proto::BUILD_ID.to_owned(),
            course,
            box_id: self.id.to_string(),
            box_dir: self.paths.dir().to_owned(),
            engine: self.engine.kind,
            engine_program: self.engine.program.clone(),
            kernel,
            guest_disk,
            // Short and plain whatever the home is called: the engine's options can carry only UTF-8.
            image_disk: BoxLayout::from_here(&self.image.disk),
            image: self.image.manifest_digest.clone(),
            box_disk: file_name(&self.paths.box_disk()),
            disk_cache: self.spec.options.disk_cache,
            cpus: self.spec.cpus(),
            memory_mib: self.spec.memory().0,
            hostname: self.hostname.clone(),
            detach: self.spec.options.detach && !self.is_spare,
            tsc_khz: self.core.tsc.khz(),
            boot_deadline_ms: deadline.as_millis() as u64,
            stop_grace_ms: STOP_GRACE.as_millis() as u64,
            limits: limits_of(self.spec),
            test_hooks: test_hooks(),
            spare: self.is_spare,
            rehearse: self.rehearses,
        })
    }
}

/// What shim and agent hold the box to.
pub(super) fn limits_of(spec: &BoxSpec) -> Limits {
    let options = &spec.options;
    Limits {
        pids_max: options.pids_max.unwrap_or(0),
        cpu_millis: options.cpu_millis.unwrap_or(0),
        max_lifetime_ms: milliseconds(options.max_lifetime),
        idle_timeout_ms: milliseconds(options.idle_timeout),
    }
}

/// 0 for no limit; a limit is never rounded down to none.
fn milliseconds(limit: Option<Duration>) -> u64 {
    limit.map_or(0, |limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1))
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
