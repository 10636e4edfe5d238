//! What is stored about a box besides its row: the options it was made with, and what its image says about commands.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::db::BoxRow;
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::images::{self, ImageConfig};
use crate::model::options::{BoxOptions, RootfsSpec};

const DEFAULT_CPUS: u8 = 1;
const DEFAULT_MEMORY: MemoryMib = MemoryMib(512);
const DEFAULT_DISK_GB: u64 = 10;
/// The guest's kernel does not come up with less.
pub(crate) const LEAST_MEMORY: MemoryMib = MemoryMib(64);
/// More than that mke2fs and the engine do not handle without special options.
pub(crate) const MOST_DISK_GB: u32 = 16 * 1024;

/// Largest CPU share: more than any box has vCPUs.
pub(crate) const MOST_CPU_MILLIS: u32 = 256_000;
const DEFAULT_PATH: &[u8] = b"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An amount of memory in MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MemoryMib(pub(crate) u32);

/// Box options whose values need not be UTF-8; the public Rust type has only strings for them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct RawBoxExtras {
    /// Variables, after those of `BoxOptions::env`.
    pub(crate) env: Vec<(String, OsBytes)>,
    pub(crate) working_dir: Option<OsBytes>,
    pub(crate) rootfs_path: Option<OsBytes>,
}

/// Bytes that came from or go to the operating system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OsBytes(pub(crate) Vec<u8>);

impl From<OsString> for OsBytes {
    fn from(text: OsString) -> Self {
        Self(text.into_vec())
    }
}

/// Everything a box was made with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BoxSpec {
    pub(crate) options: BoxOptions,
    #[serde(default)]
    pub(crate) extras: RawBoxExtras,
}

/// Where the root file system comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rootfs {
    Image(String),
    Directory(PathBuf),
}

impl BoxSpec {
    /// The spec stored in `row`.
    pub(crate) fn of(row: &BoxRow) -> BoxliteResult<Self> {
        serde_json::from_str(&row.options).map_err(|error| damaged(row, "options", &error))
    }

    pub(crate) fn to_json(&self) -> BoxliteResult<String> {
        serde_json::to_string(self).map_err(|error| BoxliteError::Internal(error.to_string().into()))
    }

    pub(crate) fn cpus(&self) -> u8 {
        self.options.cpus.unwrap_or(DEFAULT_CPUS)
    }

    pub(crate) fn memory(&self) -> MemoryMib {
        self.options.memory_mib.map_or(DEFAULT_MEMORY, MemoryMib)
    }

    pub(crate) fn disk_size_gb(&self) -> u64 {
        self.options.disk_size_gb.unwrap_or(DEFAULT_DISK_GB)
    }

    pub(crate) fn rootfs(&self) -> Rootfs {
        match (&self.extras.rootfs_path, &self.options.rootfs) {
            (Some(path), _) => Rootfs::Directory(OsString::from_vec(path.0.clone()).into()),
            (None, RootfsSpec::RootfsPath(path)) => Rootfs::Directory(path.into()),
            (None, RootfsSpec::Image(reference)) => Rootfs::Image(reference.clone()),
        }
    }

    /// Resolves paths relative to the working directory, which may be another one when the box is started.
    pub(crate) fn make_absolute(&mut self) -> BoxliteResult<()> {
        if let RootfsSpec::Image(reference) = &mut self.options.rootfs {
            *reference = images::absolute_reference(reference)?;
        }
        if let Rootfs::Directory(path) = self.rootfs() {
            let absolute =
                std::path::absolute(&path).map_err(|error| BoxliteError::io("resolve", &path, &error))?;
            self.extras.rootfs_path = Some(absolute.into_os_string().into());
        }
        Ok(())
    }

    /// The image as a person would name it.
    pub(crate) fn image_name(&self) -> String {
        match self.rootfs() {
            Rootfs::Image(reference) => reference,
            Rootfs::Directory(path) => path.display().to_string(),
        }
    }
}

