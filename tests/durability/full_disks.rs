//! A host whose disk is full when a box stops.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use boxlite::BoxliteError;
use boxlite_test_utils::home::PerTestBoxHome;

use crate::small_disk::on_a_small_disk;
use crate::{open, options, say};

/// Room for a database and a box's disk.
const SMALL_MIB: u32 = 48;

/// A stop takes some tens of milliseconds: in each round the disk is full a little later in it.
const ROUNDS: u64 = 6;
const FULL_LATER_MS: u64 = 12;

/// Takes all the room there is.
fn fill(filler: &Path) {
    let file = File::create(filler).expect("an empty file has room");
    let mut size = 0;
    for chunk in [1 << 20, 1 << 16, 1 << 12] {
        // SAFETY: fallocate takes an open descriptor and integers.
        while unsafe { libc::fallocate(file.as_raw_fd(), 0, size, chunk) } == 0 {
            size += chunk;
        }
    }
    assert!(size > 1 << 20, "there was room to take");
}

#[test]
fn a_box_that_stops_on_a_full_disk_can_be_started_again_with_all_that_was_synced() {
    let at = tempfile::tempdir().unwrap();
    let disk = at.path().to_owned();
    on_a_small_disk(&disk.clone(), SMALL_MIB, || {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio.block_on(async {
            let home = PerTestBoxHome::new_in(&disk);
            let runtime = open(&home);
            let id = runtime.create(options(), None).await.unwrap().id().to_string();
            let filler = disk.join("filler");
            for round in 0..ROUNDS {
                let sandbox = runtime.get(&id).await.unwrap().expect("the box is there");
                // Files in many directories change the file system's maps, which go to places not written before.
                let script =
                    format!("mkdir -p /r{round}/a/b/c && echo {round} >/r{round}/a/b/c/file && sync");
                say(&sandbox, &script).await;
                let (full, delay) = (filler.clone(), Duration::from_millis(round * FULL_LATER_MS));
                let filling = std::thread::spawn(move || {
                    std::thread::sleep(delay);
                    fill(&full);
                });
                let stopped = sandbox.stop().await;
                filling.join().unwrap();
                fs::remove_file(&filler).unwrap();
                match stopped {
                    Ok(()) => {}
                    // The database could not take it down.
                    Err(BoxliteError::ResourceExhausted(_)) => sandbox.stop().await.unwrap(),
                    Err(error) => panic!("{error:?}"),
                }
                let sandbox = runtime.get(&id).await.unwrap().expect("the box is there");
                assert_eq!(say(&sandbox, "cat /r*/a/b/c/file").await.lines().count(), round as usize + 1);
                say(&sandbox, "echo more >/more && sync").await;
                sandbox.stop().await.unwrap();
            }
            runtime.remove(&id, true).await.unwrap();
            runtime.shutdown(None).await.unwrap();
        });
    });
}
