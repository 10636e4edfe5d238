//! What a template's files were when they were made: looked at before each use, and read through once.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use boxlite_proto::shim::files;
use serde::{Deserialize, Serialize};

use super::TemplateKey;
use super::sum::{self, Sum};
use crate::errors::{BoxliteError, BoxliteResult};
use crate::vmm::remembered;

const NAME: &str = "template.json";
/// Names the files as they were when they were last read through.
const CHECKED: &str = "checked";
/// Another layout of the directory is another number.
const FORMAT: u32 = 1;

/// Content of `template.json`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    format: u32,
    key: String,
    ram: Sum,
    state: Sum,
    /// Of the box that is set up in it.
    #[serde(default)]
    disk: Option<Sum>,
}

impl Record {
    pub(super) fn path(dir: &Path) -> PathBuf {
        dir.join(NAME)
    }

    /// The record of the template in `dir`; `None` when there is no template.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, String> {
        match fs::read(Self::path(dir)) {
            Ok(json) => {
                let record: Self =
                    serde_json::from_slice(&json).map_err(|error| format!("{NAME}: {error}"))?;
                if record.format != FORMAT {
                    return Err(format!("{NAME}: format {}", record.format));
                }
                Ok(Some(record))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{NAME}: {error}")),
        }
    }

    /// Writes down what the files in `dir` are, and makes them hard to change by accident.
    pub(super) fn make(key: &TemplateKey, dir: &Path) -> BoxliteResult<()> {
        let sum = |name: &str| {
            let path = dir.join(name);
            File::open(&path)
                .and_then(|file| sum::of(&file))
                .map_err(|error| BoxliteError::io("read", &path, &error))
        };
        let has_disk = dir.join(files::BOX_DISK).exists();
        let record = Self {
            format: FORMAT,
            key: key.to_string(),
            ram: sum(files::RAM)?,
            state: sum(files::STATE)?,
            disk: has_disk.then(|| sum(files::BOX_DISK)).transpose()?,
        };
        // QEMU opens the memory for reading and writing, though it writes none of it.
        for (name, _) in record.sums().skip(1) {
            let path = dir.join(name);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o400))
                .map_err(|error| BoxliteError::io("protect", &path, &error))?;
        }
        let path = Self::path(dir);
        let json = serde_json::to_vec(&record).map_err(io::Error::from);
        json.and_then(|json| fs::write(&path, json))
            .map_err(|error| BoxliteError::io("write", &path, &error))?;
        record.note(dir);
        Ok(())
    }

    /// Whether the files are what they were: size and time of change each time, all of the content when that is new.
    pub(super) fn check(&self, dir: &Path) -> Result<(), String> {
        if Some(&dir.file_name().unwrap_or_default().to_string_lossy()[..]) != Some(&self.key[..]) {
            return Err(format!("{NAME} is of {}", self.key));
        }
        let now = self.stamps(dir)?;
        if fs::read_to_string(dir.join(CHECKED)).is_ok_and(|checked| checked == now) {
            return Ok(());
        }
        for (name, wanted) in self.sums() {
            let path = dir.join(name);
            let found = File::open(&path).and_then(|file| {
                // What has another length need not be read.
                if file.metadata()?.len() == wanted.bytes { sum::of(&file).map(Some) } else { Ok(None) }
            });
            match found {
                Ok(Some(sum)) if sum == *wanted => {}
                Ok(Some(_)) => return Err(format!("{name} is not what was written")),
                Ok(None) => return Err(format!("{name} has another length")),
                Err(error) => return Err(format!("{name}: {error}")),
            }
        }
        remembered::keep(&dir.join(CHECKED), now.as_bytes());
        Ok(())
    }

    /// The files have just been read through.
    fn note(&self, dir: &Path) {
        if let Ok(now) = self.stamps(dir) {
            remembered::keep(&dir.join(CHECKED), now.as_bytes());
        }
    }

    pub(super) fn has_disk(&self) -> bool {
        self.disk.is_some()
    }

    /// The files, memory first.
    fn sums(&self) -> impl Iterator<Item = (&'static str, &Sum)> {
        let always = [(files::RAM, &self.ram), (files::STATE, &self.state)];
        always.into_iter().chain(self.disk.iter().map(|disk| (files::BOX_DISK, disk)))
    }

    /// Changes when one of the files is another, or was written to.
    fn stamps(&self, dir: &Path) -> Result<String, String> {
        let mut stamps = String::new();
        for (name, _) in self.sums() {
            let metadata = fs::metadata(dir.join(name)).map_err(|error| format!("{name}: {error}"))?;
            let (inode, size) = (metadata.ino(), metadata.size());
            let (changed, nanoseconds) = (metadata.ctime(), metadata.ctime_nsec());
            stamps.push_str(&format!("{name} {inode} {size} {changed}.{nanoseconds:09}\n"));
        }
        Ok(stamps)
    }
}
