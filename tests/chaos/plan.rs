//! From a seed to what is done: eras of rounds, in each round some programs and one injury.
//!
//! Pure functions of the seed. An era begins with an empty home; its rounds share it, so that each finds what the one
//! before has left. Eras know nothing of each other: any can be repeated alone.

use serde::{Deserialize, Serialize};

use crate::rng::Rng;

/// Rounds of an era.
pub(crate) const ROUNDS: usize = 8;
/// One era in so many has its home on a small disk, which is filled in some of its rounds.
const SMALL_DISK_EVERY: u64 = 4;

/// A home's life.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Era {
    pub(crate) number: u64,
    pub(crate) small_disk: bool,
    pub(crate) rounds: Vec<Round>,
}

/// Programs that run at once, one injury, and what is asked afterwards.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Round {
    pub(crate) programs: Vec<Program>,
    pub(crate) injury: Injury,
    pub(crate) moment: Moment,
    /// A runtime that recovers from the injury is killed so many microseconds after it began.
    pub(crate) recovery_killed_us: Option<u64>,
    /// The next runtime opens while boxes may still be on their way out.
    pub(crate) look_at_once: bool,
    /// Boxes that stay for the next round.
    pub(crate) keep: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Injury {
    /// The choice picks one where there are several.
    Kill { victim: Victim, choice: u64 },
    /// The home's disk is full for so long.
    FullDisk { for_ms: u64 },
    /// One program may open no more files for a while: its own steps say when.
    FewFiles,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Victim {
    Embedder,
    Shim,
    Engine,
    Agent,
    /// A runtime while it opens the home.
    Recovery,
}

/// When the injury comes: so long after an event of one of the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) program: usize,
    pub(crate) after: After,
    pub(crate) delay_us: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// The program begins to open its runtime.
    Opening,
    /// It begins this step.
    Step(usize),
    /// Any shim is seen.
    Shim,
}

