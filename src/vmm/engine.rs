//! Which engine a box is started with: what was asked for, weighed against what the machine can do.
//!
//! `auto` takes what runs. An engine asked for by name is that one or an error that says why not, never another.

use std::fmt;
use std::path::{Path, PathBuf};

use boxlite_proto::probe::{KvmVerdict, Libkrun, ProbeReport};
use boxlite_proto::shim::EngineKind;

use super::pieces;
use super::probe::Probe;
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::model::options::Engine;

/// The variable that says which engine a runtime uses for which no option says it.
const VARIABLE: &str = "BOXLITE_ENGINE";

/// What is asked for where neither box nor runtime says anything.
pub(crate) fn from_environment() -> BoxliteResult<Engine> {
    let Some(value) = pieces::secure_env(c"BOXLITE_ENGINE").filter(|value| !value.is_empty()) else {
        return Ok(Engine::default());
    };
    value.to_str().and_then(Engine::from_name).ok_or_else(|| {
        BoxliteError::Config(
            Detail::new(format!("{VARIABLE} is {value:?}, which is no engine"))
                .subject(VARIABLE)
                .hint("set it to auto, krun or qemu, or unset it"),
        )
    })
}

/// The engines of one runtime.
#[derive(Debug)]
pub(crate) struct Engines {
    preferred: Engine,
    probe: Probe,
}

/// An engine for one start, and why it is that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) kind: EngineKind,
    /// QEMU's program; empty where the shim itself is the engine.
    pub(crate) program: PathBuf,
    pub(crate) why: String,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (accelerator {}", self.kind.name(), self.kind.accelerator())?;
        if !self.program.as_os_str().is_empty() {
            write!(f, ", {}", self.program.display())?;
        }
        write!(f, "): {}", self.why)
    }
}

impl Engines {
    pub(crate) fn new(preferred: Engine, probe: Probe) -> Self {
        Self { preferred, probe }
    }

    /// The engine for a box that asks for `wanted`. Blocks, for a second at most.
    pub(crate) fn choose(&self, wanted: Option<Engine>, shim: &Path) -> BoxliteResult<Choice> {
        let wanted = wanted.unwrap_or(self.preferred);
        match choose(wanted, &self.probe.report(shim), pieces::find_qemu) {
            // Not on the strength of what was true some time ago.
            Err(_) if wanted == Engine::Krun => {
                choose(wanted, &self.probe.report_anew(shim), pieces::find_qemu)
            }
            choice => choice,
        }
    }

    /// What the machine can do, found out anew, and the engine of a box that asks for none.
    pub(crate) fn examine(&self, shim: &Path) -> (ProbeReport, BoxliteResult<Choice>) {
        let report = self.probe.report_anew(shim);
        let choice = choose(self.preferred, &report, pieces::find_qemu);
        (report, choice)
    }
}

fn choose(
    wanted: Engine,
    report: &ProbeReport,
    qemu: impl FnOnce() -> BoxliteResult<PathBuf>,
) -> BoxliteResult<Choice> {
    let krun = |why: String| Choice { kind: EngineKind::Krun, program: PathBuf::new(), why };
    let ProbeReport { kvm, libkrun } = report;
    match (wanted, kvm, libkrun) {
        (Engine::Auto | Engine::Krun, KvmVerdict::Usable { .. }, Libkrun::Ready) => Ok(krun(kvm.to_string())),
        (Engine::Krun, KvmVerdict::Usable { .. }, Libkrun::Missing { why, remedy }) => {
            Err(refused(why, remedy))
        }
        (Engine::Krun, _, Libkrun::Missing { why, remedy }) => {
            Err(refused(&format!("{kvm}; and {why}"), &format!("{}; {remedy}", kvm.remedy())))
        }
        (Engine::Krun, ..) => Err(refused(&kvm.to_string(), kvm.remedy())),
        (Engine::Auto, KvmVerdict::Usable { .. }, Libkrun::Missing { why, .. }) => {
            Ok(Choice { kind: EngineKind::QemuKvm, program: qemu()?, why: format!("{kvm}, but {why}") })
        }
        (Engine::Qemu, KvmVerdict::Usable { .. }, _) => {
            Ok(Choice { kind: EngineKind::QemuKvm, program: qemu()?, why: kvm.to_string() })
        }
        (Engine::Auto | Engine::Qemu, ..) => {
            Ok(Choice { kind: EngineKind::QemuTcg, program: qemu()?, why: kvm.to_string() })
        }
    }
}

