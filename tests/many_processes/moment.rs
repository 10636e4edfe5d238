//! A home is opened while another process stands still somewhere in the life of a box, also between making its
//! directory and what comes after: nothing of the other's is taken away.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use boxlite::{BoxCommand, BoxliteError, BoxliteRuntime};
use boxlite_test_utils::home::PerTestBoxHome;

use super::again::{Another, say};
use super::small_box::small_box;
use super::{NoBoxesLeft, another_process, open, open_if_free};

const LIVES: u32 = 12;
/// So many where none of those was stopped where it is most interesting.
const MOST_LIVES: u32 = 120;
/// Less than a life takes where nothing else is done: half a second as a clone, with its empty disk made first.
const LIFE: Duration = Duration::from_millis(400);

/// Where the test says, life by life, whether there is to be another.
fn turn(home: &Path, life: u32) -> PathBuf {
    home.with_file_name(format!("turn-{life}"))
}

const ANOTHER: &str = "another";
const THE_LAST: &str = "the last";

/// The other process: one box after another is made, used and removed, and each step has to succeed.
pub(crate) async fn lives(home: &Path) {
    let runtime = open(home, Vec::new());
    for life in 0.. {
        // With the empty disk to be made first, the moment between a box's directory and its disk lasts long enough to be
        // met. No box uses the old one: each life ends with a removal.
        for base in fs::read_dir(home.join("bases")).unwrap() {
            // One in the making, for a template, gets another name meanwhile.
            let _ = fs::remove_file(base.unwrap().path());
        }
        say("next");
        let sandbox = runtime.create(small_box(), None).await.unwrap();
        let execution = sandbox.exec(BoxCommand::new("true")).await.unwrap();
        assert_eq!(execution.wait().await.unwrap().exit_code, 0);
        runtime.remove(sandbox.id().as_str(), true).await.unwrap();
        let is_over = loop {
            match fs::read_to_string(turn(home, life)).unwrap_or_default().as_str() {
                ANOTHER => break false,
                THE_LAST => break true,
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        if is_over {
            break;
        }
    }
    say("done");
    runtime.shutdown(None).await.unwrap();
}

/// What lasts of boxes: their directories, disks and logs. The rest comes and goes with their shims, which don't stand
/// still.
fn lasting(boxes: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for dir in fs::read_dir(boxes).unwrap().map(|entry| entry.unwrap().path()) {
        let inside = ["box.qcow2", "box.new", "logs"].map(|name| dir.join(name));
        found.extend(inside.into_iter().filter(|path| path.exists()));
        found.insert(dir);
    }
    found
}

/// Stops the other process and opens its home: what was there before, and the runtime.
///
/// Stopped in the middle of a transaction it holds the database's lock, and who opens the home is told so in the end.
/// Then it goes on for a moment and is stopped once more.
fn stopped(other: &Another, home: &Path) -> (BTreeSet<PathBuf>, BoxliteRuntime) {
    loop {
        other.stand_still();
        let before = lasting(&home.join("boxes"));
        match open_if_free(home, Vec::new()) {
            Ok(runtime) => return (before, runtime),
            Err(BoxliteError::Busy(text)) => {
                assert!(text.contains("boxlite.db"), "the answer names what is held: {text}");
                other.signal(libc::SIGCONT);
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn who_opens_the_home_takes_nothing_from_a_process_that_stands_still() {
    let home = PerTestBoxHome::isolated();
    let _guard = NoBoxesLeft(&home.path);
    // The home's directories are there before the lives begin.
    drop(open(&home.path, Vec::new()));
    let boxes = home.path.join("boxes");
    let other = another_process("lives", &home.path.display().to_string());
    let mut without_disk = 0;
    for life in 0.. {
        assert_eq!(other.hear(), "next");
        if life % 2 == 0 {
            // The first moment at which there is a directory, unless this process had no time for it.
            let gone = Instant::now() + LIFE * 10;
            while fs::read_dir(&boxes).unwrap().next().is_none() && Instant::now() < gone {}
        } else {
            // Anywhere between create and remove.
            tokio::time::sleep(LIFE * (life % LIVES) / LIVES).await;
        }
        let (before, runtime) = stopped(&other, &home.path);
        without_disk +=
            u32::from(!before.is_empty() && !before.iter().any(|path| path.ends_with("box.qcow2")));
        assert!(runtime.list_info().await.unwrap().len() >= before.len().min(1), "a directory has its row");
        runtime.shutdown(None).await.unwrap();
        drop(runtime);
        let after = lasting(&boxes);
        let lost: Vec<_> = before.difference(&after).collect();
        assert!(lost.is_empty(), "life {life}: gone while its owner stood still: {lost:?}");
        other.signal(libc::SIGCONT);
        let is_last = life + 1 >= LIVES && without_disk > 0 || life + 1 == MOST_LIVES;
        fs::write(turn(&home.path, life), if is_last { THE_LAST } else { ANOTHER }).unwrap();
        if is_last {
            break;
        }
    }
    assert_eq!(other.hear(), "done");
    assert!(without_disk > 0, "never stopped between the directory and what is in it");
    let left: Vec<_> =
        fs::read_dir(&boxes).unwrap().chain(fs::read_dir(home.path.join("tmp")).unwrap()).collect();
    assert!(left.is_empty(), "{left:?}");
}
