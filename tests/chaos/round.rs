//! One round: the programs run, one is hurt, all end; then the home is looked at.

use std::collections::BTreeSet;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use crate::children::{Heard, Running};
use crate::disk;
use crate::era::Scene;
use crate::home;
use crate::injure::Injurer;
use crate::ledger::Ledger;
use crate::plan::{Injury, Round, Victim};
use crate::processes::{self, Part};
use crate::report::{Event, Examination, Listed, Order};

/// No program and no examination takes longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(300);
/// What is being ended is gone by then.
const SETTLING: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// What came of a round.
#[derive(Debug, Default)]
pub(crate) struct Played {
    pub(crate) kills: Vec<Victim>,
    pub(crate) injection: Option<&'static str>,
    /// The states in which the next runtime found the boxes.
    pub(crate) states: Vec<String>,
    /// Running boxes whose file system had not survived a full disk until their next start.
    pub(crate) disks_given_up: u64,
    pub(crate) slowest_settling_ms: u64,
    /// What happened, in order.
    pub(crate) history: Vec<String>,
}

pub(crate) struct Stage<'a> {
    scene: &'a Scene,
    round: &'a Round,
    number: usize,
    ledger: &'a mut Ledger,
    played: Played,
    began: Instant,
}

/// Plays `round`.
pub(crate) fn play(scene: &Scene, round: &Round, number: usize, ledger: &mut Ledger) -> Played {
    let mut stage = Stage { scene, round, number, ledger, played: Played::default(), began: Instant::now() };
    stage.ledger.begin_round();
    let ended = stage.run_programs();
    if !round.look_at_once {
        stage.wait_for_owned(&ended);
    }
    stage.kill_recovery();
    stage.examine();
    stage.wait_for_owned(&ended);
    stage.played
}

