//! Configure: from the host's word to a box that can run processes. Claim: the same for a box that was set up ahead.
//!
//! Owns the order of the steps and how long each took. Runs once each, before any process of the box; blocking the
//! agent's only thread is fine there, since nothing else goes on.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use boxlite_proto::agent::{ClaimRequest, ClaimResponse, ConfigureRequest, ConfigureResponse, Stage};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};

use crate::cgroup::{BoxCgroup, BoxLimits};
use crate::error::{AgentError, Context};
use crate::exec::Home;
use crate::exec::database::Database;
use crate::init::BoxInit;
use crate::rootfs::files::{self, Identity};
use crate::rootfs::{empty_root, layer, leave_image, mount_disk, mount_image, mount_root};
use crate::sys::mounts::read_line;
use crate::sys::{ENTROPY_BYTES, net, seed_kernel_rng};

/// What the VM's start took before Configure.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Boot {
    /// From the kernel's first moment to the agent's.
    pub(crate) kernel: Duration,
    /// The agent's own preparations.
    pub(crate) agent: Duration,
    /// Until the way to the host was found.
    pub(crate) channel: Duration,
}

/// Sets the box up. Order matters: nothing random is read before the reseed, so that clones of one VM differ.
pub(crate) fn run(request: &ConfigureRequest, boot: Boot) -> Result<(Home, ConfigureResponse), AgentError> {
    let mut stages = Stages::default();
    stages.add("kernel", boot.kernel);
    stages.add("agent", boot.agent);
    stages.add("channel", boot.channel);
    stages.run("clock", || set_clock(request.wall_clock_ns))?;
    stages.run("entropy", || seed(&request.entropy))?;
    stages.run("identity", || set_hostname(&request.hostname))?;
    stages.run("image", mount_image)?;
    stages.run("disk", || {
        mount_disk()?;
        layer().settle(&request.image, request.spare)
    })?;
    stages.run("overlay", mount_root)?;
    stages.run("loopback", || net::loopback_up().step(|| "bring the loopback interface up".into()))?;
    let identity = Identity {
        hostname: request.hostname.clone(),
        hosts: request.hosts.clone(),
        nameservers: request.nameservers.clone(),
        machine_id: request.machine_id.clone(),
        boot_id: request.boot_id.clone(),
    };
    let files = stages.run("files", || files::write(&identity))?;
    let init = stages.run("view", || BoxInit::start(&files))?;
    let limits = BoxLimits { pids_max: request.pids_max, cpu_millis: request.cpu_millis };
    let cgroup = Arc::new(stages.run("cgroup", || BoxCgroup::open(limits))?);
    cgroup.prepare_spare();
    let mut home = Home { init, cgroup, identity, users: Database::default() };
    if request.rehearse {
        home = stages.run("rehearsal", || rehearse(home, &request.image))?;
    }
    let response = ConfigureResponse {
        stages: stages.done,
        kernel: nix::sys::utsname::uname()
            .map(|names| names.release().to_string_lossy().into_owned())
            .unwrap_or_default(),
        clocksource: clocksource(),
        ..ConfigureResponse::default()
    };
    Ok((home, response))
}

/// Gives a box that was set up ahead its name, the time, and entropy that nobody had a part of before. Its layer stays
/// marked with its image, which is the box's from now on.
pub(crate) fn claim(request: &ClaimRequest, mut home: Home) -> Result<(Home, ClaimResponse), AgentError> {
    let mut stages = Stages::default();
    stages.run("introduction", || introduce(request))?;
    home.cgroup.limit(limits_of(request))?;
    home.identity = home.identity.of_another(request);
    stages.run("files", || files::write(&home.identity))?;
    if request.rehearse {
        home = stages.run("rehearsal", || rehearse(home, &request.image))?;
    }
    Ok((home, ClaimResponse { stages: stages.done, ..ClaimResponse::default() }))
}

/// What is left of a box that was set up ahead when it has no image.
#[derive(Debug)]
pub(crate) struct Vacant {
    cgroup: Arc<BoxCgroup>,
    identity: Identity,
}

/// Ends all that is made of the image, or that a process from it could have left.
pub(crate) fn vacate(home: Home) -> Result<Vacant, AgentError> {
    let Home { init, cgroup, identity, users } = home;
    // It holds files of the image.
    drop(users);
    init.leave()?;
    leave_image()?;
    files::delete()?;
    Ok(Vacant { cgroup, identity })
}

/// Sets the box up again, on the image that is there now, as [`claim`] does for one that has kept its own.
pub(crate) fn fill(request: &ClaimRequest, vacant: &Vacant) -> Result<(Home, ClaimResponse), AgentError> {
    let mut stages = Stages::default();
    stages.run("introduction", || introduce(request))?;
    vacant.cgroup.limit(limits_of(request))?;
    let home = rebuild(vacant, vacant.identity.of_another(request), &mut stages)?;
    Ok((home, ClaimResponse { stages: stages.done, ..ClaimResponse::default() }))
}

