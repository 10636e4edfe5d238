//! QEMU's command line, as a pure function of the box and of descriptor numbers.
//!
//! Nothing secret and nothing of a user's environment appears here: any process may read it.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::Path;

use boxlite_proto::machine::{EMULATED_CPU, KVM_CPU, MACHINE};
use boxlite_proto::shim::{Course, DiskCache, EngineKind, Progress, ShimSpec, files};
use boxlite_proto::transfer::DISK_BYTES;
use boxlite_proto::{AGENT_PORT, serial};

use crate::engine::{Boot, Verbosity};

/// Numbers of the descriptors that QEMU inherits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    /// Carries the agent's bytes.
    pub(crate) agent: RawFd,
    /// Takes the console's output.
    pub(crate) console: RawFd,
    /// Carries QMP.
    pub(crate) monitor: RawFd,
}

/// Everything that would let a taken-over QEMU become more than it is.
const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// All arguments that follow the program's name.
pub(crate) fn arguments(spec: &ShimSpec, boot: Boot, ends: Ends) -> Vec<OsString> {
    let mut line = Line(Vec::with_capacity(64));
    line.option("-name", &spec.box_id);
    line.option("-sandbox", SANDBOX);
    let memory = Memory::of(spec);
    line.option(
        "-M",
        if memory.is_some() { format!("{MACHINE},memory-backend=ram") } else { MACHINE.into() },
    );
    let on_kvm = spec.engine == EngineKind::QemuKvm;
    let (accelerator, cpu) = if on_kvm { ("kvm", KVM_CPU) } else { ("tcg,thread=multi", EMULATED_CPU) };
    line.option("-accel", accelerator);
    line.option("-cpu", cpu);
    line.option("-smp", spec.cpus.to_string());
    line.option("-m", format!("{}M", spec.memory_mib));
    if let Some(memory) = memory {
        line.option("-object", memory.backend(spec.memory_mib));
    }
    line.flag("-nodefaults");
    line.flag("-no-user-config");
    line.option("-display", "none");
    // The guest has no power-off: its reboot is its end.
    line.flag("-no-reboot");
    line.option("-chardev", format!("socket,id=monitor,fd={}", ends.monitor));
    line.option("-mon", "chardev=monitor,mode=control");
    line.option("-kernel", spec.kernel.as_os_str());
    line.option("-append", kernel_line(boot, on_kvm));

    line.option("-device", "virtio-serial-device");
    line.option("-chardev", format!("socket,id=console,fd={}", ends.console));
    line.option("-device", "virtconsole,chardev=console");
    line.option("-chardev", format!("socket,id=agent,fd={}", ends.agent));
    line.option("-device", format!("virtserialport,chardev=agent,name={AGENT_PORT}"));

    // The guest disk comes first: the kernel's root is /dev/vda.
    line.disk(serial::GUEST, &Disk::read_only(&spec.guest_disk));
    match &spec.course {
        Course::Freeze { progress: Progress::Booted } => {
            line.placeholder(serial::IMAGE, true, PLACEHOLDER_BYTES);
            line.placeholder(serial::BOX, false, PLACEHOLDER_BYTES);
        }
        Course::Boot | Course::Clone { .. } | Course::Freeze { progress: Progress::SetUp } => {
            line.disk(serial::IMAGE, &Disk::read_only(&spec.image_disk));
            line.disk(serial::BOX, &Disk::writable(Path::new(&spec.box_disk), spec.disk_cache));
        }
    }
    match &spec.course {
        // Each clone has its own.
        Course::Freeze { .. } => line.placeholder(serial::TRANSFER, false, DISK_BYTES),
        Course::Boot | Course::Clone { .. } => {
            line.disk(serial::TRANSFER, &Disk::scratch(Path::new(files::TRANSFER)));
        }
    }
    line.option("-object", "rng-builtin,id=rng");
    line.option("-device", "virtio-rng-device,rng=rng");
    if matches!(spec.course, Course::Clone { .. }) {
        // Stopped, and without a state until the monitor brings it.
        line.option("-incoming", "defer");
        line.flag("-S");
    }
    line.0
}

/// Memory that lies in a file: a template's own, or a clone's, which takes its pages from there as it needs them.
struct Memory {
    path: String,
    is_shared: bool,
}

impl Memory {
    fn of(spec: &ShimSpec) -> Option<Self> {
        match &spec.course {
            Course::Boot => None,
            Course::Freeze { .. } => Some(Self { path: files::RAM.to_owned(), is_shared: true }),
            Course::Clone { template, .. } => {
                Some(Self { path: format!("{template}/{}", files::RAM), is_shared: false })
            }
        }
    }

