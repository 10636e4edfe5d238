//! A home is opened while another process stands still somewhere in the life of a box, also between making its
//! directory and what comes after: nothing of the other's is taken away.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use boxlite::BoxCommand;
use boxlite_test_utils::home::PerTestBoxHome;

use super::again::say;
use super::small_box::small_box;
use super::{NoBoxesLeft, another_process, open};

const LIVES: u32 = 12;
/// Less than a life takes where nothing else is done: half a second as a clone, with its empty disk made first.
const LIFE: Duration = Duration::from_millis(400);

/// The other process: one box after another is made, used and removed, and each step has to succeed.
pub(crate) async fn lives(home: &Path) {
    let runtime = open(home, Vec::new());
    for _ in 0..LIVES {
        // With the empty disk to be made first, the moment between a box's directory and its disk lasts long enough to be
        // met. No box uses the old one: each life ends with a removal.
        for base in fs::read_dir(home.join("bases")).unwrap() {
            fs::remove_file(base.unwrap().path()).unwrap();
        }
        say("next");
        let sandbox = runtime.create(small_box(), None).await.unwrap();
        let execution = sandbox.exec(BoxCommand::new("true")).await.unwrap();
        assert_eq!(execution.wait().await.unwrap().exit_code, 0);
        runtime.remove(sandbox.id().as_str(), true).await.unwrap();
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

#[tokio::test]
async fn who_opens_the_home_takes_nothing_from_a_process_that_stands_still() {
    let home = PerTestBoxHome::isolated();
    let _guard = NoBoxesLeft(&home.path);
    // The home's directories are there before the lives begin.
    drop(open(&home.path, Vec::new()));
    let boxes = home.path.join("boxes");
    let other = another_process("lives", &home.path.display().to_string());
    let mut without_disk = 0;
    for life in 0..LIVES {
        assert_eq!(other.hear(), "next");
        if life % 2 == 0 {
            // The first moment at which there is a directory.
            let deadline = Instant::now() + Duration::from_secs(30);
            while fs::read_dir(&boxes).unwrap().next().is_none() {
                assert!(Instant::now() < deadline, "no directory of a box comes");
            }
        } else {
            // Anywhere between create and remove: later than that, the other would be ahead of this.
            tokio::time::sleep(LIFE * life / LIVES).await;
        }
        other.signal(libc::SIGSTOP);
        let before = lasting(&boxes);
        without_disk +=
            u32::from(!before.is_empty() && !before.iter().any(|path| path.ends_with("box.qcow2")));
        let runtime = open(&home.path, Vec::new());
        assert!(runtime.list_info().await.unwrap().len() >= before.len().min(1), "a directory has its row");
        runtime.shutdown(None).await.unwrap();
        drop(runtime);
        let after = lasting(&boxes);
        let lost: Vec<_> = before.difference(&after).collect();
        assert!(lost.is_empty(), "life {life}: gone while its owner stood still: {lost:?}");
        other.signal(libc::SIGCONT);
    }
    assert_eq!(other.hear(), "done");
    assert!(without_disk > 0, "never stopped between the directory and what is in it");
    let left: Vec<_> =
        fs::read_dir(&boxes).unwrap().chain(fs::read_dir(home.path.join("tmp")).unwrap()).collect();
    assert!(left.is_empty(), "{left:?}");
}
