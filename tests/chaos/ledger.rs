//! What has been promised: which boxes must be there, which must not, and which files must be in them.
//!
//! Learns only from what the programs said. Where an act was cut off, both outcomes are right, and nothing is promised.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::plan::{Act, Program};
use crate::report::{Event, Failure, Listed, Outcome};

/// How long a box may outlive its owner: ten seconds, and some more where the machine has no time for it.
const AFTER_OWNER: Duration = Duration::from_secs(30);
/// Kinds of errors that no caller who does nothing wrong may ever see, however many processes are killed.
const NEVER: [&str; 8] =
    ["Internal", "Panic", "Database", "MetadataError", "Unsupported", "Config", "InvalidArgument", "Forked"];

/// One box.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) id: Option<String>,
    pub(crate) detach: bool,
    auto_remove: bool,
    created: bool,
    refused: bool,
    /// Removals that were begun and neither done nor refused.
    removals: u32,
    removed: bool,
    /// Synced files.
    files: BTreeMap<u64, u32>,
    /// Files that were written, not synced.
    loose: BTreeMap<u64, u32>,
    /// Of those, the ones that were written before a stop that has returned.
    stopped_over: BTreeMap<u64, u32>,
    /// Who may have started it in this round.
    starters: BTreeSet<usize>,
    /// Its shim, as last heard of.
    running: Option<u32>,
    /// A stop, a removal or an injury may have ended it in this round.
    disturbed: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: Vec<Entry>,
    /// Errors that callers saw in this round, by kind.
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) violations: Vec<String>,
}

impl Ledger {
    /// Ids of all boxes that ever were.
    pub(crate) fn ids(&self) -> BTreeSet<String> {
        self.entries.iter().filter_map(|entry| entry.id.clone()).collect()
    }

    pub(crate) fn violated(&mut self, what: String) {
        self.violations.push(what);
    }

    pub(crate) fn begin_round(&mut self) {
        self.errors.clear();
        for entry in &mut self.entries {
            entry.starters.clear();
            entry.disturbed = false;
        }
    }

    /// Takes in what program number `number` said.
    pub(crate) fn hear(&mut self, number: usize, program: &Program, event: &Event) {
        match event {
            Event::Begin { step } => {
                if let Act::Create { name, detach, auto_remove } = &program.steps[*step].act {
                    self.entries.push(Entry {
                        name: name.clone(),
                        detach: *detach,
                        auto_remove: *auto_remove,
                        ..Entry::default()
                    });
                }
            }
            Event::Acting { step, id, name } => {
                if self.recognise(id, name) {
                    self.acting(number, &program.steps[*step].act, id);
                } else {
                    self.violated(format!("box {id} ({name}) was found although nobody has created it"));
                }
            }
            Event::Done { step, few_files, outcome } => {
                self.done(&program.steps[*step].act, outcome);
                if let Outcome::Failed(failure) = outcome {
                    self.judge_error(failure, *few_files);
                }
            }
            Event::NotOpened(failure) => self.judge_error(failure, true),
            Event::Violated(what) => self.violated(format!("program {number}: {what}")),
            _ => {}
        }
    }

    fn acting(&mut self, number: usize, act: &Act, id: &str) {
        let Some(entry) = self.entry(id) else { return };
        match act {
            Act::Start(_) | Act::Write { .. } => {
                entry.starters.insert(number);
            }
            Act::Stop(_) => {
                entry.disturbed = true;
                entry.removals += u32::from(entry.auto_remove);
            }
            Act::Remove { .. } => {
                entry.disturbed = true;
                entry.removals += 1;
            }
            _ => {}
        }
    }

    fn done(&mut self, act: &Act, outcome: &Outcome) {
        if let Act::Create { name, .. } = act
            && let Some(entry) = self.entries.iter_mut().find(|entry| entry.name == *name)
        {
            match outcome {
                Outcome::Ok { id, .. } => (entry.id, entry.created) = (id.clone(), true),
                _ => entry.refused = true,
            }
            return;
        }
        let Outcome::Ok { id: Some(id), pid } = outcome else {
            if let (Act::Remove { .. }, Outcome::Failed(failure)) = (act, outcome)
                && failure.kind == "InvalidState"
            {
                self.take_back_removal(failure);
            }
            return;
        };
        let Some(entry) = self.entry(id) else { return };
        match act {
            Act::Start(_) => entry.running = *pid,
            Act::Write { file, size, synced, .. } => {
                entry.running = *pid;
                if *synced { &mut entry.files } else { &mut entry.loose }.insert(*file, *size);
            }
            Act::Stop(_) => {
                let written = std::mem::take(&mut entry.loose);
                entry.stopped_over.extend(written);
                entry.removed |= entry.auto_remove;
            }
            Act::Remove { .. } => entry.removed = true,
            _ => {}
        }
    }

    /// An active box that was to be removed without force stays.
    fn take_back_removal(&mut self, failure: &Failure) {
        let refused = self
            .entries
            .iter_mut()
            .find(|entry| entry.id.as_ref().is_some_and(|id| failure.message.contains(id.as_str())));
        if let Some(entry) = refused {
            entry.removals = entry.removals.saturating_sub(1);
        }
    }