    fn backend(&self, memory_mib: u32) -> String {
        let share = if self.is_shared { "on" } else { "off" };
        // A comma would end the path.
        let path = self.path.replace(',', ",,");
        format!("memory-backend-file,id=ram,size={memory_mib}M,mem-path={path},share={share}")
    }
}

/// The kernel's own command line. The clock's interrupt is one of the disks' here, so its driver could only fail,
/// loudly and slowly; the kernel still reads the time from it. The kernel would also measure whether the timer's
/// interrupt comes, and panic when the host is too busy to deliver a few ticks in time: it does come.
fn kernel_line(boot: Boot, on_kvm: bool) -> String {
    let voice = match boot.verbosity {
        Verbosity::Quiet => "quiet",
        Verbosity::Full => "loglevel=7",
    };
    // An emulated CPU doesn't speculate: what guards against that would only cost time.
    let mitigations = if on_kvm { "auto" } else { "off" };
    format!(
        "console=hvc0 {voice} reboot=t panic=-1 root=/dev/vda init=/init tsc_early_khz={} tsc=reliable \
         mitigations={mitigations} selinux=0 no_timer_check initcall_blacklist=cmos_init",
        boot.tsc_khz
    )
}

/// Size of the disks that a template's guest sees: no clone's is larger. Its own size is told to the guest when the
/// box's disk comes, and does not matter for an image, whose file system knows where it ends.
const PLACEHOLDER_BYTES: u64 = 1 << 46;

/// One disk file and how it is opened.
struct Disk<'a> {
    path: &'a Path,
    format: &'static str,
    read_only: bool,
    cache: DiskCache,
}

impl<'a> Disk<'a> {
    fn read_only(path: &'a Path) -> Self {
        Self { path, format: "raw", read_only: true, cache: DiskCache::Writeback }
    }

    /// The path is relative: the shim's, and so QEMU's, working directory is the box's.
    fn writable(path: &'a Path, cache: DiskCache) -> Self {
        Self { path, format: "qcow2", read_only: false, cache }
    }

    /// What is only of use while the machine runs.
    fn scratch(path: &'a Path) -> Self {
        Self { path, format: "raw", read_only: false, cache: DiskCache::Unsafe }
    }

    /// The node's description. The format is always given: guessing it from content would trust the guest. So is the
    /// cache, which the file below inherits: never around the host's page cache, and the guest's flushes go through to
    /// the host's file unless its owner wants them dropped.
    fn node(&self, name: &str) -> OsString {
        use std::os::unix::ffi::{OsStrExt, OsStringExt};
        let unmap = if self.read_only { "ignore" } else { "unmap" };
        let no_flush = self.cache == DiskCache::Unsafe;
        let mut json = format!(
            r#"{{"node-name":"{name}","driver":"{}","read-only":{read_only},"discard":"{unmap}","cache":{{"direct":false,"no-flush":{no_flush}}},"file":{{"driver":"file","read-only":{read_only},"discard":"{unmap}","filename":""#,
            self.format,
            read_only = self.read_only,
        )
        .into_bytes();
        // By hand, since a path may hold bytes that are no UTF-8 and must reach QEMU unchanged.
        for byte in self.path.as_os_str().as_bytes() {
            match byte {
                b'"' | b'\\' => json.extend([b'\\', *byte]),
                0..0x20 => json.extend(format!("\\u{byte:04x}").bytes()),
                _ => json.push(*byte),
            }
        }
        json.extend(br#""}}"#);
        OsString::from_vec(json)
    }
}

struct Line(Vec<OsString>);

impl Line {
    fn flag(&mut self, name: &str) {
        self.0.push(name.into());
    }

    fn option(&mut self, name: &str, value: impl Into<OsString>) {
        self.0.push(name.into());
        self.0.push(value.into());
    }

    fn disk(&mut self, name: &str, disk: &Disk<'_>) {
        self.option("-blockdev", disk.node(name));
        self.disk_device(name);
    }

    /// A disk of zeros in place of one that a template's clones will have.
    fn placeholder(&mut self, name: &str, read_only: bool, size: u64) {
        self.option(
            "-blockdev",
            format!(
                r#"{{"node-name":"{name}","driver":"null-co","size":{size},"read-zeroes":true,"read-only":{read_only}}}"#
            ),
        );
        self.disk_device(name);
    }

    fn disk_device(&mut self, name: &str) {
        // Errors are the guest's to see: QEMU's own choice, to pause the machine on a full disk, would look like a hang.
        self.option(
            "-device",
            format!("virtio-blk-device,drive={name},serial={name},werror=report,rerror=report"),
        );
    }
}

#[cfg(test)]
mod tests;
