//! How executions end, and that the answer stays.

use std::time::{Duration, Instant};

use boxlite::BoxliteError;

use super::{Bench, shell, within};

#[tokio::test]
async fn an_end_is_told_to_everybody_again_and_again() {
    let bench = Bench::new().await;
    let execution = bench.sandbox.exec(shell("sleep 1; exit 42")).await.expect("an execution");
    let (early, also) = tokio::join!(execution.wait(), execution.wait());
    let first = early.expect("the end");
    assert_eq!((first.exit_code, first.timed_out, first.oom_killed), (42, false, false));
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
    let mild = bench.sandbox.exec(shell("sleep 300")).await.expect("an execution");
    let stubborn =
        bench.sandbox.exec(shell("trap '' TERM; while :; do sleep 1; done")).await.expect("an execution");
    let polite = bench.sandbox.exec(shell("trap 'exit 5' TERM; while :; do sleep 0.1; done"));
    let polite = polite.await.expect("an execution");
    // The traps are set once the shells have run a little.
    let (code, _) = bench.say(shell("sleep 1")).await;
    assert_eq!(code, 0);

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
    let (stopped, (ends, answered)) = tokio::join!(stop, within(30, "the waits", waits));
    let codes: Vec<i32> = ends.into_iter().map(|end| end.expect("an end").exit_code).collect();
    assert_eq!(codes, [-libc::SIGTERM, -libc::SIGKILL, 5]);
    assert!(answered < Duration::from_secs(5), "the waits took {answered:?}");
    eprintln!("waits answered after {answered:?}, stop after {stopped:?}");

    assert_eq!(mild.wait().await.expect("the end").exit_code, -libc::SIGTERM);
    let refused = bench.sandbox.exec(shell("true")).await.expect_err("stopped");
    assert!(matches!(refused, BoxliteError::Stopped(_)), "{refused:?}");
    bench.end().await;
}
