//! How executions end, and that the answer stays.

use std::time::{Duration, Instant};

use boxlite::{BoxCommand, BoxliteError};

use super::{Bench, shell, within};

#[tokio::test]
async fn an_end_is_told_to_everybody_again_and_again() {
    let bench = Bench::new().await;
    let execution = bench.sandbox.exec(shell("sleep 1; exit 42")).await.expect("an execution");
    let (early, also) = tokio::join!(execution.wait(), execution.wait());
    let first = early.expect("the end");
    assert_eq!((first.exit_code, &first.error_message), (42, &None));
    let exit = execution.exit().await.expect("the end");
    assert_eq!((exit.exit_code, exit.signal, exit.timed_out, exit.oom_killed), (42, 0, false, false));
    assert_eq!(also.expect("the end"), first);
    // From another thread with a runtime of its own, by another handle.
    let other = execution.clone();
    let elsewhere = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(other.wait())
    });
    assert_eq!(elsewhere.await.expect("the thread").expect("the end"), first);

    let killed = bench.sandbox.exec(shell("sleep 300")).await.expect("an execution");
    killed.kill().await.expect("the kill");
    let second = killed.wait().await.expect("the end");
    assert_eq!(second.exit_code, -libc::SIGKILL);

    bench.sandbox.stop().await.expect("the stop");
    assert_eq!(execution.wait().await.expect("the end"), first);
    assert_eq!(killed.wait().await.expect("the end"), second);
    bench.end().await;
}

#[tokio::test]
async fn a_stop_in_mid_run_answers_every_wait_with_the_signal() {
    let bench = Bench::new().await;
    let mild = bench.ready("echo ready; exec sleep 300").await;
    let stubborn = bench.ready("trap '' TERM; echo ready; while :; do sleep 1; done").await;
    let polite = bench.ready("trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done").await;

    let began = Instant::now();
    let stop = async {
        bench.sandbox.stop().await.expect("the stop");
        began.elapsed()
    };
    let waits = async {
        let all = [&mild, &stubborn, &polite].map(|execution| execution.wait());
        let ends = futures::future::join_all(all).await;
        (ends, began.elapsed())
    };
    let (stopped, (ends, answered)) = tokio::join!(stop, within("the waits", waits));
    let codes: Vec<i32> = ends.into_iter().map(|end| end.expect("an end").exit_code).collect();
    assert_eq!(codes, [-libc::SIGTERM, -libc::SIGKILL, 5]);
    // Five seconds are promised, of which two are needed; who waits for a box that is killed waits for more than eight.
    assert!(answered < Duration::from_secs(8), "the waits took {answered:?}");
    eprintln!("waits answered after {answered:?}, stop after {stopped:?}");

    assert_eq!(mild.wait().await.expect("the end").exit_code, -libc::SIGTERM);
    let refused = bench.sandbox.exec(shell("true")).await.expect_err("stopped");
    assert!(matches!(refused, BoxliteError::Stopped(_)), "{refused:?}");
    bench.end().await;
}

/// Processes of the box that sleep so long.
fn sleepers(seconds: u32) -> BoxCommand {
    shell(&format!("ps -o args | grep -c '^sleep {seconds}'; true"))
}

/// Waits until so many sleep: a shell takes its time to become a sleeper, and who was killed to be gone.
async fn until_sleepers(bench: &Bench, seconds: u32, count: u32) {
    let all = format!("{count}\n");
    let counting = async { while bench.say(sleepers(seconds)).await.1 != all {} };
    within(&format!("{count} processes that sleep {seconds}"), counting).await;
}

#[tokio::test]
async fn a_handle_that_is_dropped_ends_nothing() {
    let bench = Bench::new().await;
    let untouched = bench.sandbox.exec(shell("sleep 301")).await.expect("an execution");
    let mut taken = bench.sandbox.exec(shell("sleep 302")).await.expect("an execution");
    let streams = (taken.stdin(), taken.stdout(), taken.stderr());
    let waited = bench.sandbox.exec(shell("sleep 303")).await.expect("an execution");
    for seconds in [301, 302, 303] {
        until_sleepers(&bench, seconds, 1).await;
    }
    let cut_off = tokio::time::timeout(Duration::from_millis(100), waited.wait()).await;
    assert!(cut_off.is_err(), "it sleeps");
    drop((untouched, taken, streams, waited));
    // A round trip later each drop has had its effect, if it had one.
    tokio::time::sleep(Duration::from_millis(500)).await;
    for seconds in [301, 302, 303] {
        assert_eq!(bench.say(sleepers(seconds)).await, (0, "1\n".to_owned()), "sleep {seconds}");
    }
    bench.end().await;
}

#[tokio::test]
async fn who_leaves_before_hearing_that_the_process_runs_leaves_none() {
    let bench = Bench::new().await;
    {
        let mut exec = std::pin::pin!(bench.sandbox.exec(shell("exec sleep 306")));
        assert!(futures::poll!(exec.as_mut()).is_pending(), "it takes a round trip");
        until_sleepers(&bench, 306, 1).await;
        // Its answer has come by now, and nobody has looked at it.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    until_sleepers(&bench, 306, 0).await;
    bench.end().await;
}

#[tokio::test]
async fn a_kill_reaches_every_process_of_the_execution_and_a_signal_only_its_first() {
    let bench = Bench::new().await;
    let family = "sleep 304 & setsid sleep 304 & (trap '' TERM; sleep 304) & echo $$; wait; wait; wait";
    let killed = bench.sandbox.exec(shell(family)).await.expect("an execution");
    let signalled = bench.sandbox.exec(shell(&family.replace("304", "305"))).await.expect("an execution");
    for seconds in [304, 305] {
        until_sleepers(&bench, seconds, 3).await;
    }
    signalled.signal(libc::SIGTERM).await.expect("the signal");
    assert_eq!(signalled.wait().await.expect("the end").exit_code, -libc::SIGTERM);
    let error = signalled.signal(libc::SIGTERM).await.expect_err("it has ended");
    assert!(matches!(error, BoxliteError::InvalidState(_)), "{error}");
    assert_eq!(error.subject(), Some(signalled.id().as_str()));
    assert!(error.hint().contains("while it runs"), "{}", error.hint());
    assert_eq!(bench.say(sleepers(305)).await.1, "3\n", "its children go on");
    killed.kill().await.expect("the kill");
    assert_eq!(killed.wait().await.expect("the end").exit_code, -libc::SIGKILL);
    until_sleepers(&bench, 304, 0).await;
    assert_eq!(bench.say(sleepers(305)).await.1, "3\n", "they are another execution's");
    bench.end().await;
}