/// What one process does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Program {
    /// Runtimes that it opens on the home at once.
    pub(crate) runtimes: usize,
    pub(crate) steps: Vec<Step>,
    pub(crate) ending: Ending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ending {
    /// Its runtimes are dropped, then it exits.
    Drop,
    /// Its runtimes are shut down first.
    Shutdown,
    /// It exits with its runtimes open.
    Exit,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Step {
    /// Which of the program's runtimes.
    pub(crate) runtime: usize,
    pub(crate) act: Act,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Act {
    Create {
        name: String,
        detach: bool,
        auto_remove: bool,
    },
    Start(Target),
    /// A file is written by a command, and synced or not.
    Write {
        target: Target,
        file: u64,
        size: u32,
        synced: bool,
    },
    Stop(Target),
    Remove {
        target: Target,
        force: bool,
    },
    List,
    Get(Target),
    Pull,
    /// The boxes' template is made, if there is none.
    Prepare,
    /// The runtime is dropped and a new one opened.
    Reopen,
    /// From here on the process may open so many files more than it has open now.
    FewFiles(u64),
    /// From here on as many as before.
    ManyFiles,
}

/// Which box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Target {
    Named(String),
    /// The one at this place of the list, counted around.
    Listed(usize),
}

impl Era {
    /// Era `number` of `seed`.
    pub(crate) fn new(seed: u64, number: u64) -> Self {
        Self::on_disk(seed, number, number % SMALL_DISK_EVERY == SMALL_DISK_EVERY / 2)
    }

    /// The same where no small disk can be had: killed only.
    pub(crate) fn without_small_disk(seed: u64, number: u64) -> Self {
        Self::on_disk(seed, number, false)
    }

    fn on_disk(seed: u64, number: u64, small_disk: bool) -> Self {
        let mut rng = Rng::new(seed, number);
        let rounds = (0..ROUNDS).map(|round| Round::new(&mut rng, number, round, small_disk)).collect();
        Self { number, small_disk, rounds }
    }
}

impl Round {
    fn new(rng: &mut Rng, era: u64, round: usize, small_disk: bool) -> Self {
        let injury = injury(rng, small_disk);
        let count = rng.weighted(&[(6, 1), (4, 2)]);
        let mut programs: Vec<Program> = (0..count)
            .map(|program| Program::new(rng, era, round, program, injury == Injury::FewFiles && program == 0))
            .collect();
        let of_a_box = match injury {
            Injury::Kill { victim, .. } => matches!(victim, Victim::Shim | Victim::Engine | Victim::Agent),
            Injury::FullDisk { .. } => true,
            Injury::FewFiles => false,
        };
        if of_a_box {
            programs[0].make_sure_of_a_victim(rng, era, round);
        }
        let moment = if of_a_box { Moment::of_a_box(rng, &programs[0]) } else { Moment::new(rng, &programs) };
        Self {
            programs,
            injury,
            moment,
            recovery_killed_us: (rng.percent(15) && injury != Injury::FewFiles)
                .then(|| rng.spread(50, 60_000)),
            look_at_once: rng.percent(50),
            keep: rng.weighted(&[(2, 0), (5, 1), (3, 2)]),
        }
    }
}

fn injury(rng: &mut Rng, small_disk: bool) -> Injury {
    let full = if small_disk { 50 } else { 0 };
    let choice = rng.next() >> 1;
    let kill = |victim| Injury::Kill { victim, choice };
    let for_ms = rng.spread(20, 4_000);
    rng.weighted(&[
        (full, Injury::FullDisk { for_ms }),
        (12, Injury::FewFiles),
        (30, kill(Victim::Embedder)),
        (22, kill(Victim::Shim)),
        (22, kill(Victim::Engine)),
        (18, kill(Victim::Agent)),
    ])
}

impl Moment {
    fn new(rng: &mut Rng, programs: &[Program]) -> Self {
        let program = rng.below(programs.len() as u64) as usize;
        let step = rng.below(programs[program].steps.len() as u64) as usize;
        let after = rng.weighted(&[(20, After::Opening), (15, After::Shim), (65, After::Step(step))]);
        Self::some_time(rng, program, after, &programs[program])
    }

    /// One at which a box of `program` runs, is on its way up or, while others use it, down.
    fn of_a_box(rng: &mut Rng, program: &Program) -> Self {
        let starts: Vec<usize> = (0..program.steps.len()).filter(|step| program.starts_own(*step)).collect();
        let step = starts[rng.below(starts.len() as u64) as usize];
        let end = (step + 1 + rng.below(2) as usize).min(program.steps.len() - 1);
        let after = rng.weighted(&[(30, After::Shim), (55, After::Step(step)), (15, After::Step(end))]);
        Self::some_time(rng, 0, after, program)
    }

    fn some_time(rng: &mut Rng, program: usize, after: After, of: &Program) -> Self {
        let longest_us = match after {
            After::Opening => 50_000,
            After::Shim => 3_000,
            After::Step(step) => of.steps[step].act.usual_us(),
        };
        // Half of them anywhere in the step, half of them early, where things are made and written down.
        let delay_us = if rng.percent(50) { rng.below(longest_us) } else { rng.spread(50, longest_us) };
        Self { program, after, delay_us }
    }
}

impl Act {
    /// What it takes on a machine of two cores, about.
    fn usual_us(&self) -> u64 {
        match self {
            Self::Start(_) => 1_400_000,
            Self::Write { .. } => 1_600_000,
            Self::Stop(_) => 400_000,
            Self::Remove { .. } => 400_000,
            Self::Pull => 60_000,
            Self::Prepare => 1_500_000,
            Self::Reopen => 200_000,
            Self::Create { .. } | Self::List | Self::Get(_) | Self::FewFiles(_) | Self::ManyFiles => 8_000,
        }
    }
}

impl Program {
    fn new(rng: &mut Rng, era: u64, round: usize, program: usize, few_files: bool) -> Self {
        let runtimes = rng.weighted(&[(4, 1), (1, 2)]);
        let mut own: Vec<String> = Vec::new();
        let mut steps = Vec::new();
        for index in 0..rng.weighted(&[(3, 4), (4, 5), (2, 7)]) {
            let kind = match index {
                0 => rng.weighted(&[
                    (70, Kind::Create),
                    (15, Kind::Prepare),
                    (5, Kind::Pull),
                    (10, Kind::Write),
                ]),
                1 => rng.weighted(&[(60, Kind::Write), (30, Kind::Start), (10, Kind::Remove)]),
                _ => rng.weighted(&[
                    (30, Kind::Write),
                    (12, Kind::Stop),
                    (12, Kind::Remove),
                    (8, Kind::Start),
                    (if own.len() < 2 { 10 } else { 0 }, Kind::Create),
                    (5, Kind::List),
                    (5, Kind::Get),
                    (6, Kind::Pull),
                    (8, Kind::Reopen),
                ]),
            };
            let act = kind.act(rng, &mut own, &format!("e{era}r{round}p{program}"));
            steps.push(Step { runtime: rng.below(runtimes as u64) as usize, act });
        }
        if few_files {
            let from = rng.below(2) as usize;
            let to = from + 1 + rng.below((steps.len() - from) as u64) as usize;
            steps.insert(to, Step { runtime: 0, act: Act::ManyFiles });
            steps.insert(from, Step { runtime: 0, act: Act::FewFiles(rng.below(8)) });
        }
        let ending = rng.weighted(&[(5, Ending::Drop), (2, Ending::Shutdown), (3, Ending::Exit)]);
        Self { runtimes, steps, ending }
    }

    /// A program in which no box runs has no shim to kill.
    fn make_sure_of_a_victim(&mut self, rng: &mut Rng, era: u64, round: usize) {
        if (0..self.steps.len()).any(|step| self.starts_own(step)) {
            return;
        }
        let name = format!("e{era}r{round}v");
        let create = Kind::Create.act(rng, &mut Vec::new(), &name);
        let start = Act::Start(Target::Named(format!("{name}b0")));
        self.steps.splice(0..0, [create, start].map(|act| Step { runtime: 0, act }));
    }

    /// Whether the step starts a box that the step before has used or made.
    fn starts_own(&self, step: usize) -> bool {
        let before = step.checked_sub(1).map(|before| &self.steps[before].act);
        let used = match before {
            Some(Act::Create { name, .. }) => Some(name),
            Some(Act::Start(Target::Named(name)) | Act::Write { target: Target::Named(name), .. }) => {
                Some(name)
            }
            _ => None,
        };
        match &self.steps[step].act {
            Act::Start(Target::Named(name)) | Act::Write { target: Target::Named(name), .. } => {
                used == Some(name)
            }
            _ => false,
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Create,
    Start,
    Write,
    Stop,
    Remove,
    List,
    Get,
    Pull,
    Prepare,
    Reopen,
}

impl Kind {
    fn act(self, rng: &mut Rng, own: &mut Vec<String>, prefix: &str) -> Act {
        match self {
            Self::Create => {
                let name = format!("{prefix}b{}", own.len());
                own.push(name.clone());
                let detach = rng.percent(40);
                Act::Create { name, detach, auto_remove: !detach && rng.percent(35) }
            }
            Self::Start => Act::Start(target(rng, own)),
            Self::Write => Act::Write {
                target: target(rng, own),
                file: rng.next() >> 16,
                size: rng.spread(1, 200_000) as u32,
                synced: rng.percent(75),
            },
            Self::Stop => Act::Stop(target(rng, own)),
            Self::Remove => Act::Remove { target: target(rng, own), force: rng.percent(70) },
            Self::List => Act::List,
            Self::Get => Act::Get(target(rng, own)),
            Self::Pull => Act::Pull,
            Self::Prepare => Act::Prepare,
            Self::Reopen => Act::Reopen,
        }
    }
}

fn target(rng: &mut Rng, own: &[String]) -> Target {
    let any = rng.below(4) as usize;
    match own {
        [] => Target::Listed(any),
        _ if rng.percent(20) => Target::Listed(any),
        _ => Target::Named(own[rng.below(own.len() as u64) as usize].clone()),
    }
}
