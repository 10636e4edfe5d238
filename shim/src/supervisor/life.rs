//! A running box until its end: what may end it, in which order it is made to, and how it did.
//!
//! A small state machine: running, then asked to end with ever more force. Total below ten seconds.

use std::time::Duration;

use boxlite_proto::event::{ByeReason, Event};
use boxlite_proto::shim::{ExitRecord, Report, ShimSpec, Word};
use tokio::time::{Instant, sleep_until, timeout};

use super::agent::Events;
use super::claim::{self, Claimed};
use super::exit::{self, Facts, StopReason};
use super::limits;
use super::log::log;
use super::machine::{Hosted, Up};
use super::owner::Owner;
use super::signals::Signals;
use super::sock::{self, Gate};
use super::start::Started;
use crate::engine::process::End;

/// Most of a grace period that is granted when the shim itself stops the box.
const LONGEST_GRACE: Duration = Duration::from_secs(5);
/// From asking the agent to the machine's end, grace included: what was written must reach the disk.
const POWER_OFF: Duration = Duration::from_millis(8500);
/// From the agent's last word, or the channel's end, to the machine's end.
const AFTER_BYE: Duration = Duration::from_secs(2);
/// What QEMU has for `quit`.
const QUIT: Duration = Duration::from_millis(700);
/// How long bytes may be under way, to us and to the clients, when the machine has already ended.
const LAST_BYTES: Duration = Duration::from_millis(300);

/// How far the end has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// The agent has been asked to end, or has said that it will.
    Ending {
        until: Instant,
    },
    /// The engine has been asked to end.
    Quitting {
        until: Instant,
    },
    /// The engine has been killed.
    Killed,
}

impl Phase {
    async fn deadline(self) {
        match self {
            Self::Ending { until } | Self::Quitting { until } => sleep_until(until).await,
            Self::Running | Self::Killed => std::future::pending().await,
        }
    }
}

/// What the box is to anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Made ahead: nobody has asked for it yet.
    Spare,
    /// Goes with its owner.
    Owned,
    /// Needs no owner.
    Detached,
}

impl Standing {
    pub(crate) fn of(spec: &ShimSpec) -> Self {
        match (spec.spare, spec.detach) {
            (true, _) => Self::Spare,
            (false, false) => Self::Owned,
            (false, true) => Self::Detached,
        }
    }

    /// The owner has asked for the box.
    fn claim(&mut self, detach: bool) {
        if *self == Self::Spare {
            *self = if detach { Self::Detached } else { Self::Owned };
        }
    }
}

/// Serves the box until it has ended.
pub(crate) async fn live(
    started: Started,
    spec: &ShimSpec,
    standing: &mut Standing,
    owner: &mut Owner,
    signals: &mut Signals,
) -> ExitRecord {
    let Started { mut machine, up, listener, oom_kills } = started;
    let Up { events, calls, .. } = up;
    let gate = Gate::new();
    let acceptor = tokio::spawn(sock::serve(listener, machine.opener.clone(), gate.clone()));
    let mut life =
        Life { phase: Phase::Running, bye: None, asked: None, forced: false, events: Some(events), gate };
    let mut watch_owner = *standing != Standing::Detached;
    let mut channel_over = false;
    let mut power_off = tokio::task::JoinSet::new();
    let mut claims = tokio::task::JoinSet::new();
    let mut limit = std::pin::pin!(limits::reached(spec.limits, calls.clone(), life.gate.clone()));
    let mut watch_limits = true;

    let end = loop {
        tokio::select! {
            biased;
            end = machine.process.ended() => break end,
            event = next_event(&mut life.events) => {
                life.hear(event);
                if life.bye == Some(ByeReason::Discard) {
                    machine.process.kill();
                }
            }
            failure = &mut machine.channel, if !channel_over => {
                channel_over = true;
                log!("the channel has ended: {failure:?}");
                life.expect_end(AFTER_BYE);
            }
            word = owner.word(), if watch_owner => match word {
                Ok(Some(Word::Claim(wanted))) => {
                    // A box is claimed once.
                    if *standing == Standing::Spare && claims.is_empty() {
                        claims.spawn(claim::claim(calls.clone(), machine.monitor.take(), wanted));
                    }
                }
                gone => {
                    watch_owner = false;
                    if let Err(error) = gone {
                        log!("the owner can't be watched: {error}");
                    }
                    life.ask(StopReason::OwnerGone);
                    if *standing == Standing::Spare {
                        machine.process.kill();
                    }
                }
            },
            Some(over) = claims.join_next() => match over.unwrap_or_else(|error| Err(error.into())) {
                Ok(Claimed { detach, limits, monitor, stages }) => {
                    log!("claimed{}", if detach { ", detached" } else { "" });
                    machine.monitor = monitor;
                    standing.claim(detach);
                    limit.set(limits::reached(limits, calls.clone(), life.gate.clone()));
                    if *standing == Standing::Detached {
                        owner.let_go();
                        watch_owner = false;
                    }
                    owner.report(&Report::Claimed { stages });
                }
                Err(error) => {
                    log!("can't be made the box: {error}");
                    owner.report(&Report::Refused { why: error.to_string() });
                    machine.process.kill();
                }
            },
            name = signals.next() => {
                log!("got {name}");
                life.ask(StopReason::Signal(name));
            }
            Some(answer) = power_off.join_next() => {
                // It may be ending already because somebody else asked: only time tells.
                if !matches!(answer, Ok(Ok(()))) {
                    log!("the agent did not take power-off: {answer:?}");
                }
            }
            reason = &mut limit, if watch_limits => {
                watch_limits = false;
                log!("the box has reached a limit of its own: {reason:?}");
                life.ask(reason);
            }
            () = life.phase.deadline() => life.escalate(&mut machine).await,
        }
        if life.must_power_off() {
            let grace = Duration::from_millis(spec.stop_grace_ms).min(LONGEST_GRACE);
            life.expect_end(POWER_OFF);
            let calls = calls.clone();
            power_off.spawn(async move { calls.power_off(grace).await });
        }
    };
    let oom_kills = oom_kills.have_risen();
    life.gate.close();
    acceptor.abort();
    life.late_events().await;
    if !channel_over {
        let _ = timeout(LAST_BYTES, &mut machine.channel).await;
    }
    // A client that reads slowly loses what is left, and can tell by the byte counts.
    let _ = timeout(LAST_BYTES, life.gate.streams_done()).await;
    let engine = end.unwrap_or_else(|error| {
        log!("the engine's end can't be read: {error}");
        End::Exited(-1)
    });
    let facts = Facts {
        engine,
        bye: life.bye,
        asked: life.asked,
        forced: life.forced,
        killed: machine.process.was_killed(),
        oom_kills,
    };
    exit::record(facts, &machine.console.last_words().await)
}

