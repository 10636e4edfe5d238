//! The runtime's log: one JSON object a line, to a descriptor the caller gave; without one, nothing.
//!
//! Lines are queued and written on a blocking thread. One is taken only for what the descriptor takes at once: a reader
//! who stands still holds up nobody and no thread; what the queue can't hold is dropped and counted. (The descriptor is
//! the caller's, so it can't be made non-blocking: others might share it.) Only the runtime's own threads write: their
//! signals are blocked, so a dead reader is an error, not a SIGPIPE in the host.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{SecondsFormat, Utc};
use nix::poll::{PollFd, PollFlags, poll};
use serde_json::{Value, json};
use tokio::runtime::Handle;

/// Lines kept for a reader who stands still; later ones are counted.
const LONGEST_QUEUE: usize = 1024;

/// What a descriptor that is ready takes without waiting (PIPE_BUF).
const PIECE: usize = 4096;

/// How long a thread waits for a reader before it goes, and after what time another one tries again.
const PATIENCE: u8 = 10; // milliseconds
const RETRY: Duration = Duration::from_millis(100);

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
    out: Mutex<Out>,
    queue: Mutex<Queue>,
}

struct Out {
    file: File,
    /// What is left of a line that did not fit.
    rest: Vec<u8>,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<String>,
    lost: u64,
    /// A blocking thread is at it, or will be again.
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
        Self(Some(Arc::new(Sink {
            level,
            out: Mutex::new(Out { file: fd.into(), rest: Vec::new() }),
            queue: Mutex::default(),
        })))
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
        if queue.lost > 0 {
            let told = queue.tell_lost();
            queue.lines.push_back(told);
        }
        queue.lines.push_back(line.to_string());
        if !std::mem::replace(&mut queue.draining, true) {
            sink.clone().start_draining(&Handle::current());
        }
    }
}

impl Queue {
    fn tell_lost(&mut self) -> String {
        let lost = std::mem::take(&mut self.lost);
        json!({ "level": "warn", "event": "log lines lost", "lost": lost }).to_string()
    }
}

impl Sink {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_draining(self: Arc<Self>, handle: &Handle) {
        let runtime = handle.clone();
        handle.spawn_blocking(move || {
            if !self.drain() {
                let again = runtime.clone();
                runtime.spawn(async move {
                    tokio::time::sleep(RETRY).await;
                    self.start_draining(&again);
                });
            }
        });
    }

    fn next(&self) -> Option<String> {
        let mut queue = self.queue();
        let line = match queue.lines.pop_front() {
            None if queue.lost > 0 => Some(queue.tell_lost()),
            line => line,
        };
        queue.draining = line.is_some();
        line
    }

    /// Writes what is queued; false: the reader stands still.
    fn drain(&self) -> bool {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if !out.write_rest() {
                return false;
            }
            let Some(mut line) = self.next() else { return true };
            line.push('\n');
            out.rest = line.into_bytes();
        }
    }
}

impl Out {
    /// Writes what is left of a line; false: some of it still is.
    fn write_rest(&mut self) -> bool {
        while !self.rest.is_empty() {
            let mut polled = [PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)];
            if let Ok(0) = poll(&mut polled, PATIENCE) {
                return false;
            }
            let length = self.rest.len().min(PIECE);
            match self.file.write(&self.rest[..length]) {
                Ok(written @ 1..) => drop(self.rest.drain(..written)),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // The caller's descriptor may be non-blocking, and another writer may have been quicker.
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
                // A reader that is gone reads no complaint either.
                Ok(0) | Err(_) => self.rest.clear(),
            }
        }
        true
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

    #[test]
    fn a_reader_who_stands_still_takes_no_thread_and_is_told_what_was_lost() {
        const LINES: usize = 3 * LONGEST_QUEUE;
        let (reader, writer) = std::io::pipe().unwrap();
        let log = Log::to(LogLevel::Info, writer.into());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(1)
            .enable_time()
            .build()
            .unwrap();
        let read = runtime.block_on(async {
            for number in 0..LINES {
                // More than the pipe and the queue hold, and each more than the pipe takes at once.
                log.write(LogLevel::Info, "filler", &"x".repeat(2 * PIECE), json!({ "number": number }));
            }
            let other = tokio::task::spawn_blocking(|| ());
            tokio::time::timeout(Duration::from_secs(60), other).await.expect("the thread is free").unwrap();

            let lines = std::thread::spawn(move || {
                BufReader::new(reader)
                    .lines()
                    .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap())
                    .take_while(|line| line["event"] != "the end")
                    .collect::<Vec<_>>()
            });
            while log.0.as_ref().unwrap().queue().draining {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            log.write(LogLevel::Info, "the end", "x", json!({}));
            while log.0.as_ref().unwrap().queue().draining {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            lines.join().unwrap()
        });
        // In order, from the first on, and where some are missing it is said how many. On a busy machine that is more than
        // once: the pipe may take its first lines when the queue has been full already.
        let (mut next, mut kept) = (0, 0);
        for line in &read {
            if line["event"] == "log lines lost" {
                next += line["lost"].as_u64().unwrap();
            } else {
                assert_eq!(line["number"], next);
                (next, kept) = (next + 1, kept + 1);
            }
        }
        assert_eq!(next, LINES as u64);
        assert!(kept >= LONGEST_QUEUE);
    }
}
