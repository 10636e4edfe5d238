//! `box.json`: what a box's row says and nothing else in its directory does, kept beside the disk, so that a lost row
//! can be made anew. Read by a repair only: as long as there is a row, the row counts.

use std::fs;

use serde::{Deserialize, Serialize};

use crate::db::{BoxRow, BoxState};
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::layout::BoxLayout;
use crate::litebox::core::OwnerIdentity;
use crate::litebox::spec::{BoxImage, BoxSpec};
use crate::model::id::BoxID;
use crate::replace::replace_file;

/// Of the form below; fields are only added.
const FORMAT: u32 = 1;

/// A box as its directory remembers it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BoxRecord {
    format: u32,
    id: BoxID,
    name: Option<String>,
    created_ns: i64,
    /// When it last came up; none before it first did.
    started_ns: Option<i64>,
    spec: BoxSpec,
    image: BoxImage,
    engine: Option<String>,
    owner_pid: u32,
    owner_start: Option<u64>,
}

impl BoxRecord {
    /// What is to be remembered of a box that is being started by `owner` from `image`.
    pub(crate) fn of(row: &BoxRow, spec: &BoxSpec, image: &BoxImage, owner: OwnerIdentity) -> Self {
        Self {
            format: FORMAT,
            id: row.id.clone(),
            name: row.name.clone(),
            created_ns: row.created_ns,
            started_ns: row.started_ns,
            spec: spec.clone(),
            image: image.clone(),
            engine: row.engine.clone(),
            owner_pid: owner.pid,
            owner_start: owner.start_time,
        }
    }

    /// The same, of a box that has just come up on `engine`.
    pub(crate) fn started(self, now_ns: i64, engine: &str) -> Self {
        Self { started_ns: Some(now_ns), engine: Some(engine.to_owned()), ..self }
    }

    pub(crate) fn write(&self, paths: &BoxLayout) -> BoxliteResult<()> {
        let path = paths.record();
        let json =
            serde_json::to_vec(self).map_err(|error| BoxliteError::Internal(error.to_string().into()))?;
        replace_file(&path, &json).map_err(|error| BoxliteError::io("write", &path, &error))
    }

    /// The record of the box `id`.
    pub(crate) fn read(id: &BoxID, paths: &BoxLayout) -> BoxliteResult<Self> {
        let path = paths.record();
        let damaged = |how: String| {
            BoxliteError::MetadataError(
                Detail::new(format!("{} {how}", path.display())).subject(path.display().to_string()),
            )
        };
        let json = fs::read(&path).map_err(|error| BoxliteError::io("read", &path, &error))?;
        let record: Self = serde_json::from_slice(&json)
            .map_err(|error| damaged(format!("can't be understood: {error}")))?;
        if record.id != *id {
            return Err(damaged(format!("is that of box {}", record.id)));
        }
        Ok(record)
    }

    /// The row that the box had, as far as it is known. A box that has run is taken to be running: the next opening of
    /// the home finds its shim or settles its end.
    pub(crate) fn to_row(&self) -> BoxliteResult<BoxRow> {
        let has_run = self.started_ns.is_some();
        Ok(BoxRow {
            id: self.id.clone(),
            name: self.name.clone(),
            created_ns: self.created_ns,
            updated_ns: self.started_ns.unwrap_or(self.created_ns),
            started_ns: self.started_ns,
            state: if has_run { BoxState::Running } else { BoxState::Configured },
            options: self.spec.to_json()?,
            image_json: has_run.then(|| self.image.to_json()).transpose()?,
            pid: None,
            pid_start: None,
            owner_pid: self.owner_pid,
            owner_start: self.owner_start,
            engine: self.engine.clone(),
            exit_code: None,
            failure: None,
        })
    }
}
