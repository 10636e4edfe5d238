//! Kills one process, or fills the disk, at the planned moment.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::agent;
use crate::children::Running;
use crate::disk::SmallDisk;
use crate::ledger::Ledger;
use crate::plan::{After, Injury, Moment, Round, Victim};
use crate::processes::{self, Part, Process};
use crate::report::Event;

/// Between two looks for a victim that isn't there yet.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// Between two helpings of the filler, while the disk is to be full.
const FILL_AGAIN: Duration = Duration::from_millis(5);

/// How far the injury of a round has come.
pub(crate) enum Stage {
    Waiting,
    /// The moment's event has come.
    Due(Instant),
    /// The disk is full until then.
    Filled(Instant),
    Done,
}

/// The injury of one round.
pub(crate) struct Injurer<'a> {
    injury: Injury,
    moment: Moment,
    disk: Option<&'a SmallDisk>,
    boxes: PathBuf,
    stage: Stage,
    /// What was done, for the report.
    pub(crate) done: Option<String>,
}

impl<'a> Injurer<'a> {
    pub(crate) fn new(round: &Round, disk: Option<&'a SmallDisk>, boxes: PathBuf) -> Self {
        Self { injury: round.injury, moment: round.moment, disk, boxes, stage: Stage::Waiting, done: None }
    }

    /// A program has said something.
    pub(crate) fn hear(&mut self, number: usize, at: Instant, event: &Event) {
        if number != self.moment.program {
            return;
        }
        let reached = match (&self.stage, self.moment.after, event) {
            // Its time was too short for the moment: now, while it goes.
            (Stage::Waiting | Stage::Due(_), _, Event::Finished) => {
                self.stage = Stage::Due(at);
                return;
            }
            (Stage::Waiting, After::Opening, Event::Opening) => true,
            (Stage::Waiting, After::Step(wanted), Event::Begin { step }) => *step == wanted,
            _ => false,
        };
        if reached {
            self.stage = Stage::Due(at + Duration::from_micros(self.moment.delay_us));
        }
    }

    /// How long nothing has to be done.
    pub(crate) fn patience(&self) -> Duration {
        let until = |at: Instant| at.saturating_duration_since(Instant::now());
        match self.stage {
            Stage::Waiting if self.moment.after == After::Shim => LOOK_AGAIN,
            Stage::Due(at) => until(at).max(Duration::from_micros(100)),
            Stage::Filled(at) => until(at).min(FILL_AGAIN),
            Stage::Waiting | Stage::Done => Duration::from_millis(200),
        }
    }

    /// Does what is due. True once, when it is done.
    pub(crate) fn act(&mut self, programs: &mut [Running], ledger: &mut Ledger) -> bool {
        match self.stage {
            Stage::Waiting
                if self.moment.after == After::Shim
                    && processes::naming(&ledger.ids()).iter().any(|process| process.part == Part::Shim) =>
            {
                self.stage = Stage::Due(Instant::now() + Duration::from_micros(self.moment.delay_us));
            }
            Stage::Due(at) if at <= Instant::now() => {
                let done = match self.injury {
                    Injury::Kill { victim, choice } => self.kill(victim, choice, programs, ledger),
                    Injury::FullDisk { for_ms } => return self.fill(for_ms),
                    Injury::FewFiles => Some("few files".to_owned()),
                };
                match done {
                    Some(done) => {
                        self.done = Some(done);
                        self.stage = Stage::Done;
                        return true;
                    }
                    // The victim isn't there yet.
                    None => self.stage = Stage::Due(Instant::now() + LOOK_AGAIN),
                }
            }
            Stage::Filled(until) => {
                let disk = self.disk.expect("only a small disk is filled");
                if until <= Instant::now() {
                    disk.release();
                    self.stage = Stage::Done;
                    return true;
                }
                disk.fill();
            }
            _ => {}
        }
        false
    }

    /// The programs have ended.
    pub(crate) fn end(&mut self) {
        if let (Some(disk), Stage::Filled(_)) = (self.disk, &self.stage) {
            disk.release();
        }
    }

    fn fill(&mut self, for_ms: u64) -> bool {
        self.disk.expect("only a small disk is filled").fill();
        self.done = Some(format!("full disk for {for_ms} ms"));
        self.stage = Stage::Filled(Instant::now() + Duration::from_millis(for_ms));
        false
    }

    fn kill(
        &self,
        victim: Victim,
        choice: u64,
        programs: &mut [Running],
        ledger: &mut Ledger,
    ) -> Option<String> {
        match victim {
            Victim::Embedder | Victim::Recovery => {
                let count = programs.len();
                let mut from_here = (0..count).map(|offset| (self.moment.program + offset) % count);
                let number = from_here.find(|number| programs[*number].is_running())?;
                let pid = programs[number].child.id();
                programs[number].kill().then(|| format!("program {number} (process {pid})"))
            }
            Victim::Shim => self.kill_part(Part::Shim, choice, ledger),
            Victim::Engine => self.kill_part(Part::Engine, choice, ledger),
            Victim::Agent => {
                let ids: Vec<String> = ledger.ids().into_iter().filter(|id| self.socket(id)).collect();
                let id = pick(&ids, choice)?;
                agent::abort(&self.boxes.join(id)).then(|| {
                    ledger.injured(id);
                    format!("the agent of box {id}")
                })
            }
        }
    }

    fn kill_part(&self, part: Part, choice: u64, ledger: &mut Ledger) -> Option<String> {
        let found: Vec<Process> =
            processes::naming(&ledger.ids()).into_iter().filter(|process| process.part == part).collect();
        let process = pick(&found, choice)?;
        processes::kill(process).then(|| {
            ledger.injured(&process.id);
            format!("{part:?} {} of box {}", process.pid, process.id)
        })
    }

    fn socket(&self, id: &str) -> bool {
        fs::symlink_metadata(self.boxes.join(id).join("agent.sock")).is_ok()
    }
}

fn pick<T>(from: &[T], choice: u64) -> Option<&T> {
    from.get((choice % (from.len().max(1) as u64)) as usize)
}
