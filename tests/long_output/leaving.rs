//! Streams whose reader stops, leaves or is killed, and streams whose command is.

use boxlite::litebox::OutputMode;
use boxlite::{BoxOptions, BoxliteRuntime, RootfsSpec};
use boxlite_test_utils::home::{PerTestBoxHome, busybox_image};
use futures::StreamExt;

use super::again::{Another, order, say};
use super::{Bench, FILE, digest, expected, noise, put_noise, repeated, some, within};

/// Enough to be long.
const READ: u64 = 3 << 20;

#[tokio::test]
async fn who_leaves_in_the_middle_harms_neither_the_command_nor_the_next_reader() {
    let bench = Bench::new(2).await;
    for round in 0..3 {
        let mut left = bench.start(repeated(0, 8)).await;
        let mut bytes = left.stdout().expect("stdout").bytes();
        let begun = some(&mut bytes, READ).await;
        assert!(begun == repeat(0, begun.len()), "round {round}");
        drop(bytes);
        let mut next = bench.start(repeated(1, 4)).await;
        let got = within("the next stream", digest(next.stdout().expect("stdout").bytes())).await;
        assert_eq!(got, expected(1, 4), "round {round}");
        // Untaken again, it blocks nobody: the command goes on to its end.
        assert_eq!(within("the end", left.wait()).await.expect("the end").exit_code, 0);
        // The agent takes what the pipe holds at the command's end a moment later.
        let closed = async {
            loop {
                let state = left.stream_state(false).await.expect("its state");
                if state.closed {
                    return state;
                }
            }
        };
        let state = within("the end of its output", closed).await;
        assert_eq!(state.total, 8 * FILE, "round {round}");
    }
    bench.end().await;
}

#[tokio::test]
async fn a_reader_that_stands_still_holds_up_its_own_command_only() {
    let bench = Bench::new(2).await;
    let mut slow = bench.start(repeated(0, 8)).await;
    let mut bytes = slow.stdout().expect("stdout").bytes();
    let begun = some(&mut bytes, READ).await;
    for _ in 0..3 {
        let mut other = bench.start(repeated(1, 4)).await;
        let got = within("the other stream", digest(other.stdout().expect("stdout").bytes())).await;
        assert_eq!(got, expected(1, 4));
    }
    let state = slow.stream_state(false).await.expect("its state");
    assert!(state.total < 8 * FILE && !state.closed, "the command waits for its reader: {state:?}");
    let mut all = begun;
    while let Some(piece) = within("the rest", bytes.next()).await {
        all.extend_from_slice(&piece.expect("no cut"));
    }
    assert!(all == repeat(0, 8 * FILE as usize), "{} bytes", all.len());
    bench.end().await;
}

#[tokio::test]
async fn a_killed_command_leaves_all_it_has_written() {
    let bench = Bench::new(1).await;
    let mut killed = bench.start(repeated(0, 200)).await;
    let mut bytes = killed.stdout().expect("stdout").bytes();
    let begun = some(&mut bytes, READ).await;
    killed.kill().await.expect("the kill");
    let mut all = begun;
    while let Some(piece) = within("the rest", bytes.next()).await {
        all.extend_from_slice(&piece.expect("no cut"));
    }
    assert_eq!(within("the end", killed.wait()).await.expect("the end").exit_code, -libc::SIGKILL);
    let state = killed.stream_state(false).await.expect("its state");
    assert_eq!(state.total, all.len() as u64);
    assert!(state.total < 200 * FILE, "it was killed in the middle");
    assert!(all == repeat(0, all.len()));
    bench.end().await;
}

