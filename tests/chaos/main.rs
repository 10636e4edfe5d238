//! Kills one process of a busy home, again and again, and looks each time whether the home is consistent.
//!
//! `make chaos KILLS=1000 SEED=7` runs it. It is a program of its own, and plays all parts: the driver, the programs
//! that embed the library, and whoever opens the home afterwards, each in a process of its own. `KILLS` unset (as when
//! all tests are run) it does nothing but say so.

mod agent;
mod checker;
mod children;
mod disk;
mod era;
mod files;
mod home;
mod injure;
mod ledger;
mod plan;
mod processes;
mod report;
mod rng;
mod round;
mod summary;
mod worker;

use std::io::{BufRead, BufReader, stdin};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use boxlite_test_utils::home::{busybox_image, target_dir};

use crate::report::{Event, Failure, Order, say};
use crate::summary::Summary;

/// Homes in which rounds are played at the same time.
const LANES: u64 = 2;
/// Eras that may go wrong before the run is given up: more of them tell nothing new.
const ENOUGH_VIOLATIONS: u64 = 4;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(children::ROLE) {
        return child();
    }
    let Some(kills) = number("KILLS").or_else(|| number("ERA").map(|_| u64::MAX)) else {
        println!("chaos: KILLS is not set, nothing is killed; `make chaos KILLS=60` does it");
        return ExitCode::SUCCESS;
    };
    drive(kills)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .filter(|text| !text.is_empty())
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

fn drive(kills: u64) -> ExitCode {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = number("SEED").unwrap_or(since_epoch.as_millis() as u64 % 1_000_000_000);
    let only = number("ERA");
    let image = busybox_image();
    // Two runs may go on at once.
    let base = target_dir().join("chaos").join(format!("{seed}-{}", std::process::id()));
    let private = disk::make_private(&base).expect("a mount namespace can be arranged");
    println!("chaos: seed {seed}, in {}", base.display());
    if !private {
        println!("chaos: not root: no disk is filled (ENOSPC), and /tmp and /dev/shm are not looked at");
    }
    let path = std::env::var_os("SUMMARY").map(PathBuf::from);
    let summary = Mutex::new(Summary::new(seed));
    let next = AtomicU64::new(only.unwrap_or(0));
    let enough = || {
        let summary = hold(&summary);
        summary.kills >= kills || summary.violations >= ENOUGH_VIOLATIONS
    };
    std::thread::scope(|scope| {
        for _ in 0..if only.is_some() { 1 } else { LANES } {
            scope.spawn(|| {
                while !enough() {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let ask = era::Ask { base: &base, image: &image, private, seed };
                    era::live(ask, number, &enough, &|round, played, ledger| {
                        let mut summary = hold(&summary);
                        println!("{}", summary.add(number, round, played, ledger));
                        if let Err(error) = summary.write(path.as_deref()) {
                            println!("chaos: the summary can't be written: {error}");
                        }
                    });
                    if only.is_some() {
                        break;
                    }
                }
            });
        }
    });
    // What is kept of eras that went wrong stays.
    let _ = std::fs::remove_dir(&base);
    finish(&mut hold(&summary), path.as_deref())
}

fn finish(summary: &mut Summary, path: Option<&Path>) -> ExitCode {
    match summary.write(path) {
        Ok(json) => println!("{json}"),
        Err(error) => {
            println!("chaos: the summary can't be written: {error}");
            return ExitCode::FAILURE;
        }
    }
    if summary.violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a child does: the order is the first line of its stdin.
fn child() -> ExitCode {
    let mut input = BufReader::new(stdin());
    let mut line = String::new();
    let order = input.read_line(&mut line).ok().and_then(|_| serde_json::from_str(&line).ok());
    let Some(order) = order else { return ExitCode::from(2) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    match order {
        Order::Work { home, image, program } => {
            let over = Arc::new(AtomicBool::new(false));
            let told = over.clone();
            std::thread::spawn(move || {
                // The end of the driver's interest, or of the driver.
                let _ = input.read_line(&mut String::new());
                told.store(true, Ordering::Relaxed);
            });
            runtime.block_on(worker::work(home, image, program, over));
        }
        Order::Open { home } => {
            say(&Event::Opening);
            match worker::open(&home) {
                Ok(_open) => {
                    say(&Event::Opened);
                    let _ = input.read_line(&mut String::new());
                }
                Err(error) => say(&Event::NotOpened(Failure::from(&error))),
            }
        }
        Order::Examine(examination) => runtime.block_on(checker::examine(examination, &mut input)),
    }
    ExitCode::SUCCESS
}
