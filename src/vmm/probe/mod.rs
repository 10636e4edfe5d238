//! What this machine's KVM is worth, as the shim's probe finds it out, remembered where that is safe.
//!
//! A verdict on the machine (usable, emulated) holds for one boot, kernel, device and shim, and is kept in the home.
//! One that a person may be about to change (no device, no permission) is never kept.

mod process;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use boxlite_proto::probe::{KvmVerdict, Libkrun, ProbeReport, ProbeStep};
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat, geteuid};
use serde::{Deserialize, Serialize};

use super::{host, remembered};
use crate::layout::Layout;

/// The probe, and what it has found out.
#[derive(Debug)]
pub(crate) struct Probe {
    device: PathBuf,
    record: PathBuf,
    /// Locked while the probe runs, so that boxes started at once probe once.
    known: Mutex<Option<Record>>,
}

/// A report and what it holds for.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    key: String,
    report: ProbeReport,
}

/// How long a report may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    /// As long as its key: also by later processes.
    InHome,
    /// As long as this runtime.
    InMemory,
    /// Not at all.
    Not,
}

impl Keep {
    fn of(report: &ProbeReport) -> Self {
        match (&report.kvm, &report.libkrun) {
            (KvmVerdict::NotAccelerated { .. }, _) | (KvmVerdict::Usable { .. }, Libkrun::Ready) => {
                Self::InHome
            }
            // Costs a second each time, and may be over after the next boot or reload of the modules.
            (KvmVerdict::Broken { step: ProbeStep::Hang, .. }, _) => Self::InMemory,
            _ => Self::Not,
        }
    }
}

impl Probe {
    /// A probe of `device` that keeps its report in the home at `layout`.
    pub(crate) fn new(device: PathBuf, layout: &Layout) -> Self {
        Self { device, record: layout.kvm_report(), known: Mutex::default() }
    }

    /// What is known, or found out now by `shim`. Blocks, for a second at most.
    pub(crate) fn report(&self, shim: &Path) -> ProbeReport {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = self.key(shim);
        if let Some(key) = &key
            && may_use(&self.device)
        {
            if known.is_none() {
                *known = self.read_record();
            }
            if let Some(record) = known.as_ref().filter(|record| record.key == *key) {
                return record.report.clone();
            }
        }
        let report = process::ask(shim, &self.device);
        *known = key.and_then(|key| self.keep(key, &report));
        report
    }

    /// The same found out anew, whatever is known.
    pub(crate) fn report_anew(&self, shim: &Path) -> ProbeReport {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let report = process::ask(shim, &self.device);
        *known = self.key(shim).and_then(|key| self.keep(key, &report));
        report
    }

    /// All that a verdict depends on; `None` when some of it can't be told, or there is no device.
    fn key(&self, shim: &Path) -> Option<String> {
        let device = fs::metadata(&self.device).ok()?;
        let shim = fs::metadata(shim).ok()?;
        Some(format!(
            "boot {} kernel {} device {}/{:x} mode {:o} owner {}:{} user {} build {} shim {}:{} size {} changed {}.{}",
            host::boot_id()?,
            host::kernel_release()?,
            self.device.display(),
            device.rdev(),
            device.mode(),
            device.uid(),
            device.gid(),
            geteuid(),
            boxlite_proto::BUILD_ID,
            shim.dev(),
            shim.ino(),
            shim.size(),
            shim.ctime(),
            shim.ctime_nsec(),
        ))
    }

    /// A record that can't be read is made anew.
    fn read_record(&self) -> Option<Record> {
        serde_json::from_slice(&fs::read(&self.record).ok()?).ok()
    }

    /// Remembers `report` for as long as it may be believed.
    fn keep(&self, key: String, report: &ProbeReport) -> Option<Record> {
        let keep = Keep::of(report);
        if keep == Keep::Not {
            return None;
        }
        let record = Record { key, report: report.clone() };
        if keep == Keep::InHome
            && let Ok(json) = serde_json::to_vec(&record)
        {
            remembered::keep(&self.record, &json);
        }
        Some(record)
    }
}

/// Rights may be lost without the device's changing: by leaving a group.
fn may_use(device: &Path) -> bool {
    faccessat(AT_FDCWD, device, AccessFlags::R_OK | AccessFlags::W_OK, AtFlags::AT_EACCESS).is_ok()
}

#[cfg(test)]
mod tests;
