//! `logs/shim.log`: what the shim did, for people. Bounded; never holds a user's bytes or secrets.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A log that has reached this size at a start is put aside as `.1`.
const ROTATE_AT: u64 = 512 * 1024;
/// What one run may add.
const RUN_BUDGET: u64 = 512 * 1024;

struct Log {
    file: File,
    began: Instant,
    left: AtomicU64,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Opens the log for the rest of the process's life, and makes it standard output and error (a panic's text).
pub(crate) fn open(path: &Path, began: Instant) -> io::Result<()> {
    rotate(path, ROTATE_AT)?;
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    nix::unistd::dup2_stdout(file.as_fd())?;
    nix::unistd::dup2_stderr(file.as_fd())?;
    if LOG.set(Log { file, began, left: AtomicU64::new(RUN_BUDGET) }).is_err() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    line(format_args!("shim {} starts at {now} s of the epoch", std::process::id()));
    Ok(())
}

/// Puts `path` aside as `path.1` when it has reached `limit` bytes.
pub(crate) fn rotate(path: &Path, limit: u64) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(meta) if meta.len() >= limit => fs::rename(path, aside(path)),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Where a full log goes.
pub(crate) fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// Writes one line, unless the log was never opened or this run has used up its share.
pub(crate) fn line(what: fmt::Arguments<'_>) {
    let Some(log) = LOG.get() else { return };
    let text = format!("[{:>11.6}] {what}\n", log.began.elapsed().as_secs_f64());
    let take = |left: u64| left.checked_sub(text.len() as u64);
    if log.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
        // A full disk must not end the box.
        let _ = (&log.file).write_all(text.as_bytes());
    }
}

/// One formatted line of the shim's log.
macro_rules! log {
    ($($what:tt)*) => { $crate::supervisor::log::line(format_args!($($what)*)) };
}
pub(crate) use log;
