//! Takes what the guest writes to its console, and what the engine writes to its standard error, and keeps the end.
//!
//! Both are other people's bytes: bounded on disk and in memory, never interpreted.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::Interest;
use tokio::task::JoinHandle;

use super::log::{aside, log, rotate};
use crate::sys;

/// How much of the end is kept in memory.
const KEPT: usize = 4096;
/// A console log of this size is put aside as `.1`, and the `.1` before it is gone.
const CONSOLE_LIMIT: u64 = 1024 * 1024;
/// What the writer may still have under way when it ends.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Where the bytes go besides memory.
pub(crate) enum Sink {
    /// `logs/console.log`.
    Console(ConsoleLog),
    /// The shim's own log.
    ShimLog,
}

/// A file that is put aside when it is full.
pub(crate) struct ConsoleLog {
    path: PathBuf,
    file: File,
    length: u64,
}

impl ConsoleLog {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        rotate(path, CONSOLE_LIMIT)?;
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let length = file.metadata()?.len();
        Ok(Self { path: path.into(), file, length })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.length >= CONSOLE_LIMIT {
            std::fs::rename(&self.path, aside(&self.path))?;
            *self = Self::open(&self.path)?;
        }
        self.length += bytes.len() as u64;
        self.file.write_all(bytes)
    }
}

impl Sink {
    fn write(&mut self, bytes: &[u8]) {
        match self {
            // A full disk must not end the box.
            Self::Console(log) => drop(log.write(bytes)),
            Self::ShimLog => {
                for line in String::from_utf8_lossy(bytes).lines() {
                    log!("engine: {line}");
                }
            }
        }
    }
}

/// The newest bytes.
#[derive(Default)]
struct Newest(VecDeque<u8>);

impl Newest {
    fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(KEPT)..];
        let surplus = (self.0.len() + bytes.len()).saturating_sub(KEPT);
        self.0.drain(..surplus);
        self.0.extend(bytes);
    }
}

/// A task that takes everything until the writer's end.
pub(crate) struct Tail {
    newest: Arc<Mutex<Newest>>,
    pump: JoinHandle<()>,
}

impl Tail {
    /// Starts to take from `source`, a socket or a pipe.
    pub(crate) fn start(source: OwnedFd, mut sink: Sink) -> io::Result<Self> {
        sys::set_nonblocking(&source)?;
        let source = sys::watch(source, Interest::READABLE)?;
        let newest = Arc::new(Mutex::new(Newest::default()));
        let shared = Arc::clone(&newest);
        let pump = tokio::spawn(async move {
            let mut buffer = vec![0; KEPT];
            let read = |source: &OwnedFd, buffer: &mut [u8]| Ok(nix::unistd::read(source, buffer)?);
            while let Ok(length @ 1..) =
                source.async_io(Interest::READABLE, |source| read(source, &mut buffer)).await
            {
                shared.lock().unwrap_or_else(PoisonError::into_inner).push(&buffer[..length]);
                sink.write(&buffer[..length]);
            }
        });
        Ok(Self { newest, pump })
    }

    /// The end as text, once the writer has ended (or does not end soon).
    pub(crate) async fn last_words(&mut self) -> String {
        if !self.pump.is_finished() {
            // A pump that is still at it has taken what there is.
            let _ = tokio::time::timeout(LAST_WORDS, &mut self.pump).await;
        }
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let (front, back) = newest.0.as_slices();
        String::from_utf8_lossy(&[front, back].concat()).replace('\r', "")
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream as StdStream;

    #[tokio::test]
    async fn the_end_is_kept() {
        let (ours, mut theirs) = StdStream::pair().unwrap();
        let mut tail = Tail::start(ours.into(), Sink::ShimLog).unwrap();
        let writer = tokio::task::spawn_blocking(move || {
            theirs.write_all(&vec![b'a'; 100_000]).unwrap();
            theirs.write_all(b"\r\nthe end\r\n").unwrap();
        });
        writer.await.unwrap();
        let words = tail.last_words().await;
        assert_eq!(words.len(), KEPT - 2, "the two carriage returns are taken out");
        assert!(words.ends_with("aaa\nthe end\n"), "{words}");
        assert_eq!(tail.last_words().await, words);
    }

    #[tokio::test]
    async fn a_writer_that_goes_on_is_not_waited_for() {
        let (ours, mut theirs) = StdStream::pair().unwrap();
        let mut tail = Tail::start(ours.into(), Sink::ShimLog).unwrap();
        theirs.write_all(b"so far").unwrap();
        while tail.newest.lock().unwrap().0.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(tail.last_words().await, "so far");
    }

    #[test]
    fn the_console_log_is_bounded() {
        let dir = std::env::temp_dir().join(format!("shim-console-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join("console.log");
        let mut log = ConsoleLog::open(&path).unwrap();
        for _ in 0..2500 {
            log.write(&[b'x'; 1024]).unwrap();
        }
        let sizes: Vec<u64> =
            [path.clone(), aside(&path)].iter().map(|p| p.metadata().unwrap().len()).collect();
        assert_eq!(sizes, [2500 * 1024 - 2 * CONSOLE_LIMIT, CONSOLE_LIMIT]);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