#[tokio::test]
async fn a_box_that_dies_in_the_middle_is_a_cut_and_no_short_success() {
    let bench = Bench::new(1).await;
    let mut cut = bench.start(repeated(0, 200)).await;
    let mut bytes = cut.stdout().expect("stdout").bytes();
    let mut all = some(&mut bytes, READ).await;
    let shim = bench.sandbox.info().pid.expect("the shim");
    // SAFETY: kill takes two integers; the pid is our own box's shim.
    assert_eq!(unsafe { libc::kill(shim as i32, libc::SIGKILL) }, 0);
    let last = loop {
        match within("the cut", bytes.next()).await {
            Some(Ok(piece)) => all.extend_from_slice(&piece),
            last => break last,
        }
    };
    assert!(matches!(last, Some(Err(_))), "{last:?}");
    assert!(all == repeat(0, all.len()));
    bench.end().await;
}

#[tokio::test]
async fn text_that_is_cut_off_is_told_by_the_wait() {
    let bench = Bench::new(1).await;
    let mut cut = bench.start(repeated(0, 8)).await;
    let mut text = cut.stdout().expect("stdout");
    within("its beginning", text.next()).await.expect("text");
    let mut other = bench.sandbox.attach(cut.id()).await.expect("the execution");
    let mut bytes = other.stdout().expect("stdout").bytes();
    while let Some(piece) = within("the rest", bytes.next()).await {
        piece.expect("no cut");
    }
    while within("its end", text.next()).await.is_some() {}
    let told = within("the end", cut.wait()).await.expect("the end");
    let message = told.error_message.as_deref().unwrap_or_default();
    assert!(told.exit_code == 0 && message.contains("cut off after"), "{told:?}");
    assert_eq!(within("the end", other.wait()).await.expect("the end").error_message, None);
    bench.end().await;
}

/// Does nothing but for the test below, which starts this program again.
#[tokio::test]
async fn starts_a_long_command_in_a_detached_box_and_waits() {
    let Some(home) = order() else { return };
    let runtime = BoxliteRuntime::builder().home_dir(home).build().expect("a runtime");
    let options = BoxOptions {
        rootfs: RootfsSpec::Image(busybox_image()),
        auto_remove: false,
        detach: true,
        ..BoxOptions::default()
    };
    let sandbox = runtime.create(options, None).await.expect("a box");
    put_noise(&sandbox, 1).await;
    let command = repeated(0, 16).stdout_mode(OutputMode::Pipe);
    let mut execution = sandbox.exec(command).await.expect("an execution");
    let mut bytes = execution.stdout().expect("stdout").bytes();
    some(&mut bytes, READ).await;
    say(&format!("{} {}", sandbox.id(), execution.id()));
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn another_process_takes_up_a_stream_whose_reader_was_killed() {
    let home = PerTestBoxHome::new();
    let first = "leaving::starts_a_long_command_in_a_detached_box_and_waits";
    let first = Another::start(first, home.path.to_str().expect("a path"));
    let said = first.hear();
    let (id, execution) = said.split_once(' ').expect("two ids");
    first.signal(libc::SIGKILL);
    drop(first);

    let runtime = BoxliteRuntime::builder().home_dir(&home.path).build().expect("a runtime");
    let sandbox = runtime.get(id).await.expect("the home").expect("the box");
    let mut attached = sandbox.attach(execution).await.expect("the execution");
    let mut bytes = attached.stdout().expect("stdout").bytes();
    let mut rest = Vec::new();
    while let Some(piece) = within("the rest", bytes.next()).await {
        rest.extend_from_slice(&piece.expect("no cut"));
    }
    let state = attached.stream_state(false).await.expect("its state");
    assert_eq!((state.total, state.closed), (16 * FILE, true));
    assert_eq!(state.first + rest.len() as u64, state.total);
    assert!(state.first >= READ, "what was read before does not come again");
    assert!(rest == repeat(0, 16 * FILE as usize)[state.first as usize..], "from {}", state.first);
    runtime.remove(id, true).await.expect("the removal");
    runtime.shutdown(Some(0)).await.expect("the end");
}

/// The first bytes of a file without end.
fn repeat(number: u64, length: usize) -> Vec<u8> {
    noise(number).into_iter().cycle().take(length).collect()
}