/// What has been learnt and decided so far.
struct Life {
    phase: Phase,
    bye: Option<ByeReason>,
    asked: Option<StopReason>,
    forced: bool,
    /// Until the last word: the agent waits for it to be taken, which dropping its stream says.
    events: Option<Events>,
    gate: Gate,
}

impl Life {
    fn hear(&mut self, event: Option<Event>) {
        match event {
            Some(Event::Bye(reason)) => {
                log!("the agent says bye: {reason:?}");
                self.bye = Some(reason);
                self.events = None;
                self.expect_end(AFTER_BYE);
            }
            Some(Event::Hello { .. }) => {}
            None => {
                log!("the agent's events have ended without a bye");
                self.events = None;
                self.expect_end(AFTER_BYE);
            }
        }
    }

    /// Somebody wants the box stopped.
    fn ask(&mut self, reason: StopReason) {
        self.asked.get_or_insert(reason);
    }

    fn must_power_off(&self) -> bool {
        self.asked.is_some() && self.phase == Phase::Running
    }

    /// The machine should end by itself within `patience`; nobody new is let in.
    fn expect_end(&mut self, patience: Duration) {
        self.gate.close();
        let until = Instant::now() + patience;
        self.phase = match self.phase {
            Phase::Running => Phase::Ending { until },
            // What was granted before is only ever shortened.
            Phase::Ending { until: before } => Phase::Ending { until: until.min(before) },
            later => later,
        };
    }

    /// The machine has not ended in time: the next harder means.
    async fn escalate(&mut self, machine: &mut Hosted) {
        self.forced = true;
        self.phase = match self.phase {
            Phase::Running | Phase::Ending { .. } => {
                log!("the machine did not end in time; asks the engine to quit");
                machine.quit().await;
                Phase::Quitting { until: Instant::now() + QUIT }
            }
            Phase::Quitting { .. } | Phase::Killed => {
                log!("kills the engine");
                machine.process.kill();
                Phase::Killed
            }
        };
    }

    /// The machine has ended; its last bytes may not have been read yet.
    async fn late_events(&mut self) {
        while self.events.is_some() {
            match timeout(LAST_BYTES, next_event(&mut self.events)).await {
                Ok(event) => self.hear(event),
                Err(_) => return,
            }
        }
    }
}

async fn next_event(events: &mut Option<Events>) -> Option<Event> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life() -> Life {
        Life { phase: Phase::Running, bye: None, asked: None, forced: false, events: None, gate: Gate::new() }
    }

    #[test]
    fn a_running_box_is_powered_off_once() {
        let mut life = life();
        assert!(!life.must_power_off());
        life.ask(StopReason::OwnerGone);
        life.ask(StopReason::Signal("SIGTERM"));
        assert!(life.must_power_off());
        assert_eq!(life.asked, Some(StopReason::OwnerGone), "the first reason counts");
        life.expect_end(POWER_OFF);
        assert!(!life.must_power_off());
    }

    #[test]
    fn the_last_word_shortens_the_wait_and_nothing_lengthens_it() {
        let mut life = life();
        life.expect_end(POWER_OFF);
        let Phase::Ending { until: first } = life.phase else { panic!("{:?}", life.phase) };
        life.hear(Some(Event::Bye(ByeReason::PowerOff)));
        let Phase::Ending { until: second } = life.phase else { panic!("{:?}", life.phase) };
        assert!(second < first);
        life.expect_end(POWER_OFF);
        assert_eq!(life.phase, Phase::Ending { until: second });
        life.phase = Phase::Killed;
        life.expect_end(POWER_OFF);
        assert_eq!(life.phase, Phase::Killed);
    }

    #[test]
    fn a_stop_fits_into_ten_seconds() {
        assert!(POWER_OFF + QUIT + 2 * LAST_BYTES < Duration::from_secs(10));
        assert!(LONGEST_GRACE < POWER_OFF);
    }
}