fn refused(why: &str, remedy: &str) -> BoxliteError {
    BoxliteError::Engine(
        Detail::new(format!("engine krun was asked for and can't run: {why}"))
            .subject("engine")
            .hint(format!("{remedy}; or choose the engine `auto` or `qemu`")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(kvm: KvmVerdict, ready: bool) -> ProbeReport {
        let libkrun = if ready {
            Libkrun::Ready
        } else {
            Libkrun::Missing { why: "no libkrunfw".into(), remedy: "install it".into() }
        };
        ProbeReport { kvm, libkrun }
    }

    fn usable() -> KvmVerdict {
        KvmVerdict::Usable { ns_per_turn: 1 }
    }

    fn emulated() -> KvmVerdict {
        KvmVerdict::NotAccelerated { seen: "900 ns".into() }
    }

    fn chosen(wanted: Engine, report: &ProbeReport) -> BoxliteResult<Choice> {
        choose(wanted, report, || Ok("/usr/bin/qemu".into()))
    }

    #[test]
    fn the_machine_decides_unless_somebody_else_does() {
        for (wanted, kvm, ready, expected) in [
            (Engine::Auto, usable(), true, EngineKind::Krun),
            (Engine::Auto, usable(), false, EngineKind::QemuKvm),
            (Engine::Auto, emulated(), true, EngineKind::QemuTcg),
            (Engine::Krun, usable(), true, EngineKind::Krun),
            (Engine::Qemu, usable(), true, EngineKind::QemuKvm),
            (Engine::Qemu, usable(), false, EngineKind::QemuKvm),
            (Engine::Qemu, emulated(), true, EngineKind::QemuTcg),
        ] {
            let choice = chosen(wanted, &report(kvm.clone(), ready)).unwrap();
            assert_eq!(choice.kind, expected, "{wanted:?} {kvm:?} {ready}");
            assert_eq!(choice.program.as_os_str().is_empty(), expected == EngineKind::Krun);
            assert!(choice.why.starts_with(&kvm.to_string()), "{choice:?}");
        }
    }

    #[test]
    fn an_engine_asked_for_by_name_is_never_another() {
        let error = chosen(Engine::Krun, &report(emulated(), true)).unwrap_err();
        assert!(matches!(error, BoxliteError::Engine(_)), "{error:?}");
        assert!(error.to_string().contains("900 ns"), "{error}");
        assert!(
            error.hint().contains("hardware virtualisation") && error.hint().contains("`qemu`"),
            "{error:?}"
        );
        let error = chosen(Engine::Krun, &report(usable(), false)).unwrap_err();
        assert!(
            error.to_string().contains("no libkrunfw") && error.hint().contains("install it"),
            "{error:?}"
        );
        let error = chosen(Engine::Krun, &report(emulated(), false)).unwrap_err();
        let (text, hint) = (error.to_string(), error.hint());
        assert!(text.contains("900 ns") && text.contains("no libkrunfw"), "{error:?}");
        assert!(hint.contains("hardware virtualisation") && hint.contains("install it"), "{error:?}");
    }

    #[test]
    fn qemu_is_looked_for_only_where_it_is_needed() {
        let none = || Err(BoxliteError::Config("no QEMU".into()));
        assert!(choose(Engine::Auto, &report(usable(), true), none).is_ok());
        assert!(choose(Engine::Auto, &report(emulated(), true), none).is_err());
    }
}