    fn judge_error(&mut self, failure: &Failure, starved: bool) {
        *self.errors.entry(failure.kind.clone()).or_default() += 1;
        let ran_out =
            matches!(failure.errno, Some(libc::ENOSPC | libc::EMFILE | libc::ENFILE | libc::EDQUOT));
        let told = failure.message.contains("os error 24") || failure.message.contains("os error 28");
        if NEVER.contains(&failure.kind.as_str()) {
            self.violated(format!("an error of the wrong kind (few files: {starved}): {failure:?}"));
        } else if (ran_out || told) && failure.kind != "ResourceExhausted" {
            self.violated(format!("an error that hides what ran out: {failure:?}"));
        }
        if failure.message.is_empty() || failure.hint.is_empty() {
            self.violated(format!("an error without a message or a hint: {failure:?}"));
        }
    }

    /// The box with this id was hurt.
    pub(crate) fn injured(&mut self, id: &str) {
        if let Some(entry) = self.entry(id) {
            entry.disturbed = true;
            entry.loose.clear();
            entry.stopped_over.clear();
        }
    }

    /// The disk was full: what was not synced may be lost, and any machine may have come to its end.
    pub(crate) fn all_injured(&mut self) {
        for id in self.ids() {
            self.injured(&id);
        }
    }

    /// A box was removed by the examiner.
    pub(crate) fn removed(&mut self, id: &str) {
        if let Some(entry) = self.entry(id) {
            entry.removed = true;
        }
    }

    fn entry(&mut self, id: &str) -> Option<&mut Entry> {
        if let Some(place) = self.entries.iter().position(|entry| entry.id.as_deref() == Some(id)) {
            return self.entries.get_mut(place);
        }
        None
    }

    /// When each box that isn't detached must have no process any more, given when its starters ended.
    pub(crate) fn must_be_gone(&self, ended: &[Instant]) -> Vec<(String, Instant)> {
        let attached = self.entries.iter().filter(|entry| !entry.detach);
        attached
            .filter_map(|entry| {
                let last = entry.starters.iter().filter_map(|starter| ended.get(*starter)).max()?;
                Some((entry.id.clone()?, *last + AFTER_OWNER))
            })
            .collect()
    }

    /// A box that was listed or met without its creation having been acknowledged: its creator was cut off.
    pub(crate) fn recognise(&mut self, id: &str, name: &str) -> bool {
        if self.entry(id).is_some() {
            return true;
        }
        let unanswered = |entry: &&mut Entry| entry.name == name && entry.id.is_none() && !entry.refused;
        match self.entries.iter_mut().find(unanswered) {
            Some(entry) => {
                entry.id = Some(id.to_owned());
                true
            }
            None => false,
        }
    }

    /// Compares what a fresh runtime lists with what was promised.
    pub(crate) fn compare(&mut self, listed: &[Listed]) {
        let mut wrong = Vec::new();
        for found in listed {
            if !self.recognise(&found.id, &found.name) {
                wrong.push(format!("there is a box {} ({}) that nobody has created", found.id, found.name));
            }
            if !["configured", "running", "stopped", "failed"].contains(&found.status.as_str()) {
                wrong.push(format!("box {} is {}, which is no settled state", found.id, found.status));
            }
        }
        for entry in &mut self.entries {
            let found = listed.iter().find(|found| Some(&found.id) == entry.id.as_ref());
            entry.judge(found, &mut wrong);
            entry.running = found.filter(|found| found.status == "running").and_then(|found| found.pid);
            let settled = std::mem::take(&mut entry.stopped_over);
            entry.files.extend(settled);
            entry.loose.clear();
        }
        self.violations.append(&mut wrong);
    }

    /// The files that must be in each of the boxes listed.
    pub(crate) fn files(&self) -> BTreeMap<String, BTreeMap<u64, u32>> {
        let there = self.entries.iter().filter(|entry| !entry.removed);
        there.filter_map(|entry| Some((entry.id.clone()?, self.files_of(entry)))).collect()
    }

    fn files_of(&self, entry: &Entry) -> BTreeMap<u64, u32> {
        entry.files.iter().chain(&entry.stopped_over).map(|(file, size)| (*file, *size)).collect()
    }
}

impl Entry {
    fn judge(&self, found: Option<&Listed>, wrong: &mut Vec<String>) {
        let label = format!("box {} ({})", self.id.as_deref().unwrap_or("without id"), self.name);
        // Its owner is gone: all programs have ended.
        let doomed = self.removed || self.auto_remove;
        match found {
            Some(_) if self.refused => wrong.push(format!("{label} exists although its creation failed")),
            Some(_) if self.removed => wrong.push(format!("{label} exists although it was removed")),
            Some(_) if self.auto_remove => {
                wrong.push(format!("{label} exists although it is auto_remove and its owner is gone"));
            }
            None if self.created && self.removals == 0 && !doomed => {
                wrong.push(format!("{label} is gone although nobody removed it"));
            }
            Some(found) if !self.detach && found.status == "running" => {
                wrong.push(format!("{label} runs although its owner is gone"));
            }
            Some(found)
                if self.detach && !self.disturbed && self.running.is_some() && found.pid != self.running =>
            {
                wrong.push(format!(
                    "{label} is detached and ran as process {:?}; it is {} with process {:?}",
                    self.running, found.status, found.pid
                ));
            }
            _ => {}
        }
    }
}
