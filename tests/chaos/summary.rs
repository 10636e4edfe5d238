//! The figures of a run, as they are kept.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use crate::ledger::Ledger;
use crate::plan::Victim;
use crate::round::Played;

#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) seed: u64,
    pub(crate) kills: u64,
    pub(crate) violations: u64,
    kills_by_victim: BTreeMap<Victim, u64>,
    /// Faults other than kills, by kind.
    injections: BTreeMap<String, u64>,
    /// Rounds in which the planned victim never came to be.
    missed: u64,
    rounds: u64,
    /// Boxes by the state in which the runtime after a fault found them.
    states_found: BTreeMap<String, u64>,
    /// Errors that the programs saw, by kind. That there are some is the point of the exercise.
    errors_seen: BTreeMap<String, u64>,
    /// Running boxes that a full disk had made unusable until their next start.
    disks_given_up: u64,
    slowest_settling_ms: u64,
    duration_s: f64,
    #[serde(skip)]
    began: Instant,
}

impl Summary {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            kills: 0,
            violations: 0,
            kills_by_victim: BTreeMap::new(),
            injections: BTreeMap::new(),
            missed: 0,
            rounds: 0,
            states_found: BTreeMap::new(),
            errors_seen: BTreeMap::new(),
            disks_given_up: 0,
            slowest_settling_ms: 0,
            duration_s: 0.0,
            began: Instant::now(),
        }
    }

    /// Takes in a round; one line about it.
    pub(crate) fn add(&mut self, era: u64, round: usize, played: &Played, ledger: &Ledger) -> String {
        self.rounds += 1;
        self.kills += played.kills.len() as u64;
        for victim in &played.kills {
            *self.kills_by_victim.entry(*victim).or_default() += 1;
        }
        match played.injection {
            Some(kind) => *self.injections.entry(kind.to_owned()).or_default() += 1,
            None if played.kills.is_empty() => self.missed += 1,
            None => {}
        }
        for state in &played.states {
            *self.states_found.entry(state.clone()).or_default() += 1;
        }
        self.disks_given_up += played.disks_given_up;
        self.slowest_settling_ms = self.slowest_settling_ms.max(played.slowest_settling_ms);
        for (kind, count) in &ledger.errors {
            *self.errors_seen.entry(kind.clone()).or_default() += count;
        }
        self.violations += ledger.violations.len() as u64;
        let verdict = if ledger.violations.is_empty() { "ok" } else { "VIOLATED" };
        format!(
            "{:>6.1} s  {:>4} kills  era {era} round {round}: {:?} {} -> {:?} {verdict}",
            self.began.elapsed().as_secs_f64(),
            self.kills,
            played.kills,
            played.injection.unwrap_or_default(),
            played.states,
        )
    }

    /// The figures so far as JSON, written to `path` where one is given: a run that is cut off has its figures, too.
    pub(crate) fn write(&mut self, path: Option<&Path>) -> std::io::Result<String> {
        self.duration_s = (self.began.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        let json = serde_json::to_string_pretty(self)? + "\n";
        if let Some(path) = path {
            std::fs::write(path, &json)?;
        }
        Ok(json)
    }
}
