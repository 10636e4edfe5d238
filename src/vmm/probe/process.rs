//! The probe's process: started, heard, and killed when it doesn't end. A KVM that hangs hangs it, not the caller.

use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use boxlite_proto::probe::{KvmVerdict, Libkrun, ProbeReport, ProbeStep};

use crate::vmm::descriptor;

/// The probe itself takes a few milliseconds, 50 on an emulating machine, and gives up after half a second; on a busy
/// machine it has to wait for its turn.
const DEADLINE: Duration = Duration::from_secs(3);
/// A killed process is gone by then, unless the kernel itself hangs.
const KILL_PATIENCE: Duration = Duration::from_millis(500);
/// A report is a few hundred bytes.
const LONGEST_REPORT: usize = 64 * 1024;
/// How much of what is no report an error shows.
const SHOWN: usize = 200;

/// Runs the probe. Always gives a report: that there is none is a verdict.
pub(super) fn ask(shim: &Path, device: &Path) -> ProbeReport {
    if !device.exists() && device.symlink_metadata().is_err() {
        // The commonest case, and it needs no process to find out.
        return without_libkrun(KvmVerdict::missing(device));
    }
    let cannot = |error: io::Error| KvmVerdict::Broken {
        step: ProbeStep::Start,
        seen: format!("{}: {error}", shim.display()),
        remedy: "run the system check, and install boxlite's pieces anew where it names one".into(),
    };
    match Running::start(shim, device) {
        Ok(running) => running.report(shim).unwrap_or_else(without_libkrun),
        Err(error) => without_libkrun(cannot(error)),
    }
}

/// A report of nothing but `kvm`. Without KVM it doesn't matter what libkrun could do.
fn without_libkrun(kvm: KvmVerdict) -> ProbeReport {
    let remedy = kvm.remedy().to_owned();
    ProbeReport { libkrun: Libkrun::Missing { why: "KVM can't be used".into(), remedy }, kvm }
}

/// A probe under way.
struct Running {
    child: Child,
    /// `None` when it has ended already and somebody else in this process has waited for it.
    pidfd: Option<OwnedFd>,
    output: PipeReader,
    deadline: Instant,
}

impl Running {
    fn start(shim: &Path, device: &Path) -> io::Result<Self> {
        let (output, theirs) = io::pipe()?;
        let child = Command::new(shim)
            .args(["probe", "--device"])
            .arg(device)
            .env_clear()
            .stdin(Stdio::null())
            .stderr(theirs.try_clone()?)
            .stdout(theirs)
            .spawn()?;
        let pidfd = descriptor::pidfd_open(child.id()).ok();
        Ok(Self { child, pidfd, output, deadline: Instant::now() + DEADLINE })
    }

    fn report(mut self, shim: &Path) -> Result<ProbeReport, KvmVerdict> {
        let said = self.hear().and_then(|said| Ok(if self.has_ended(self.deadline)? { said } else { None }));
        let said = match said {
            Ok(Some(said)) => said,
            Ok(None) => {
                self.kill();
                return Err(KvmVerdict::Broken {
                    step: ProbeStep::Hang,
                    seen: format!("the probe did not end within {} ms and was killed", DEADLINE.as_millis()),
                    remedy: "reload KVM's modules (kvm_intel or kvm_amd) or reboot".into(),
                });
            }
            Err(error) => {
                self.kill();
                return Err(no_report(shim, &error.to_string()));
            }
        };
        // A host that ignores SIGCHLD or waits for any child makes this ECHILD: it has ended all the same.
        let _ = self.child.wait();
        serde_json::from_slice(&said).map_err(|_| {
            let text: String = String::from_utf8_lossy(&said).trim().chars().take(SHOWN).collect();
            no_report(shim, &format!("it said {text:?}"))
        })
    }

    /// All it has to say; `None` when it hasn't finished in time.
    fn hear(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut said = Vec::new();
        let mut chunk = [0; 4096];
        while descriptor::wait_readable(self.output.as_fd(), self.deadline)? {
            match self.output.read(&mut chunk)? {
                0 => return Ok(Some(said)),
                length => said.extend_from_slice(&chunk[..length]),
            }
            if said.len() > LONGEST_REPORT {
                return Err(io::Error::other("it does not stop talking"));
            }
        }
        Ok(None)
    }

    fn has_ended(&self, deadline: Instant) -> io::Result<bool> {
        self.pidfd.as_ref().map_or(Ok(true), |pidfd| descriptor::wait_readable(pidfd.as_fd(), deadline))
    }

    fn kill(mut self) {
        if let Some(pidfd) = &self.pidfd {
            let _ = descriptor::pidfd_signal(pidfd.as_fd(), libc::SIGKILL);
        }
        // One that even SIGKILL doesn't end is stuck in the kernel: to wait for it would hang this process, too.
        if self.has_ended(Instant::now() + KILL_PATIENCE).unwrap_or(false) {
            let _ = self.child.wait();
        }
    }
}

fn no_report(shim: &Path, why: &str) -> KvmVerdict {
    KvmVerdict::Broken {
        step: ProbeStep::Start,
        seen: format!("{} gave no report: {why}", shim.display()),
        remedy: "install library and shim of the same build".into(),
    }
}
