use super::*;
use std::os::unix::fs::PermissionsExt;

/// A home, a device that is none but is there, and a shim that reports what it is told to and counts its runs.
struct Bench {
    dir: tempfile::TempDir,
    layout: Layout,
}

impl Bench {
    fn new(report: &ProbeReport) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::prepare(&dir.path().join("home")).unwrap();
        fs::write(dir.path().join("device"), b"").unwrap();
        let this = Self { dir, layout };
        this.reports(report);
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Only the file it reads from changes, so the shim is the same one.
    fn reports(&self, report: &ProbeReport) {
        fs::write(self.path("report"), serde_json::to_vec(report).unwrap()).unwrap();
        if !self.path("shim").exists() {
            let (runs, report) = (self.path("runs"), self.path("report"));
            self.shim(&format!("echo >> {}\ncat {}\n", runs.display(), report.display()));
        }
    }

    fn shim(&self, script: &str) {
        fs::write(self.path("text"), format!("#!/bin/sh\nPATH=/usr/bin:/bin\n{script}")).unwrap();
        fs::set_permissions(self.path("text"), fs::Permissions::from_mode(0o755)).unwrap();
        self.put_shim();
    }

    /// By another process: a child that another test forks meanwhile has what is written here open, too, and such a file
    /// can't be run.
    fn put_shim(&self) {
        let copied = std::process::Command::new("cp").arg(self.path("text")).arg(self.path("shim")).status();
        assert!(copied.unwrap().success());
    }

    fn probe(&self) -> Probe {
        Probe::new(self.path("device"), &self.layout)
    }

    fn runs(&self) -> usize {
        fs::read(self.path("runs")).unwrap_or_default().len()
    }
}

fn report(kvm: KvmVerdict) -> ProbeReport {
    ProbeReport { kvm, libkrun: Libkrun::Ready }
}

fn usable() -> ProbeReport {
    report(KvmVerdict::Usable { ns_per_turn: 1 })
}

fn emulated() -> ProbeReport {
    report(KvmVerdict::NotAccelerated { seen: "x".into() })
}

#[test]
fn a_verdict_on_the_machine_is_kept_for_later_runtimes() {
    for found in [usable(), emulated()] {
        let bench = Bench::new(&found);
        let probe = bench.probe();
        assert_eq!(probe.report(&bench.path("shim")), found);
        bench.reports(&report(KvmVerdict::NotAccelerated { seen: "later".into() }));
        assert_eq!(probe.report(&bench.path("shim")), found);
        assert_eq!(bench.probe().report(&bench.path("shim")), found);
        assert_eq!(bench.runs(), 1);
        assert_ne!(bench.probe().report_anew(&bench.path("shim")), found);
        assert_ne!(bench.probe().report(&bench.path("shim")), found);
        assert_eq!(bench.runs(), 2);
    }
}

#[test]
fn another_shim_or_mode_of_the_device_means_another_probe() {
    let bench = Bench::new(&usable());
    let shim = bench.path("shim");
    bench.probe().report(&shim);
    fs::set_permissions(bench.path("device"), fs::Permissions::from_mode(0o666)).unwrap();
    bench.probe().report(&shim);
    assert_eq!(bench.runs(), 2);
    bench.put_shim();
    bench.probe().report(&shim);
    assert_eq!(bench.runs(), 3);
    fs::write(bench.layout.kvm_report(), b"{}").unwrap();
    bench.probe().report(&shim);
    assert_eq!(bench.runs(), 4, "a damaged record is made anew");
}

#[test]
fn what_a_person_may_be_about_to_change_is_not_kept() {
    let missing_part = Libkrun::Missing { why: "w".into(), remedy: "r".into() };
    let text = String::from;
    for found in [
        report(KvmVerdict::missing(Path::new("/x"))),
        report(KvmVerdict::NoPermission { seen: text("s"), remedy: text("r") }),
        report(KvmVerdict::Broken { step: ProbeStep::CreateVm, seen: text("busy"), remedy: text("r") }),
        ProbeReport { libkrun: missing_part, ..usable() },
    ] {
        let bench = Bench::new(&found);
        let probe = bench.probe();
        assert_eq!(probe.report(&bench.path("shim")), found);
        bench.reports(&usable());
        assert_eq!(probe.report(&bench.path("shim")), usable(), "after {found:?}");
    }
}

#[test]
fn a_device_that_is_gone_needs_no_process() {
    let bench = Bench::new(&usable());
    let probe = bench.probe();
    assert!(probe.report(&bench.path("shim")).kvm.is_usable());
    fs::remove_file(bench.path("device")).unwrap();
    assert_eq!(probe.report(&bench.path("shim")).kvm, KvmVerdict::missing(&bench.path("device")));
    assert_eq!(bench.runs(), 1);
}

#[test]
fn a_probe_that_hangs_is_killed_and_not_asked_again() {
    let bench = Bench::new(&usable());
    let pid_file = bench.path("pid");
    bench.shim(&format!("echo $$ > {}\nexec sleep 1000\n", pid_file.display()));
    let probe = bench.probe();
    let began = std::time::Instant::now();
    let verdict = probe.report(&bench.path("shim")).kvm;
    assert!(matches!(verdict, KvmVerdict::Broken { step: ProbeStep::Hang, .. }), "{verdict:?}");
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
    // On a busy machine it may have been killed before it could say who it is.
    if let Some(pid) = fs::read_to_string(&pid_file).ok().and_then(|text| text.trim().parse().ok()) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while crate::util::is_process_alive(pid) {
            assert!(std::time::Instant::now() < deadline, "it is not killed");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
    let _ = fs::remove_file(&pid_file);
    assert_eq!(probe.report(&bench.path("shim")).kvm, verdict);
    assert!(!pid_file.exists(), "it ran again");
    assert!(!bench.layout.kvm_report().exists(), "later runtimes try again");
}

#[test]
fn a_shim_that_knows_no_probe_is_told_as_such() {
    let bench = Bench::new(&usable());
    bench.shim("echo 'unknown command' >&2; exit 2\n");
    let verdict = bench.probe().report(&bench.path("shim")).kvm;
    assert!(matches!(verdict, KvmVerdict::Broken { step: ProbeStep::Start, .. }), "{verdict:?}");
    assert!(verdict.to_string().contains("unknown command"), "{verdict}");
    let verdict = bench.probe().report(&bench.path("no-shim")).kvm;
    assert!(verdict.to_string().contains("no-shim"), "{verdict}");
}
