//! The time line that `$BOXLITE_TRACE` asks for: what starts, commands and removals spend their time on.
//!
//! Owns the file. It has the Trace Event Format's array form, one event a line, whose closing bracket may be missing
//! ("Trace Event Format", Google, section "JSON Array Format"): Perfetto and chrome://tracing show it. Each operation
//! is a group of nestable asynchronous events with an id of its own, appended by one write, so any number of
//! processes may share a file.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use tokio::runtime::Handle;

use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::model::types::StartStage;
use crate::vmm::pieces::secure_env;

/// Names of an agent's steps begin with it.
const OF_THE_AGENT: &str = "agent/";
/// Those of them that come before the host has found the agent.
const OF_THE_BOOT: [&str; 3] = ["agent/kernel", "agent/agent", "agent/channel"];

/// Where the time line goes. Clones write to the same file.
#[derive(Clone, Default)]
pub(crate) struct Trace(Option<Arc<Sink>>);

struct Sink {
    file: File,
    pid: u32,
    operations: AtomicU64,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Trace").field(&self.0.is_some()).finish()
    }
}

/// What `$BOXLITE_TRACE` names; nowhere when it is not set.
pub(crate) fn from_environment() -> BoxliteResult<Trace> {
    match secure_env(c"BOXLITE_TRACE").filter(|value| !value.is_empty()) {
        Some(path) => Trace::to(&PathBuf::from(path)),
        None => Ok(Trace::default()),
    }
}

impl Trace {
    /// A time line in this file, after what it has already.
    ///
    /// # Errors
    /// `Config` when it can't be written.
    pub(crate) fn to(path: &Path) -> BoxliteResult<Self> {
        let refused = |error: std::io::Error| {
            let mut detail =
                Detail::new(format!("the trace can't be written to {}: {error}", path.display()))
                    .subject(path.display().to_string())
                    .hint("let BOXLITE_TRACE name a file that can be written, or unset it");
            if let Some(errno) = error.raw_os_error() {
                detail = detail.errno(errno);
            }
            BoxliteError::Config(detail)
        };
        // A FIFO that nobody reads must not hold up the program.
        let options = OpenOptions::new().append(true).create(true).custom_flags(libc::O_NONBLOCK).clone();
        let mut file = options.open(path).map_err(refused)?;
        if file.metadata().map_err(refused)?.len() == 0 {
            file.write_all(b"[\n").map_err(refused)?;
        }
        Ok(Self(Some(Arc::new(Sink { file, pid: std::process::id(), operations: AtomicU64::new(1) }))))
    }

    /// Whether anybody wants to know.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// A start that has just ended, step by step.
    pub(crate) fn start(&self, subject: &str, stages: &[StartStage]) {
        self.note(subject, "start", || steps_of(stages));
    }

    /// An operation that has just ended and took so long.
    pub(crate) fn operation(&self, subject: &str, name: &str, took: Duration) {
        self.note(subject, name, || vec![(name.to_owned(), Duration::ZERO, took)]);
    }

    /// Steps by name, beginning (since the first's) and duration; the last one's end is now.
    fn note(&self, subject: &str, category: &str, steps: impl FnOnce() -> Vec<(String, Duration, Duration)>) {
        let Some(sink) = self.0.clone() else { return };
        let steps = steps();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let took = steps.iter().map(|(_, at, took)| *at + *took).max().unwrap_or_default();
        let began = now.saturating_sub(took);
        let id = sink.operations.fetch_add(1, Ordering::Relaxed);
        let mut lines = String::new();
        for (name, at, took) in steps {
            for (phase, moment) in [("b", began + at), ("e", began + at + took)] {
                let event = json!({
                    "name": name, "cat": category, "ph": phase, "id": id, "pid": sink.pid, "tid": sink.pid,
                    "ts": u64::try_from(moment.as_micros()).unwrap_or(u64::MAX),
                    "args": { "subject": subject },
                });
                lines.push_str(&event.to_string());
                lines.push_str(",\n");
            }
        }
        Handle::current().spawn_blocking(move || {
            // Who can't take it loses it: a trace holds up nobody.
            let _ = (&sink.file).write_all(lines.as_bytes());
        });
    }
}

/// The steps of a start one after another, and the agent's own inside those of the host that waited for them.
fn steps_of(stages: &[StartStage]) -> Vec<(String, Duration, Duration)> {
    let mut steps = vec![(String::from("start"), Duration::ZERO, Duration::ZERO)];
    let mut at = Duration::ZERO;
    for stage in stages.iter().filter(|stage| !stage.name.starts_with(OF_THE_AGENT)) {
        steps.push((stage.name.clone(), at, stage.took));
        let inside: Vec<&StartStage> = match stage.name.as_str() {
            "agent" => of_agent(stages, true).collect(),
            "configure" => of_agent(stages, false).collect(),
            _ => Vec::new(),
        };
        let sum: Duration = inside.iter().map(|step| step.took).sum();
        // The answer comes when the agent is done: its steps lie at the end.
        let mut inner = at + stage.took.saturating_sub(sum);
        for step in inside {
            steps.push((step.name.clone(), inner, step.took));
            inner += step.took;
        }
        at += stage.took;
    }
    steps[0].2 = at;
    steps
}

fn of_agent(stages: &[StartStage], of_the_boot: bool) -> impl Iterator<Item = &StartStage> {
    stages
        .iter()
        .filter(|step| step.name.starts_with(OF_THE_AGENT))
        .filter(move |step| OF_THE_BOOT.contains(&step.name.as_str()) == of_the_boot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(name: &str, millis: u64) -> StartStage {
        StartStage { name: name.to_owned(), took: Duration::from_millis(millis) }
    }

    #[test]
    fn the_agents_steps_lie_at_the_end_of_the_wait_for_them() {
        let stages = [
            stage("engine", 2),
            stage("agent", 50),
            stage("configure", 100),
            stage("agent/view", 30),
            stage("agent/kernel", 40),
        ];
        let steps = steps_of(&stages);
        let find = |name: &str| {
            let (_, at, took) = steps.iter().find(|(step, ..)| step == name).unwrap();
            (at.as_millis(), took.as_millis())
        };
        assert_eq!(find("start"), (0, 152));
        assert_eq!(find("agent"), (2, 50));
        assert_eq!(find("agent/kernel"), (12, 40));
        assert_eq!(find("agent/view"), (122, 30));
    }

    #[tokio::test]
    async fn a_file_without_its_last_bracket_is_json() {
        let dir = std::env::temp_dir().join(format!("boxlite-trace-{}", std::process::id()));
        let _ = std::fs::remove_file(&dir);
        for _ in 0..2 {
            let trace = Trace::to(&dir).unwrap();
            trace.start("box", &[stage("engine", 1)]);
            trace.operation("box", "exec true", Duration::from_millis(3));
        }
        let mut text = String::new();
        for _ in 0..12_000 {
            text = std::fs::read_to_string(&dir).unwrap();
            if text.lines().count() == 13 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        std::fs::remove_file(&dir).unwrap();
        let whole = format!("{}]", text.trim_end().trim_end_matches(','));
        let events: Vec<serde_json::Value> = serde_json::from_str(&whole).unwrap();
        assert_eq!(events.len(), 12, "{text}");
        assert!(events.iter().all(|event| event["args"]["subject"] == "box"));
        assert!(Trace::to(Path::new("/proc/none/trace")).is_err());
    }
}
