//! Streams that are read to their end, alone, beside each other, and in one piece.

use std::time::Duration;

use boxlite::BoxCommand;
use boxlite::images::ProgressSink;
use boxlite::litebox::{RunControl, RunOptions};
use tokio::sync::watch;

use super::{Bench, FILE, digest, expected, repeated, within};

#[tokio::test]
async fn a_quarter_of_a_gigabyte_comes_whole_and_a_second_command_is_answered_beside_it() {
    let bench = Bench::new(1).await;
    let times = (256 << 20) / FILE;
    let mut long = bench.start(repeated(0, times)).await;
    let reading = tokio::spawn(digest(long.stdout().expect("stdout").bytes()));
    let mut answered = 0;
    while !reading.is_finished() {
        let echo = bench.sandbox.exec(BoxCommand::new("echo").arg("beside")).await.expect("an execution");
        assert_eq!(within("the command beside", echo.wait()).await.expect("its end").exit_code, 0);
        answered += 1;
    }
    assert!(answered > 0);
    assert_eq!(reading.await.expect("the reader"), expected(0, times));
    assert_eq!(within("the end", long.wait()).await.expect("the end").exit_code, 0);
    let state = long.stream_state(false).await.expect("its state");
    assert_eq!((state.first, state.total, state.dropped, state.closed), (0, times * FILE, 0, true));
    bench.end().await;
}

#[tokio::test]
async fn long_streams_beside_each_other_never_mix() {
    let bench = Bench::new(5).await;
    for (count, times) in [(2, 8), (5, 4)] {
        let mut streams = Vec::new();
        for number in 0..count {
            streams.push(bench.start(repeated(number, times)).await);
        }
        let reading = streams.iter_mut().map(|stream| digest(stream.stdout().expect("stdout").bytes()));
        let got = within("all of them", futures::future::join_all(reading)).await;
        for (number, got) in got.into_iter().enumerate() {
            assert_eq!(got, expected(number as u64, times), "{count} at once, number {number}");
        }
    }
    bench.end().await;
}

/// The drain time is for what others hold open: what the command itself has written comes, however long that takes.
#[tokio::test]
async fn what_the_pipes_hold_at_the_end_comes_without_any_drain_time() {
    let bench = Bench::new(1).await;
    for times in [1, 8] {
        let (_sender, cancelled) = watch::channel(false);
        let options = RunOptions { drain: Duration::ZERO, ..RunOptions::default() };
        let control = RunControl { deadline: None, cancelled };
        let progress = ProgressSink::none();
        let run = bench.sandbox.run(repeated(0, times), options, &progress, control);
        let output = within("the run", run).await.expect("it runs");
        assert_eq!(output.stdout_total, times * FILE);
        let pieces: Vec<&[u8]> = output.stdout.chunks(FILE as usize).collect();
        assert!(pieces.iter().all(|piece| *piece == super::noise(0)), "bytes have changed on their way");
    }
    bench.end().await;
}