/// What of its image a box needs at each start and command; fixed by the first start, so that a tag that moves changes
/// no box.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct BoxImage {
    /// Names the image disk.
    pub(crate) manifest_digest: String,
    /// Path of the image disk, relative to the home.
    pub(crate) disk: PathBuf,
    pub(crate) env: Vec<String>,
    pub(crate) user: String,
    pub(crate) working_dir: String,
}

impl BoxImage {
    pub(crate) fn new(manifest_digest: String, disk: PathBuf, config: Option<&ImageConfig>) -> Self {
        let mut image = Self { manifest_digest, disk, ..Self::default() };
        if let Some(config) = config {
            image.env = config.env.clone();
            image.user = config.user.clone();
            image.working_dir = config.working_dir.clone();
        }
        image
    }

    /// The image stored in `row`, once it has been started.
    pub(crate) fn of(row: &BoxRow) -> BoxliteResult<Option<Self>> {
        row.image_json
            .as_deref()
            .map(|json| serde_json::from_str(json).map_err(|error| damaged(row, "image", &error)))
            .transpose()
    }

    pub(crate) fn to_json(&self) -> BoxliteResult<String> {
        serde_json::to_string(self).map_err(|error| BoxliteError::Internal(error.to_string().into()))
    }
}

fn damaged(row: &BoxRow, what: &str, error: &serde_json::Error) -> BoxliteError {
    BoxliteError::MetadataError(
        Detail::new(format!("the stored {what} of box {} can't be read: {error}", row.id))
            .subject(row.id.as_str())
            .hint("remove the box and create it again; its disk lies in the home's boxes directory"),
    )
}

/// The environment of a command: the image's, the box's, its own; the last of a name wins.
pub(crate) fn merge_env(image: &BoxImage, spec: &BoxSpec, own: &[(OsString, OsString)]) -> Vec<Vec<u8>> {
    let mut merged: Vec<Vec<u8>> = Vec::new();
    let mut put = |variable: Vec<u8>| {
        let name_end = variable.iter().position(|byte| *byte == b'=').map_or(variable.len(), |at| at + 1);
        merged.retain(|other| !other.starts_with(&variable[..name_end]));
        merged.push(variable);
    };
    put(DEFAULT_PATH.to_vec());
    for variable in &image.env {
        put(variable.as_bytes().to_vec());
    }
    for (name, value) in &spec.options.env {
        put([name.as_bytes(), b"=", value.as_bytes()].concat());
    }
    for (name, value) in &spec.extras.env {
        put([name.as_bytes(), b"=", &value.0].concat());
    }
    for (name, value) in own {
        put([name.as_bytes(), b"=", value.as_bytes()].concat());
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::options::DiskCache;

    #[test]
    fn options_stored_before_there_was_a_choice_of_cache_have_the_default() {
        let options = BoxOptions { disk_cache: DiskCache::Unsafe, ..BoxOptions::default() };
        let spec = BoxSpec { options, extras: RawBoxExtras::default() };
        let mut json: serde_json::Value = serde_json::from_str(&spec.to_json().unwrap()).unwrap();
        let read = |json: &serde_json::Value| {
            BoxSpec::deserialize(json).map(|spec| spec.options.disk_cache).unwrap()
        };
        assert_eq!(read(&json), DiskCache::Unsafe);
        json["options"].as_object_mut().unwrap().remove("disk_cache").unwrap();
        assert_eq!(read(&json), DiskCache::Writeback);
    }

    #[test]
    fn the_last_value_of_a_variable_wins_and_path_is_always_there() {
        let image = BoxImage { env: vec!["A=image".into(), "B=image".into()], ..BoxImage::default() };
        let options = BoxOptions { env: vec![("B".into(), "box".into())], ..BoxOptions::default() };
        let spec = BoxSpec { options, extras: RawBoxExtras::default() };
        let merged = merge_env(
            &image,
            &spec,
            &[("C".into(), OsString::from_vec(vec![0xff])), ("A".into(), "".into())],
        );
        assert_eq!(merged, [DEFAULT_PATH.to_vec(), b"B=box".to_vec(), b"C=\xff".to_vec(), b"A=".to_vec()]);
    }
}
