//! The runtime's log: one JSON object a line, to a descriptor the caller gave; without one, nothing.
//!
//! Lines are queued and written on a blocking thread, so that a reader who stands still holds nobody up. Only the
//! runtime's own threads write: their signals are blocked, so a dead reader is an error, not a SIGPIPE in the host.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{SecondsFormat, Utc};
use serde_json::{Value, json};
use tokio::runtime::Handle;

/// Lines kept for a reader who stands still; later ones are counted.
const LONGEST_QUEUE: usize = 1024;

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// What failed.
    Error,
    /// What was amiss and could be put right.
    Warn,
    /// Each act, one line.
    Info,
    /// What each act consists of.
    Debug,
}

impl LogLevel {
    fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// Where lines go. Clones write to the same place.
#[derive(Clone, Default)]
pub(crate) struct Log(Option<Arc<Sink>>);

struct Sink {
    level: LogLevel,
    file: Mutex<File>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<String>,
    lost: u64,
    /// A blocking thread is at it.
    draining: bool,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Log").field(&self.0.as_ref().map(|sink| sink.level)).finish()
    }
}

impl Log {
    /// A log of everything up to `level`, written to `fd`.
    pub(crate) fn to(level: LogLevel, fd: OwnedFd) -> Self {
        Self(Some(Arc::new(Sink { level, file: Mutex::new(fd.into()), queue: Mutex::default() })))
    }

    /// Logs that `event` happened to `subject` (a box, an image). Call it on the runtime's threads only.
    pub(crate) fn write(&self, level: LogLevel, event: &str, subject: &str, fields: Value) {
        let Some(sink) = self.0.as_ref().filter(|sink| level <= sink.level) else { return };
        let mut line = json!({
            "time": Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true),
            "level": level.as_str(),
            "event": event,
            "subject": subject,
        });
        if let (Value::Object(line), Value::Object(fields)) = (&mut line, fields) {
            line.extend(fields);
        }
        let mut queue = sink.queue();
        if queue.lines.len() >= LONGEST_QUEUE {
            queue.lost += 1;
            return;
        }
        queue.lines.push_back(line.to_string());
        if !std::mem::replace(&mut queue.draining, true) {
            let sink = sink.clone();
            Handle::current().spawn_blocking(move || sink.drain());
        }
    }
}

impl Sink {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<String> {
        let mut queue = self.queue();
        if queue.lines.is_empty() {
            queue.draining = false;
            return None;
        }
        if queue.lost > 0 {
            let lost = std::mem::take(&mut queue.lost);
            return Some(json!({ "level": "warn", "event": "log lines lost", "lost": lost }).to_string());
        }
        queue.lines.pop_front()
    }

    fn drain(&self) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(mut line) = self.next() {
            line.push('\n');
            // A reader that is gone reads no complaint either.
            let _ = file.write_all(line.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    #[test]
    fn lines_are_json_and_filtered_by_level() {
        let (reader, writer) = std::io::pipe().unwrap();
        let log = Log::to(LogLevel::Info, writer.into());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            log.write(LogLevel::Debug, "not this one", "x", json!({}));
            log.write(LogLevel::Info, "started", "box \"1\"", json!({ "ms": 12 }));
        });
        let mut line = String::new();
        BufReader::new(reader).read_line(&mut line).unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&line["event"], &line["subject"], &line["ms"]),
            (&"started".into(), &"box \"1\"".into(), &12.into())
        );
    }

    #[test]
    fn a_dead_reader_is_no_trouble() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let log = Log::to(LogLevel::Info, writer.into());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async { log.write(LogLevel::Info, "started", "x", json!({})) });
        drop(runtime);
        let sink = log.0.unwrap();
        assert!(!sink.queue().draining && sink.queue().lines.is_empty());
    }
}
