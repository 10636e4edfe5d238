//! What this machine and this installation offer, as a list of findings.

use boxlite_proto::probe::Libkrun;
use boxlite_proto::shim::EngineKind;
use serde::Serialize;

use crate::errors::BoxliteError;
use crate::litebox::core::Core;
use crate::vmm::pieces::{self, Piece};
use crate::vmm::{self, engine::Choice};

/// How an item came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    /// As it should be.
    Ok,
    /// Boxes run, but not as well as they could.
    Warning,
    /// Boxes can't run.
    Failed,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckItem {
    /// What was looked at.
    pub name: String,
    /// How it came out.
    pub status: CheckStatus,
    /// What was seen.
    pub detail: String,
    /// What to do about it; empty when nothing needs to be done.
    pub remedy: String,
}

/// All findings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SystemCheck {
    /// In the order in which a box needs them.
    pub items: Vec<CheckItem>,
}

impl SystemCheck {
    /// The findings as a JSON object with one member, `items`.
    pub fn to_json(&self) -> String {
        // Strings and a list of strings always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    pub(super) fn failed(error: &BoxliteError) -> Self {
        Self {
            items: vec![CheckItem {
                name: "runtime".into(),
                status: CheckStatus::Failed,
                detail: error.to_string(),
                remedy: error.hint().into(),
            }],
        }
    }
}

pub(super) fn check(core: &Core) -> SystemCheck {
    let mut items = vec![home(core)];
    items.extend(engine(core));
    items.extend(Piece::ALL.map(|piece| {
        let found = core.finder.find(piece).and_then(|path| {
            if piece == Piece::Shim && !pieces::is_executable(&path) {
                return Err(BoxliteError::Config(
                    crate::errors::Detail::new(format!("{} may not be executed", path.display()))
                        .subject(path.display().to_string())
                        .hint("make the file executable, on a file system that isn't mounted noexec"),
                ));
            }
            Ok(path.display().to_string())
        });
        item(piece.file_name(), found)
    }));
    items.push(memory());
    SystemCheck { items }
}

fn home(core: &Core) -> CheckItem {
    let shown = core.layout.home().display().to_string();
    match nix::sys::statvfs::statvfs(core.layout.home()) {
        Ok(stat) => {
            let free_mib = stat.blocks_available() * stat.fragment_size() / (1 << 20);
            let detail = format!("{shown}, {free_mib} MiB free");
            if free_mib < 1024 {
                CheckItem {
                    name: "home".into(),
                    status: CheckStatus::Warning,
                    detail,
                    remedy: "free space: images and box disks need some GiB".into(),
                }
            } else {
                CheckItem { name: "home".into(), status: CheckStatus::Ok, detail, remedy: String::new() }
            }
        }
        Err(errno) => CheckItem {
            name: "home".into(),
            status: CheckStatus::Failed,
            detail: format!("{shown}: {errno}"),
            remedy: "choose a home directory on a mounted, writable file system".into(),
        },
    }
}

/// KVM, and which engine follows from it. Looked at anew each time: somebody may have followed a remedy.
fn engine(core: &Core) -> Vec<CheckItem> {
    let shim = match core.finder.find(Piece::Shim) {
        Ok(shim) => shim,
        Err(error) => return vec![item("engine", Err(error))],
    };
    let (report, choice) = core.engines.examine(&shim);
    let kvm = CheckItem {
        name: "kvm".into(),
        status: if report.kvm.is_usable() { CheckStatus::Ok } else { CheckStatus::Warning },
        detail: report.kvm.to_string(),
        remedy: report.kvm.remedy().into(),
    };
    let mut chosen = item("engine", choice.as_ref().map(Choice::to_string).map_err(Clone::clone));
    if let (Libkrun::Missing { remedy, .. }, Ok(choice)) = (&report.libkrun, &choice)
        && report.kvm.is_usable()
        && choice.kind == EngineKind::QemuTcg
    {
        chosen.status = CheckStatus::Warning;
        chosen.remedy.clone_from(remedy);
    }
    vec![kvm, chosen]
}

fn memory() -> CheckItem {
    let available_mib = vmm::available_memory().map(|bytes| bytes >> 20);
    let (status, detail, remedy) = match available_mib {
        Some(mib) if mib >= 1024 => (CheckStatus::Ok, format!("{mib} MiB available"), ""),
        Some(mib) => (
            CheckStatus::Warning,
            format!("{mib} MiB available"),
            "free memory: a box takes 512 MiB by default",
        ),
        None => (CheckStatus::Warning, "unknown".to_owned(), "mount /proc"),
    };
    CheckItem { name: "memory".into(), status, detail, remedy: remedy.into() }
}

fn item(name: &str, found: Result<String, BoxliteError>) -> CheckItem {
    match found {
        Ok(detail) => CheckItem { name: name.into(), status: CheckStatus::Ok, detail, remedy: String::new() },
        Err(error) => CheckItem {
            name: name.into(),
            status: CheckStatus::Failed,
            detail: error.detail().to_string(),
            remedy: error.hint().into(),
        },
    }
}
