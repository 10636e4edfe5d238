//! Stops and removals: all that was written is kept, every waiter is told, and each is done in time.

use std::time::{Duration, Instant};

use boxlite::{BoxOptions, BoxStatus, BoxliteError, Execution};
use boxlite_test_utils::home::PerTestBoxHome;
use futures::future::join_all;

use super::{box_dir, busy, has_journal_to_replay, open, options, say, shell, within};

/// Five seconds are promised, of which two are needed; a machine may be slow, but not as slow as one who waits for the
/// end of a box that is killed.
const ANSWERED: Duration = Duration::from_secs(8);

#[tokio::test]
async fn what_was_written_before_a_stop_is_kept_without_any_sync() {
    let home = PerTestBoxHome::new();
    let runtime = open(&home);
    let sandbox = runtime.create(options(), Some("writes".into())).await.expect("a box");
    let write = "for i in 1 2 3 4 5 6 7 8; do yes file $i | head -c 4194304 > /file$i; done";
    say(&sandbox, write).await;
    sandbox.stop().await.expect("a stop");
    assert!(!has_journal_to_replay(&box_dir(&home.path, &sandbox)));

    let sandbox = runtime.get("writes").await.expect("an answer").expect("the box");
    let compare =
        "for i in 1 2 3 4 5 6 7 8; do yes file $i | head -c 4194304 | cmp - /file$i || exit 1; done";
    say(&sandbox, compare).await;
    runtime.remove("writes", true).await.expect("a removal");
}

#[tokio::test]
async fn a_stop_asks_all_processes_also_those_of_commands_long_forgotten() {
    let home = PerTestBoxHome::new();
    let runtime = open(&home);
    let sandbox = runtime.create(options(), Some("daemons".into())).await.expect("a box");
    let daemon = |name: &str| {
        format!(
            "(trap 'echo {name} >> /asked; exit' TERM; touch /{name}; while :; do sleep 0.1; done) >/dev/null 2>&1 &"
        )
    };
    say(&sandbox, &daemon("early")).await;
    // More than a box remembers.
    for _ in 0..70 {
        say(&sandbox, "true").await;
    }
    say(&sandbox, &daemon("late")).await;
    say(&sandbox, "until [ -e /early ] && [ -e /late ]; do sleep 0.1; done").await;
    sandbox.stop().await.expect("a stop");
    let sandbox = runtime.get("daemons").await.expect("an answer").expect("the box");
    assert_eq!(say(&sandbox, "sort /asked").await, "early\nlate\n");
    runtime.remove("daemons", true).await.expect("a removal");
}

#[tokio::test]
async fn a_stop_kills_who_does_not_listen_and_keeps_what_was_written_to_the_last() {
    let home = PerTestBoxHome::new();
    let runtime = open(&home);
    let sandbox = runtime.create(options(), Some("deaf".into())).await.expect("a box");
    // One writes on until it is killed, unsynced; one sleeps.
    let deaf = busy(
        &sandbox,
        "trap '' TERM; echo early > /early; echo ready; n=0; while :; do n=$((n + 1)); echo $n >> /log; done",
    )
    .await;
    let asleep = busy(&sandbox, "echo ready; exec sleep 300").await;
    let (stopped, took) = within(60, "the stop", sandbox.stop()).await;
    stopped.expect("a stop");
    assert!(took >= Duration::from_secs(2), "it had two seconds to end by itself: {took:?}");
    assert_eq!(deaf.wait().await.expect("the end").exit_code, -libc::SIGKILL);
    assert_eq!(asleep.wait().await.expect("the end").exit_code, -libc::SIGTERM);
    assert!(!has_journal_to_replay(&box_dir(&home.path, &sandbox)), "a stop unmounts");

    let sandbox = runtime.get("deaf").await.expect("an answer").expect("the box");
    assert_eq!(say(&sandbox, "cat /early").await, "early\n");
    let log = say(&sandbox, "wc -l < /log; tail -n 1 /log").await;
    let [lines, last] = log.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{log:?}") };
    assert_eq!(lines, last, "lines are missing");
    runtime.shutdown(Some(0)).await.expect("the end");
}

async fn codes(executions: &[Execution]) -> Vec<i32> {
    let ends = join_all(executions.iter().map(Execution::wait)).await;
    ends.into_iter().map(|end| end.expect("an end").exit_code).collect()
}

