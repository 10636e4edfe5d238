//! References on disk: the last thing a pull writes, so an image with a record is complete.
//!
//! Owns `refs/*.json`; callers hold the store's lock while they write.

use std::path::{Path, PathBuf};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use super::blobs::{remove_if_there, write_file};
use crate::errors::{BoxliteError, BoxliteResult};
use crate::model::digest::Digest;

/// The directory of records.
#[derive(Clone, Debug)]
pub(super) struct Refs {
    dir: PathBuf,
    tmp: PathBuf,
}

/// One reference and what it led to when it was pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The normalised reference.
    pub reference: String,
    pub repository: String,
    pub tag: Option<String>,
    pub manifest: Digest,
    pub stored_at: DateTime<Utc>,
    /// What the local file looked like, for archives.
    pub stamp: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct RawRecord {
    reference: String,
    repository: String,
    tag: Option<String>,
    manifest: String,
    stored_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stamp: Option<String>,
}

impl Refs {
    pub(super) fn new(dir: PathBuf, tmp: PathBuf) -> Self {
        Self { dir, tmp }
    }

    /// References hold slashes and may be longer than a file name: the file is named by their hash.
    fn file_name(reference: &str) -> String {
        format!("{}.json", Digest::of(reference.as_bytes()).hex())
    }

    pub(super) fn read(&self, reference: &str) -> Option<Record> {
        read_record(&self.dir.join(Self::file_name(reference))).filter(|record| record.reference == reference)
    }

    /// All records, the newest first. Damaged ones are passed over: the next pull writes them anew.
    pub(super) fn list(&self) -> BoxliteResult<Vec<Record>> {
        let entries =
            std::fs::read_dir(&self.dir).map_err(|error| BoxliteError::io("read", &self.dir, &error))?;
        let mut records: Vec<Record> = entries.filter_map(|entry| read_record(&entry.ok()?.path())).collect();
        records.sort_by(|a, b| (b.stored_at, &a.reference).cmp(&(a.stored_at, &b.reference)));
        Ok(records)
    }

    pub(super) fn write(&self, record: &Record) -> BoxliteResult<()> {
        let raw = RawRecord {
            reference: record.reference.clone(),
            repository: record.repository.clone(),
            tag: record.tag.clone(),
            manifest: record.manifest.to_string(),
            stored_at: record.stored_at.to_rfc3339_opts(SecondsFormat::Nanos, true),
            stamp: record.stamp.clone(),
        };
        let name = Self::file_name(&record.reference);
        let json = serde_json::to_vec_pretty(&raw)
            .map_err(|error| BoxliteError::Internal(format!("cannot write a record: {error}").into()))?;
        write_file(&self.tmp.join(format!("store.{name}")), &self.dir.join(name), &json)
    }

    pub(super) fn remove(&self, reference: &str) -> BoxliteResult<()> {
        remove_if_there(&self.dir.join(Self::file_name(reference)))
    }
}

fn read_record(path: &Path) -> Option<Record> {
    let raw: RawRecord = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    Some(Record {
        manifest: Digest::parse(&raw.manifest).ok()?,
        stored_at: DateTime::parse_from_rfc3339(&raw.stored_at).ok()?.with_timezone(&Utc),
        reference: raw.reference,
        repository: raw.repository,
        tag: raw.tag,
        stamp: raw.stamp,
    })
}
