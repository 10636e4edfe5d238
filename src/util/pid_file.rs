//! The pid file of a box: pid on the first line, start time on the second.
//!
//! The shim writes it and deletes it. Here it is read, and put right when something else is in its place; nothing in
//! the library trusts it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::replace::replace_file;

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
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
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

impl PidRecord {
    /// Makes the file at `path` say this, whatever was there.
    pub(crate) fn put_at(&self, path: &Path) -> BoxliteResult<()> {
        if PidFileReader::at(path).read().is_ok_and(|found| found == *self) {
            return Ok(());
        }
        if path.is_dir() {
            clear(path).map_err(|error| BoxliteError::io("delete", path, &error))?;
        }
        let start = self.start_time.map(|start| format!("{start}\n")).unwrap_or_default();
        replace_file(path, format!("{}\n{start}", self.pid).as_bytes())
            .map_err(|error| BoxliteError::io("write", path, &error))
    }
}

/// Deletes what is in a pid file's place; nothing there is what is wanted.
pub(crate) fn clear(path: &Path) -> io::Result<()> {
    let cleared = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        _ => fs::remove_file(path),
    };
    match cleared {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
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
        let missing = PidFileReader::at("/nonexistent/shim.pid").read().unwrap_err();
        assert!(matches!(missing, BoxliteError::NotFound(_)));
    }

    #[test]
    fn whatever_is_in_its_place_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shim.pid");
        for record in [PidRecord { pid: 17, start_time: Some(123) }, PidRecord { pid: 18, start_time: None }]
        {
            for garbage in ["", "\0\u{ff}", "1\n"] {
                fs::write(&path, garbage).unwrap();
                record.put_at(&path).unwrap();
                assert_eq!(PidFileReader::at(&path).read().unwrap(), record);
            }
            clear(&path).unwrap();
            fs::create_dir_all(path.join("sub")).unwrap();
            record.put_at(&path).unwrap();
            assert_eq!(PidFileReader::at(&path).read().unwrap(), record);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
            clear(&path).unwrap();
            clear(&path).unwrap();
        }
    }
}