/// Ends a box that two runtimes have executions in, and checks what all of them are told.
async fn ends_for_all(force_removal: bool) {
    let home = PerTestBoxHome::new();
    let (runtime, other) = (open(&home), open(&home));
    let sandbox = runtime.create(options(), Some("shared".into())).await.expect("a box");
    let sleeper = "echo ready; exec sleep 300";
    let own = busy(&sandbox, sleeper).await;
    let seen = other.get("shared").await.expect("an answer").expect("the box");
    let theirs = [
        busy(&seen, sleeper).await,
        busy(&seen, "trap '' TERM; echo ready; while :; do sleep 1; done").await,
    ];
    let executions = [&[own], &theirs[..]].concat();

    let began = Instant::now();
    let end = async {
        match force_removal {
            true => runtime.remove("shared", true).await.expect("a removal"),
            false => sandbox.stop().await.expect("a stop"),
        }
    };
    let waits = async { (codes(&executions).await, began.elapsed()) };
    let (((), (told, answered)), _) = within(60, "the end", async { tokio::join!(end, waits) }).await;
    let expected = match force_removal {
        true => [-libc::SIGKILL; 3],
        false => [-libc::SIGTERM, -libc::SIGTERM, -libc::SIGKILL],
    };
    assert_eq!(told, expected);
    assert!(answered < ANSWERED, "the waits took {answered:?}");
    assert_eq!(codes(&executions).await, told, "later waits repeat the answer");

    // The other runtime sees what became of the box.
    let status = other.get_info("shared").await.expect("an answer").map(|info| (info.status, info.pid));
    assert_eq!(status, (!force_removal).then_some((BoxStatus::Stopped, None)));
    runtime.shutdown(Some(0)).await.expect("the end");
    other.shutdown(Some(0)).await.expect("the end");
}

#[tokio::test]
async fn a_stop_answers_the_waiters_of_every_runtime() {
    ends_for_all(false).await;
}

#[tokio::test]
async fn a_removal_answers_the_waiters_of_every_runtime() {
    ends_for_all(true).await;
}

#[tokio::test]
async fn a_box_that_never_ran_can_be_stopped() {
    let home = PerTestBoxHome::new();
    let runtime = open(&home);
    let kept = runtime.create(options(), Some("kept".into())).await.expect("a box");
    kept.stop().await.expect("a stop");
    assert_eq!(kept.info().status, BoxStatus::Configured);
    let refused = kept.start().await.expect_err("stopped through this handle");
    assert!(matches!(refused, BoxliteError::Stopped(_)), "{refused:?}");
    let again = runtime.get("kept").await.expect("an answer").expect("the box");
    again.start().await.expect("a start");
    runtime.remove("kept", true).await.expect("a removal");

    let brief = runtime.create(BoxOptions { auto_remove: true, ..options() }, None).await.expect("a box");
    let id = brief.id().as_str();
    brief.stop().await.expect("a stop");
    assert!(!runtime.exists(id).await.expect("an answer"));
    brief.stop().await.expect("a second stop through the same handle");
    runtime.remove(id, false).await.expect("whoever stopped it may remove it, too");
    // Who had no part in it is told that there is none.
    let other = open(&home);
    let refused = other.remove(id, false).await.expect_err("no such box");
    assert!(matches!(&refused, BoxliteError::NotFound(text) if text.contains("not found")), "{refused:?}");
}

#[tokio::test]
async fn a_box_whose_directory_was_deleted_by_hand_can_be_removed() {
    let home = PerTestBoxHome::new();
    let runtime = open(&home);
    let sandbox = runtime.create(options(), None).await.expect("a box");
    sandbox.start().await.expect("a start");
    let id = sandbox.id().as_str();
    sandbox.stop().await.expect("a stop");
    std::fs::remove_dir_all(box_dir(&home.path, &sandbox)).expect("a deletion");
    runtime.remove(id, false).await.expect("a removal");
    assert!(!runtime.exists(id).await.expect("an answer"));

    // Also under a box that runs.
    let sandbox = runtime.create(options(), None).await.expect("a box");
    let id = sandbox.id().as_str();
    let asleep = busy(&sandbox, "echo ready; exec sleep 300").await;
    std::fs::remove_dir_all(box_dir(&home.path, &sandbox)).expect("a deletion");
    runtime.remove(id, true).await.expect("a removal");
    assert_eq!(asleep.wait().await.expect("the end").exit_code, -libc::SIGKILL);
    let refused = sandbox.exec(shell("true")).await.expect_err("no such box");
    assert!(matches!(refused, BoxliteError::NotFound(_)), "{refused:?}");
}
