//! The KVM device: opened, or the reason why not, as a verdict.

use std::fs::{self, Metadata, OpenOptions};
use std::io;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use boxlite_proto::probe::{KvmVerdict, ProbeStep};
use kvm_ioctls::Kvm;
use nix::unistd::{Gid, Group};

use super::broken;

/// Opens the device for a guest to be run.
pub(super) fn open(device: &Path) -> Result<Kvm, KvmVerdict> {
    let about = fs::metadata(device).map_err(|error| refused(device, None, &error))?;
    // Looked at first: to open a pipe would wait for ever, and no file but a device is meant to be opened.
    if !about.file_type().is_char_device() {
        let seen = format!("{} is {}, not the KVM device", device.display(), kind(&about));
        return Err(KvmVerdict::NoDevice { seen });
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(device)
        .map_err(|error| refused(device, Some(&about), &error))?;
    // SAFETY: the descriptor is ours alone and is given away with its ownership. That it is KVM's is found out by its
    // answers: what is something else refuses the calls.
    Ok(unsafe { Kvm::from_raw_fd(file.into_raw_fd()) })
}

fn refused(device: &Path, about: Option<&Metadata>, error: &io::Error) -> KvmVerdict {
    let shown = device.display();
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) => KvmVerdict::missing(device),
        Some(libc::ENXIO | libc::ENODEV) => {
            KvmVerdict::NoDevice { seen: format!("{shown} is there, but no driver is behind it ({error})") }
        }
        Some(libc::EPERM) => KvmVerdict::NoPermission {
            seen: format!("{shown} is kept from this process by its container ({error})"),
            remedy: "start the container with the device (`--device /dev/kvm`)".into(),
        },
        Some(libc::EACCES) => {
            KvmVerdict::NoPermission { seen: denied(device, about), remedy: way_in(device, about) }
        }
        Some(libc::EBUSY) => broken(
            ProbeStep::Open,
            &format!("{shown}: {error}"),
            "stop the other hypervisor (VirtualBox, VMware) that has the CPU's virtualisation",
        ),
        _ => broken(ProbeStep::Open, &format!("{shown}: {error}"), ""),
    }
}

fn kind(about: &Metadata) -> &'static str {
    let kind = about.file_type();
    if kind.is_dir() {
        "a directory"
    } else if kind.is_file() {
        "a regular file"
    } else if kind.is_block_device() {
        "a block device"
    } else {
        "a pipe or socket"
    }
}

fn denied(device: &Path, about: Option<&Metadata>) -> String {
    let shown = device.display();
    match about {
        Some(about) => format!(
            "{shown} has mode {:04o}, owner {} and group {}, and this process is user {}",
            about.mode() & 0o7777,
            about.uid(),
            group_name(about.gid()),
            nix::unistd::geteuid()
        ),
        None => format!("a directory above {shown} may not be entered"),
    }
}

fn way_in(device: &Path, about: Option<&Metadata>) -> String {
    const GROUP_MAY: u32 = 0o060;
    match about {
        Some(about) if about.gid() != 0 && about.mode() & GROUP_MAY == GROUP_MAY => format!(
            "join the group that may: `sudo usermod -aG {} \"$USER\"`, then log in anew",
            group_name(about.gid())
        ),
        Some(_) => format!(
            "let a group use it and join it: `sudo chgrp kvm {0}; sudo chmod 0660 {0}; sudo usermod -aG kvm \"$USER\"`, \
             then log in anew",
            device.display()
        ),
        None => "let this user enter the directories above the device".into(),
    }
}

fn group_name(gid: u32) -> String {
    match Group::from_gid(Gid::from_raw(gid)) {
        Ok(Some(group)) => group.name,
        _ => gid.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(errno: i32) -> KvmVerdict {
        let about = fs::metadata("/dev/null").unwrap();
        refused(Path::new("/dev/kvm"), Some(&about), &io::Error::from_raw_os_error(errno))
    }

    #[test]
    fn each_refusal_is_its_own_verdict() {
        assert_eq!(refusal(libc::ENOENT), KvmVerdict::missing(Path::new("/dev/kvm")));
        assert!(matches!(refusal(libc::ENXIO), KvmVerdict::NoDevice { .. }));
        assert!(matches!(refusal(libc::ENODEV), KvmVerdict::NoDevice { .. }));
        assert!(matches!(refusal(libc::EPERM), KvmVerdict::NoPermission { .. }));
        let denied = refusal(libc::EACCES);
        assert!(matches!(denied, KvmVerdict::NoPermission { .. }));
        assert!(denied.to_string().contains("mode 0666, owner 0 and group root"), "{denied}");
        assert!(denied.remedy().contains("chmod 0660 /dev/kvm"), "{denied:?}");
        let busy = refusal(libc::EBUSY);
        assert!(matches!(busy, KvmVerdict::Broken { step: ProbeStep::Open, .. }), "{busy:?}");
        assert!(busy.remedy().contains("VirtualBox"), "{busy:?}");
    }
}