impl Stage<'_> {
    fn note(&mut self, text: &str) {
        self.played.history.push(format!("{:>8.3} {text}", self.began.elapsed().as_secs_f64()));
    }

    fn violated(&mut self, text: String) {
        self.note(&format!("VIOLATION: {text}"));
        self.ledger.violated(format!("round {}: {text}", self.number));
    }

    fn spawn(&self, number: usize, order: &Order, say: &Sender<(usize, Instant, Heard)>) -> Running {
        Running::spawn(number, order, &self.scene.tmp, &self.scene.log, say)
    }

    /// Runs the round's programs and does the injury. When each has ended.
    fn run_programs(&mut self) -> Vec<Instant> {
        let order = |program: &crate::plan::Program| Order::Work {
            home: self.scene.home.clone(),
            image: self.scene.image.clone(),
            program: program.clone(),
        };
        let (say, hear) = channel();
        let numbered = self.round.programs.iter().enumerate();
        let mut programs: Vec<Running> =
            numbered.map(|(number, program)| self.spawn(number, &order(program), &say)).collect();
        let mut injurer =
            Injurer::new(self.round, self.scene.small_disk.as_ref(), self.scene.home.join("boxes"));
        let mut silent = 0;
        let give_up = Instant::now() + PATIENCE;
        while silent < programs.len() {
            match hear.recv_timeout(injurer.patience()) {
                Ok((number, at, Heard::Said(event))) => {
                    self.note(&format!("program {number}: {event:?}"));
                    injurer.hear(number, at, &event);
                    self.ledger.hear(number, &self.round.programs[number], &event);
                }
                Ok((number, _, Heard::Silent)) => {
                    silent += 1;
                    self.reap(number, &mut programs[number]);
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            if injurer.act(&mut programs, self.ledger) {
                self.note(&format!("injury: {}", injurer.done.as_deref().unwrap_or("none")));
                programs.iter_mut().for_each(Running::wind_down);
            }
            if Instant::now() > give_up {
                self.violated(format!("the programs did not end within {} s", PATIENCE.as_secs()));
                programs.iter_mut().for_each(|program| {
                    program.kill();
                    program.reap();
                });
                break;
            }
        }
        injurer.end();
        self.count(injurer.done.is_some());
        programs.iter_mut().filter_map(|program| program.ended).collect()
    }

    fn reap(&mut self, number: usize, program: &mut Running) {
        if let Some(wrong) = program.reap() {
            self.violated(format!("program {number}: {wrong}"));
        }
        self.note(&format!("program {number} has ended"));
    }

    fn count(&mut self, hit: bool) {
        match self.round.injury {
            Injury::Kill { victim, .. } if hit => self.played.kills.push(victim),
            Injury::FullDisk { .. } if hit => {
                self.played.injection = Some("full_disk");
                self.ledger.all_injured();
            }
            Injury::FewFiles => self.played.injection = Some("few_files"),
            _ => self.note("the injury's moment did not come"),
        }
    }

    /// A runtime that recovers is killed while it does.
    fn kill_recovery(&mut self) {
        let Some(delay_us) = self.round.recovery_killed_us else { return };
        let (say, hear) = channel();
        let mut opener = self.spawn(0, &Order::Open { home: self.scene.home.clone() }, &say);
        let opening = loop {
            match hear.recv_timeout(PATIENCE) {
                Ok((_, at, Heard::Said(Event::Opening))) => break at,
                Ok((_, _, Heard::Said(_))) => {}
                _ => return self.violated("a runtime that was to recover the home did not begin".into()),
            }
        };
        let due = opening + Duration::from_micros(delay_us);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        opener.kill();
        self.note(&format!("killed a recovery after {delay_us} us"));
        self.played.kills.push(Victim::Recovery);
        while !matches!(hear.recv_timeout(PATIENCE), Ok((_, _, Heard::Silent)) | Err(_)) {}
        opener.reap();
    }

    /// A fresh process looks at the home, and so do we.
    fn examine(&mut self) {
        let order = Order::Examine(Examination {
            home: self.scene.home.clone(),
            image: self.scene.image.clone(),
            files: self.ledger.files(),
            keep: self.round.keep,
            fresh_name: format!("{}r{}fresh", self.scene.name, self.number),
            small_disk: self.scene.small_disk.is_some(),
        });
        let (say, hear) = channel();
        let mut checker = self.spawn(0, &order, &say);
        let mut there: Vec<Listed> = Vec::new();
        loop {
            match hear.recv_timeout(PATIENCE) {
                Ok((_, _, Heard::Said(event))) => {
                    self.note(&format!("examination: {event:?}"));
                    match event {
                        Event::Listed { boxes, settled_ms } => {
                            self.look_at_processes(&boxes);
                            self.ledger.compare(&boxes);
                            self.played.states.extend(boxes.iter().map(|found| found.status.clone()));
                            self.played.slowest_settling_ms = settled_ms;
                            there = boxes;
                            checker.go_on();
                        }
                        Event::Violated(what) => self.violated(what),
                        Event::NotOpened(failure) => {
                            self.violated(format!("the home can't be opened: {failure:?}"));
                        }
                        Event::GaveUpDisk { .. } => self.played.disks_given_up += 1,
                        Event::Removed { id } => {
                            self.ledger.removed(&id);
                            there.retain(|found| found.id != id);
                        }
                        _ => {}
                    }
                }
                Ok((_, _, Heard::Silent)) => break,
                Err(_) => {
                    self.violated(format!("the examination took more than {} s", PATIENCE.as_secs()));
                    checker.kill();
                    break;
                }
            }
        }
        if let Some(wrong) = checker.reap() {
            self.violated(format!("the examination: {wrong}"));
        }
        self.look_at_home(&there);
    }

    /// Only boxes that run have processes, and each exactly two.
    fn look_at_processes(&mut self, boxes: &[Listed]) {
        let ids: BTreeSet<String> =
            self.ledger.ids().into_iter().chain(boxes.iter().map(|found| found.id.clone())).collect();
        self.violated_unless_it_settles(|| wrong_processes(&ids, boxes));
    }

    /// Nothing is left in the home, or outside of it.
    fn look_at_home(&mut self, there: &[Listed]) {
        // The examiner has stopped what it started itself, and left alone what ran.
        let running: BTreeSet<String> =
            there.iter().filter(|found| found.status == "running").map(|found| found.id.clone()).collect();
        let boxes = there.iter().map(|found| found.id.clone()).collect();
        let (scene, ids) = (self.scene, self.ledger.ids());
        self.violated_unless_it_settles(|| left_at_rest(scene, &ids, &boxes, &running));
        if let Err(wrong) = home::integrity(&self.scene.home) {
            self.violated(wrong);
        }
    }

    /// What a process was told to end, or ends with its owner, goes when the machine has time for it.
    fn violated_unless_it_settles(&mut self, wrong: impl Fn() -> Vec<String>) {
        let deadline = Instant::now() + SETTLING;
        let mut found = wrong();
        while !found.is_empty() && Instant::now() < deadline {
            std::thread::sleep(POLL);
            found = wrong();
        }
        for what in found {
            self.violated(what);
        }
    }

    /// Boxes that aren't detached go with their owners.
    fn wait_for_owned(&mut self, ended: &[Instant]) {
        for (id, deadline) in self.ledger.must_be_gone(ended) {
            let only = BTreeSet::from([id.clone()]);
            loop {
                let left = processes::naming(&only);
                if left.is_empty() {
                    break;
                }
                if Instant::now() > deadline {
                    self.violated(format!("box {id} has outlived its owner by 30 s: {left:?}"));
                    break;
                }
                std::thread::sleep(POLL);
            }
        }
    }
}

/// What is not as it should be with the processes of boxes as they are listed.
fn wrong_processes(ids: &BTreeSet<String>, boxes: &[Listed]) -> Vec<String> {
    let found = processes::naming(ids);
    let of_each = ids.iter().filter_map(|id| {
        let of_box: Vec<_> = found.iter().filter(|process| process.id == *id).collect();
        let parts: Vec<Part> = of_box.iter().map(|process| process.part).collect();
        let listed = boxes.iter().find(|listed| listed.id == *id);
        let pid = listed.filter(|listed| listed.status == "running").and_then(|listed| listed.pid);
        match pid {
            Some(pid) => (parts != [Part::Shim, Part::Engine] || of_box[0].pid != pid)
                .then(|| format!("box {id} runs as {pid}, and its processes are {of_box:?}")),
            None if of_box.is_empty() => None,
            None => Some(format!("box {id} does not run, and has processes: {of_box:?}")),
        }
    });
    of_each.collect()
}

/// What is left of work that is over, in the home and outside of it.
fn left_at_rest(
    scene: &Scene,
    ids: &BTreeSet<String>,
    boxes: &BTreeSet<String>,
    running: &BTreeSet<String>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let processes = processes::naming(ids).into_iter().filter(|process| !running.contains(&process.id));
    wrong.extend(processes.map(|process| format!("a process of a box that does not run: {process:?}")));
    for place in processes::ahead_of_time(&scene.home) {
        wrong.push(format!("a process that makes or is something for nobody in {}", place.display()));
    }
    let left = home::leftovers(&scene.home, boxes, running);
    if !left.is_empty() {
        wrong.push(format!("left in the home: {left:?}"));
    }
    for outside in [disk::left_in_shared(&scene.home), scene.left_in_tmp()] {
        if scene.private && !outside.is_empty() {
            wrong.push(format!("left outside of the home: {outside:?}"));
        }
    }
    wrong
}
