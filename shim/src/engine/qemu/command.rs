//! QEMU's command line, as a pure function of the box and of descriptor numbers.
//!
//! Nothing secret and nothing of a user's environment appears here: any process may read it.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::Path;

use boxlite_proto::shim::ShimSpec;
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

/// No PCI, ACPI, firmware menus or serial port: each costs time under emulation.
const MACHINE: &str = "microvm,x-option-roms=off,rtc=on,acpi=off,pit=on,pic=on,isa-serial=off";
/// Everything that would let a taken-over QEMU become more than it is.
const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// All arguments that follow the program's name.
pub(crate) fn arguments(spec: &ShimSpec, boot: Boot, ends: Ends) -> Vec<OsString> {
    let mut line = Line(Vec::with_capacity(64));
    line.option("-name", &spec.box_id);
    line.option("-sandbox", SANDBOX);
    line.option("-M", MACHINE);
    line.option("-accel", "tcg,thread=multi");
    line.option("-cpu", "max,-svm");
    line.option("-smp", spec.cpus.to_string());
    line.option("-m", format!("{}M", spec.memory_mib));
    line.flag("-nodefaults");
    line.flag("-no-user-config");
    line.option("-display", "none");
    // The guest has no power-off: its reboot is its end.
    line.flag("-no-reboot");
    line.option("-chardev", format!("socket,id=monitor,fd={}", ends.monitor));
    line.option("-mon", "chardev=monitor,mode=control");
    line.option("-kernel", spec.kernel.as_os_str());
    line.option("-append", kernel_line(boot));

    line.option("-device", "virtio-serial-device");
    line.option("-chardev", format!("socket,id=console,fd={}", ends.console));
    line.option("-device", "virtconsole,chardev=console");
    line.option("-chardev", format!("socket,id=agent,fd={}", ends.agent));
    line.option("-device", format!("virtserialport,chardev=agent,name={AGENT_PORT}"));

    // The guest disk comes first: the kernel's root is /dev/vda.
    line.disk(serial::GUEST, &Disk::read_only(&spec.guest_disk));
    line.disk(serial::IMAGE, &Disk::read_only(&spec.image_disk));
    line.disk(serial::BOX, &Disk::writable(Path::new(&spec.box_disk)));
    line.option("-object", "rng-builtin,id=rng");
    line.option("-device", "virtio-rng-device,rng=rng");
    line.0
}

/// The kernel's own command line. The clock's interrupt is one of the disks' here, so its driver could only fail,
/// loudly and slowly; the kernel still reads the time from it.
fn kernel_line(boot: Boot) -> String {
    let voice = match boot.verbosity {
        Verbosity::Quiet => "quiet",
        Verbosity::Full => "loglevel=7",
    };
    format!(
        "console=hvc0 {voice} reboot=t panic=-1 root=/dev/vda init=/init tsc_early_khz={} tsc=reliable \
         mitigations=off selinux=0 initcall_blacklist=cmos_init",
        boot.tsc_khz
    )
}

/// One disk file and how it is opened.
struct Disk<'a> {
    path: &'a Path,
    format: &'static str,
    read_only: bool,
}

impl<'a> Disk<'a> {
    fn read_only(path: &'a Path) -> Self {
        Self { path, format: "raw", read_only: true }
    }

    /// The path is relative: the shim's, and so QEMU's, working directory is the box's.
    fn writable(path: &'a Path) -> Self {
        Self { path, format: "qcow2", read_only: false }
    }

    /// The node's description. The format is always given: guessing it from content would trust the guest.
    fn node(&self, name: &str) -> OsString {
        use std::os::unix::ffi::{OsStrExt, OsStringExt};
        let unmap = if self.read_only { "ignore" } else { "unmap" };
        let mut json = format!(
            r#"{{"node-name":"{name}","driver":"{}","read-only":{read_only},"discard":"{unmap}","file":{{"driver":"file","read-only":{read_only},"discard":"{unmap}","filename":""#,
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
        // Errors are the guest's to see: QEMU's own choice, to pause the machine on a full disk, would look like a hang.
        self.option(
            "-device",
            format!("virtio-blk-device,drive={name},serial={name},werror=report,rerror=report"),
        );
    }
}

#[cfg(test)]
mod tests;
