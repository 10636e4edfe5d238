//! The pid file of a box: pid on the first line, start time on the second.

use std::fs;
use std::path::{Path, PathBuf};

use crate::errors::{BoxliteError, BoxliteResult, Detail};

/// Reads a pid file.
#[derive(Clone, Debug)]
pub struct PidFileReader {
    path: PathBuf,
}

/// What a pid file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PidRecord {
    /// The process.
    pub pid: u32,
    /// When it started, as [`process_start_time`](crate::util::process_start_time) gives it.
    pub start_time: Option<u64>,
}

impl PidFileReader {
    /// A reader of the file at `path`.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Reads the file.
    ///
    /// # Errors
    /// `NotFound` when there is no file, `MetadataError` when it holds something else.
    pub fn read(&self) -> BoxliteResult<PidRecord> {
        let shown = self.path.display().to_string();
        let text = fs::read_to_string(&self.path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                BoxliteError::NotFound(Detail::new(format!("no pid file {shown}")).subject(shown.clone()))
            }
            std::io::ErrorKind::InvalidData => garbage(&shown),
            _ => BoxliteError::io("read", &self.path, &error),
        })?;
        parse(&text).ok_or_else(|| garbage(&shown))
    }
}

fn garbage(path: &str) -> BoxliteError {
    BoxliteError::MetadataError(
        Detail::new(format!("pid file {path} holds no pid"))
            .subject(path)
            .hint("open a new runtime on this home: it finds the box's process by its lock"),
    )
}

fn parse(text: &str) -> Option<PidRecord> {
    let mut lines = text.lines();
    let pid = lines.next()?.trim().parse().ok().filter(|pid| *pid > 0)?;
    let start_time = match lines.next().map(str::trim) {
        None | Some("") => None,
        Some(line) => Some(line.parse().ok()?),
    };
    Some(PidRecord { pid, start_time })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_garbage_is_refused() {
        assert_eq!(parse("17\n123\n"), Some(PidRecord { pid: 17, start_time: Some(123) }));
        assert_eq!(parse("17\n"), Some(PidRecord { pid: 17, start_time: None }));
        for bad in ["", "x\n", "-1\n", "0\n", "17\nx\n", "99999999999\n"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
        let missing = PidFileReader::at(Path::new("/nonexistent/shim.pid")).read().unwrap_err();
        assert!(matches!(missing, BoxliteError::NotFound(_)));
    }
}
