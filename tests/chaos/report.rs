//! What the program's processes say to each other: one JSON object a line, over pipes.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use boxlite::BoxliteError;
use serde::{Deserialize, Serialize};

use crate::plan::Program;

/// What a child is to do; the first line of its stdin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Run a program of operations. The end of stdin means: no more than a few steps more.
    Work { home: PathBuf, image: String, program: Program },
    /// Open the home and wait for the end.
    Open { home: PathBuf },
    /// Look whether the home is consistent.
    Examine(Examination),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Examination {
    pub(crate) home: PathBuf,
    pub(crate) image: String,
    /// By box id: the files that must be in it, by number, with their sizes.
    pub(crate) files: BTreeMap<String, BTreeMap<u64, u32>>,
    /// Boxes that stay; the older ones are removed.
    pub(crate) keep: usize,
    /// Name of a box that has never been.
    pub(crate) fresh_name: String,
    /// The disk may have been full.
    pub(crate) small_disk: bool,
}

/// What a child says. Everything is said after it is so, except that `Opening`, `Begin` and `Acting` come before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Event {
    Opening,
    Opened,
    Begin {
        step: usize,
    },
    /// The step is about to act on this box.
    Acting {
        step: usize,
        id: String,
        name: String,
    },
    Done {
        step: usize,
        few_files: bool,
        outcome: Outcome,
    },
    /// A runtime did not open.
    NotOpened(Failure),
    /// All boxes are settled, or the time for that is over.
    Listed {
        boxes: Vec<Listed>,
        settled_ms: u64,
    },
    /// A promise that was not kept.
    Violated(String),
    /// A running box can't use its disk any more; it is started anew.
    GaveUpDisk {
        id: String,
    },
    /// A box was removed to make room.
    Removed {
        id: String,
    },
    Finished,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Ok {
        id: Option<String>,
        pid: Option<u32>,
    },
    /// There was no such box.
    NoBox,
    /// A command in the box ended badly.
    BadExit(i32),
    Failed(Failure),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) kind: String,
    pub(crate) message: String,
    pub(crate) hint: String,
    pub(crate) errno: Option<i32>,
}

impl From<&BoxliteError> for Failure {
    fn from(error: &BoxliteError) -> Self {
        let code = error.code();
        let kind =
            BoxliteError::CODES.iter().find(|(_, number)| *number == code).map_or("?", |(name, _)| name);
        Self {
            kind: kind.to_owned(),
            message: error.to_string(),
            hint: error.hint().to_owned(),
            errno: error.os_errno(),
        }
    }
}

/// A box as a runtime lists it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Listed {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) pid: Option<u32>,
    pub(crate) failure: Option<String>,
}

/// Says `event` in one write, so that a kill never leaves half a line before a whole one.
pub(crate) fn say(event: &Event) {
    let mut line = serde_json::to_vec(event).expect("an event is JSON");
    line.push(b'\n');
    // Who doesn't listen any more has ended the run.
    let _ = io::stdout().write_all(&line);
    let _ = io::stdout().flush();
}