/// Goes once through what a claim for another image does, since software emulation translates code when it first runs.
fn rehearse(home: Home, image: &str) -> Result<Home, AgentError> {
    let vacant = vacate(home)?;
    layer().settle(image, true)?;
    rebuild(&vacant, vacant.identity.clone(), &mut Stages::default())
}

/// Begins a box that was set up ahead anew, on its image and an empty layer.
pub(crate) fn renew(home: Home) -> Result<Home, AgentError> {
    let Home { init, cgroup, identity, users: _ } = home;
    init.leave()?;
    empty_root()?;
    files::delete()?;
    build(cgroup, identity, &mut Stages::default())
}

fn rebuild(vacant: &Vacant, identity: Identity, stages: &mut Stages) -> Result<Home, AgentError> {
    stages.run("image", mount_image)?;
    build(Arc::clone(&vacant.cgroup), identity, stages)
}

/// From a mounted image and disk to a box.
fn build(cgroup: Arc<BoxCgroup>, identity: Identity, stages: &mut Stages) -> Result<Home, AgentError> {
    stages.run("overlay", mount_root)?;
    let files = stages.run("files", || files::write(&identity))?;
    let init = stages.run("view", || BoxInit::start(&files))?;
    Ok(Home { init, cgroup, identity, users: Database::default() })
}

fn limits_of(request: &ClaimRequest) -> BoxLimits {
    BoxLimits { pids_max: request.pids_max, cpu_millis: request.cpu_millis }
}

fn introduce(request: &ClaimRequest) -> Result<(), AgentError> {
    set_clock(request.wall_clock_ns)?;
    seed(&request.entropy)?;
    set_hostname(&request.hostname)
}

/// What the kernel counts time by.
pub(crate) fn clocksource() -> String {
    read_line(Path::new("/sys/devices/system/clocksource/clocksource0/current_clocksource"))
        .unwrap_or_default()
}

/// The clock source once the kernel has settled on one: it verifies the time stamp counter for some moments first.
pub(crate) async fn settled_clocksource() -> String {
    const EACH: Duration = Duration::from_millis(5);
    const MOST: u32 = 400;
    for _ in 0..MOST {
        if clocksource() == "tsc" {
            break;
        }
        tokio::time::sleep(EACH).await;
    }
    clocksource()
}

#[derive(Default)]
struct Stages {
    done: Vec<Stage>,
}

impl Stages {
    fn run<T>(&mut self, name: &str, step: impl FnOnce() -> Result<T, AgentError>) -> Result<T, AgentError> {
        let start = Instant::now();
        let result = step()?;
        self.add(name, start.elapsed());
        Ok(result)
    }

    fn add(&mut self, name: &str, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.done.push(Stage { name: name.to_owned(), micros, ..Stage::default() });
    }
}

fn set_clock(nanoseconds: i64) -> Result<(), AgentError> {
    let since = u64::try_from(nanoseconds).ok().filter(|since| *since > 0).map(Duration::from_nanos);
    let Some(since) = since else {
        return Err(AgentError::Invalid { what: format!("wall_clock_ns {nanoseconds} lies before 1970") });
    };
    clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::from_duration(since)).step(|| "set the clock".into())
}

fn seed(entropy: &[u8]) -> Result<(), AgentError> {
    let Some(seed) = entropy.first_chunk::<ENTROPY_BYTES>() else {
        let what = format!("entropy has {} bytes: give at least {ENTROPY_BYTES}", entropy.len());
        return Err(AgentError::Invalid { what });
    };
    let step = || "reseed the kernel's random numbers".into();
    let device = open("/dev/urandom", OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty()).step(step)?;
    seed_kernel_rng(device.as_fd(), seed).step(step)
}

/// The whole VM is the box, so its one host name is the box's.
fn set_hostname(hostname: &str) -> Result<(), AgentError> {
    if hostname.len() > 64 || hostname.contains(['/', '\n', '\0', ' ']) {
        let what = format!("'{hostname}' is no host name: at most 64 bytes without blanks or slashes");
        return Err(AgentError::Invalid { what });
    }
    nix::unistd::sethostname(hostname).step(|| format!("set the host name '{hostname}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senseless_requests_are_refused_before_anything_is_touched() {
        assert!(matches!(set_clock(0), Err(AgentError::Invalid { .. })));
        assert!(matches!(set_clock(-5), Err(AgentError::Invalid { .. })));
        assert!(matches!(seed(&[1; 31]), Err(AgentError::Invalid { .. })));
        assert!(matches!(set_hostname("a b"), Err(AgentError::Invalid { .. })));
        assert!(matches!(set_hostname(&"x".repeat(65)), Err(AgentError::Invalid { .. })));
    }
}
