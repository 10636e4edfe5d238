//! Refuses wrong options at `create`, each by its name.

use std::path::Path;

use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::images;
use crate::litebox::command::nul_byte;
use crate::litebox::spec::{BoxSpec, LEAST_MEMORY, MOST_CPU_MILLIS, MOST_DISK_GB, Rootfs};
use crate::model::options::{NetworkSpec, RootfsSpec};

const LONGEST_NAME: usize = 63;

/// The kernel's own bound (fs.nr_open) is the last.
const OPEN_FILES: std::ops::RangeInclusive<u32> = 1..=1_048_576;

/// A box's name: `[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}`.
pub(super) fn name(name: Option<&str>) -> BoxliteResult<()> {
    let Some(name) = name else { return Ok(()) };
    let well_formed = (1..=LONGEST_NAME).contains(&name.len())
        && name.as_bytes()[0].is_ascii_alphanumeric()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if well_formed {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    Err(BoxliteError::InvalidArgument(
        Detail::new(format!("box name {shown:?} is not allowed"))
            .subject(shown)
            .hint("use 1 to 63 letters, digits, '_', '.', '-', beginning with a letter or digit"),
    ))
}

/// Everything else about a box.
pub(super) fn spec(spec: &BoxSpec) -> BoxliteResult<()> {
    let options = &spec.options;
    if options.auto_remove && options.detach {
        return wrong(
            "auto_remove",
            "auto_remove and detach contradict each other",
            "set auto_remove to false for a box that outlives its runtime",
        );
    }
    let host_cpus = std::thread::available_parallelism().map_or(1, usize::from);
    if spec.cpus() == 0 || usize::from(spec.cpus()) > host_cpus {
        return wrong(
            "cpus",
            &format!("cpus is {}: this host allows 1 to {host_cpus}", spec.cpus()),
            "ask for at least one vCPU and no more than the host has",
        );
    }
    if spec.memory() < LEAST_MEMORY {
        return wrong(
            "memory_mib",
            &format!("memory_mib is {}: a box needs at least {}", spec.memory().0, LEAST_MEMORY.0),
            "ask for 64 MiB or more",
        );
    }
    if !(1..=u64::from(MOST_DISK_GB)).contains(&spec.disk_size_gb()) {
        return wrong(
            "disk_size_gb",
            &format!("disk_size_gb is {}: it may be 1 to {MOST_DISK_GB}", spec.disk_size_gb()),
            "ask for a disk of 1 GiB or more",
        );
    }
    for (option, limit) in [("max_lifetime", options.max_lifetime), ("idle_timeout", options.idle_timeout)] {
        if limit.is_some_and(|limit| limit.is_zero()) {
            return wrong(option, &format!("{option} is 0"), "leave it unset for a box without this limit");
        }
    }
    if options.pids_max == Some(0) {
        return wrong("pids_max", "pids_max is 0", "allow some processes, or leave it unset for the default");
    }
    if let Some(millis) = options.cpu_millis.filter(|millis| *millis > MOST_CPU_MILLIS) {
        return wrong(
            "cpu_millis",
            &format!("cpu_millis is {millis}: it may be 0 to {MOST_CPU_MILLIS}"),
            "give thousandths of one CPU, or leave it unset for no limit",
        );
    }
    if options.max_open_files.is_some_and(|files| !OPEN_FILES.contains(&files)) {
        let problem = format!("max_open_files is not from 1 to {}", OPEN_FILES.end());
        return wrong(
            "max_open_files",
            &problem,
            "allow files within this range, or leave it unset for the default",
        );
    }
    if options.working_dir.as_deref().is_some_and(|dir| !dir.starts_with('/'))
        || spec.extras.working_dir.as_ref().is_some_and(|dir| !dir.0.starts_with(b"/"))
    {
        return wrong("working_dir", "working_dir is not absolute", "begin the path with '/'");
    }
    without_nul(spec)?;
    environment(spec)?;
    rootfs(spec)?;
    not_yet_offered(spec)
}

/// Texts that would reach the box, or come back from here, cut short. (Those in `extras` were C strings.)
fn without_nul(spec: &BoxSpec) -> BoxliteResult<()> {
    let options = &spec.options;
    let refuse = |option: &str, name: &str, text: &str| match nul_byte(name, text.as_bytes()) {
        Some(message) => wrong(option, &message, "leave the NUL byte out"),
        None => Ok(()),
    };
    for (option, text) in [("working_dir", &options.working_dir), ("user", &options.user)] {
        refuse(option, option, text.as_deref().unwrap_or_default())?;
    }
    for (option, list) in [("entrypoint", &options.entrypoint), ("cmd", &options.cmd)] {
        for (index, text) in list.iter().flatten().enumerate() {
            refuse(option, &format!("{option}[{index}]"), text)?;
        }
    }
    for (index, (name, value)) in options.env.iter().enumerate() {
        refuse("env", &format!("the name of env[{index}]"), name)?;
        refuse("env", &format!("env[{index}], {name:?},"), value)?;
    }
    for (name, value) in &options.labels {
        refuse("labels", &format!("the name of label {name:?}"), name)?;
        refuse("labels", &format!("label {name:?}"), value)?;
    }
    match &options.rootfs {
        RootfsSpec::Image(text) | RootfsSpec::RootfsPath(text) => refuse("rootfs", "rootfs", text),
    }
}

fn environment(spec: &BoxSpec) -> BoxliteResult<()> {
    let own = spec.options.env.iter().map(|(name, _)| name);
    let raw = spec.extras.env.iter().map(|(name, _)| name);
    for name in own.chain(raw) {
        if name.is_empty() || name.contains('=') {
            return wrong(
                "env",
                &format!("environment variable {name:?} has an empty name, or one with '='"),
                "correct the variable's name",
            );
        }
    }
    Ok(())
}

fn rootfs(spec: &BoxSpec) -> BoxliteResult<()> {
    match spec.rootfs() {
        Rootfs::Image(reference) => images::validate(&reference),
        Rootfs::Directory(path) if !path.is_dir() => wrong(
            "rootfs",
            &format!("rootfs directory {} does not exist", path.display()),
            "name an existing directory on the host",
        ),
        Rootfs::Directory(_) => Ok(()),
    }
}

/// Options that exist for callers of 0.9 and for later versions; asking for them is an error, never ignored. (The main
/// command, `entrypoint` and `cmd`, is only kept: a box that is used through exec ignores it by design.)
fn not_yet_offered(spec: &BoxSpec) -> BoxliteResult<()> {
    let options = &spec.options;
    for volume in &options.volumes {
        if !Path::new(&volume.host_path).exists() {
            return wrong(
                "volumes",
                &format!("volume host path {} does not exist", volume.host_path),
                "name an existing directory or file on the host",
            );
        }
        if !volume.guest_path.starts_with('/') {
            return wrong(
                "volumes",
                &format!("volume guest path {:?} is not absolute", volume.guest_path),
                "begin the path with '/'",
            );
        }
    }
    let unoffered = [
        ("volumes", !options.volumes.is_empty()),
        ("ports", !options.ports.is_empty()),
        ("secrets", !options.secrets.is_empty()),
        (
            "network.allow_net",
            matches!(&options.network, NetworkSpec::Enabled { allow_net } if !allow_net.is_empty()),
        ),
        ("advanced.health_check", options.advanced.health_check.is_some()),
    ];
    match unoffered.iter().find(|(_, asked)| *asked) {
        Some((option, _)) => Err(BoxliteError::Unsupported(
            Detail::new(format!("{option} is not offered by this version"))
                .subject(*option)
                .hint("leave the option out; docs/compatibility.md says what is planned"),
        )),
        None => Ok(()),
    }
}

fn wrong(option: &str, what: &str, hint: &str) -> BoxliteResult<()> {
    Err(BoxliteError::Config(Detail::new(what).subject(option).hint(hint.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::litebox::spec::RawBoxExtras;
    use crate::model::options::{BoxOptions, VolumeSpec};

    fn check(options: BoxOptions) -> Result<(), BoxliteError> {
        spec(&BoxSpec { options, extras: RawBoxExtras::default() })
    }

    #[test]
    fn defaults_are_accepted_and_wrong_options_are_named() {
        check(BoxOptions::default()).unwrap();
        let with = |change: fn(&mut BoxOptions)| {
            let mut options = BoxOptions::default();
            change(&mut options);
            check(options).unwrap_err()
        };
        for (change, named) in [
            ((|o| o.cpus = Some(0)) as fn(&mut BoxOptions), "cpus"),
            (|o| o.cpus = Some(255), "cpus"),
            (|o| o.memory_mib = Some(63), "memory_mib"),
            (|o| o.disk_size_gb = Some(0), "disk_size_gb"),
            (|o| o.cpu_millis = Some(256_001), "cpu_millis"),
            (|o| o.working_dir = Some("tmp".into()), "working_dir"),
            (|o| o.detach = true, "auto_remove"),
            (|o| o.env = vec![("A=B".into(), "".into())], "A=B"),
            (|o| o.env = vec![("".into(), "".into())], "environment variable \"\""),
            (
                |o| o.env = vec![("A".into(), "".into()), ("B\0".into(), "".into())],
                "the name of env[1] contains",
            ),
            (|o| o.env = vec![("A".into(), "b\0".into())], "env[0], \"A\", contains a NUL byte at offset 1"),
            (|o| o.working_dir = Some("/tmp\0".into()), "working_dir contains a NUL byte at offset 4"),
            (|o| o.user = Some("\0".into()), "user contains a NUL byte at offset 0"),
            (|o| o.entrypoint = Some(vec!["\0".into()]), "entrypoint[0] contains"),
            (|o| o.cmd = Some(vec!["a".into(), "b\0".into()]), "cmd[1] contains a NUL byte at offset 1"),
            (|o| o.labels = [("l".into(), "v\0".into())].into(), "label \"l\" contains"),
            (|o| o.labels = [("l\0".into(), "".into())].into(), "the name of label"),
            (|o| o.rootfs = RootfsSpec::Image("alpine\0".into()), "rootfs contains"),
            (|o| o.rootfs = RootfsSpec::RootfsPath("/nonexistent".into()), "/nonexistent"),
            (|o| o.rootfs = RootfsSpec::Image("UPPER CASE".into()), "UPPER CASE"),
            (
                |o| {
                    o.volumes = vec![VolumeSpec {
                        host_path: "/nope".into(),
                        guest_path: "/x".into(),
                        read_only: true,
                    }];
                },
                "/nope",
            ),
        ] {
            let error = with(change);
            assert!(error.to_string().contains(named), "{named}: {error}");
            assert!(!error.hint().is_empty());
        }
    }

    #[test]
    fn names_follow_the_rule() {
        for good in ["a", "web-1", "A.b_c", &"x".repeat(63)] {
            name(Some(good)).unwrap();
        }
        for bad in ["", "-a", "a/b", "a b", "ä", &"x".repeat(64), &"y".repeat(300), "a\0b"] {
            let error = name(Some(bad)).unwrap_err();
            assert!(matches!(error, BoxliteError::InvalidArgument(_)), "{bad:?}");
        }
    }
}
