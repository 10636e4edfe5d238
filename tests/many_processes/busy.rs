//! A box whose lock is held by a process that stands still: whoever needs the lock is told in time by whom and for what,
//! and everything else goes on.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use boxlite::{BoxCommand, BoxStatus, BoxliteError};
use boxlite_test_utils::home::PerTestBoxHome;
use futures::StreamExt;

use super::again::say;
use super::small_box::small_box;
use super::waiting::{PATIENCE, within};
use super::{NoBoxesLeft, another_process, open};

const NAME: &str = "stubborn";
/// Who waits for the lock waits for half a minute: what takes less has not, however busy the machine is.
const AT_ONCE: Duration = Duration::from_secs(20);

/// The other process: stops a box that takes its two seconds to stop.
pub(crate) async fn stop(home: &Path) {
    let runtime = open(home, Vec::new());
    let sandbox = runtime.get(NAME).await.unwrap().unwrap();
    say("stopping");
    sandbox.stop().await.unwrap();
    say("stopped");
}

#[tokio::test]
async fn a_process_that_stands_still_in_a_stop_is_named_after_thirty_seconds() {
    let home = PerTestBoxHome::new();
    let _guard = NoBoxesLeft(&home.path);
    let first = open(&home.path, Vec::new());
    let options = boxlite::BoxOptions { detach: true, ..small_box() };
    let sandbox = first.create(options, Some(NAME.into())).await.unwrap();
    let deaf = "trap '' TERM; echo ready; while :; do sleep 1; done";
    let mut execution = sandbox.exec(BoxCommand::new("sh").args(["-c", deaf])).await.unwrap();
    assert_eq!(execution.stdout().unwrap().next().await.as_deref(), Some("ready\n"));
    let id = sandbox.id().as_str().to_owned();

    let other = another_process("stop", &home.path.display().to_string());
    assert_eq!(other.hear(), "stopping");
    let lock = home.path.join("locks").join(format!("{id}.lock"));
    let owner = format!("{}\nstop\n", other.pid());
    let has_begun = || fs::read_to_string(&lock).is_ok_and(|text| text.starts_with(&owner));
    within(PATIENCE, "the other process has the lock", has_begun).await;
    // By then it is done with the database, which it would not let go of.
    let is_recorded = || sandbox.info().status == BoxStatus::Stopping;
    within(PATIENCE, "the other process has recorded its stop", is_recorded).await;
    other.stand_still();

    // Another runtime of this process on the same home, opened while nobody can go on.
    let began = Instant::now();
    let second = open(&home.path, Vec::new());
    let again = second.get(NAME).await.unwrap().unwrap();
    assert_eq!(second.list_info().await.unwrap().len(), 1);
    assert!(began.elapsed() < AT_ONCE, "looking needs no lock: {:?}", began.elapsed());

    let asked = Instant::now();
    let own_deadline = async {
        let cut = tokio::time::timeout(Duration::from_secs(1), again.start()).await;
        assert!(cut.is_err() && asked.elapsed() < AT_ONCE, "{cut:?}");
    };
    let (stopped, removed, started, ()) =
        tokio::join!(sandbox.stop(), second.remove(NAME, true), again.start(), own_deadline);
    let waited = asked.elapsed();
    assert!(waited > Duration::from_secs(28) && waited < Duration::from_secs(56), "{waited:?}");
    for (what, outcome) in [("stop", stopped), ("remove", removed), ("start", started)] {
        let error = outcome.expect_err(what);
        let text = error.to_string();
        assert!(matches!(error, BoxliteError::Busy(_)), "{what}: {text}");
        assert!(text.contains(&format!("process {} (stop)", other.pid())), "{what}: {text}");
        assert_eq!(error.subject(), Some(id.as_str()));
    }

    other.signal(libc::SIGCONT);
    assert_eq!(other.hear(), "stopped");
    assert_eq!(second.get_info(NAME).await.unwrap().unwrap().status, BoxStatus::Stopped);
    second.remove(NAME, false).await.unwrap();
    // The first runtime saw the box end, too, and has waited for the lock to record it.
    let no_lock = || fs::read_dir(home.path.join("locks")).unwrap().count() == 0;
    within(PATIENCE, "no lock file is left", no_lock).await;
}
