//! stdin, stdout and stderr: nothing lost, nothing mixed, nobody waits for ever.

use boxlite::images::ProgressSink;
use boxlite::litebox::{OutputMode, RunControl, RunOptions, StdinMode};
use boxlite::{BoxCommand, BoxliteError};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::watch;

use super::{Bench, shell, vm, within};

#[tokio::test]
async fn stdin_is_written_echoed_and_closed() {
    let bench = Bench::new().await;
    // Ten megabytes that never repeat a line, against the stream's back pressure in both directions.
    let sent: Vec<u8> = (0..10 * 1024 * 1024 / 8_u64)
        .flat_map(|number| (number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes())
        .collect();
    let mut execution =
        bench.sandbox.exec(BoxCommand::new("cat").stdout_mode(OutputMode::Pipe)).await.expect("cat");
    let (mut stdin, stdout) = (execution.stdin().expect("stdin"), execution.stdout().expect("stdout"));
    assert!(execution.stdin().is_none() && execution.stdout().is_none(), "streams are taken once");
    let written = sent.clone();
    let writer = tokio::spawn(async move {
        for piece in written.chunks(100_003) {
            stdin.write_all(piece).await?;
        }
        stdin.close();
        assert!(stdin.is_closed());
        stdin.write_all(b"late").await.expect_err("a closed stdin takes nothing");
        boxlite::BoxliteResult::Ok(())
    });
    let back: Vec<_> = within("the echo", stdout.bytes().try_collect()).await.expect("no cut");
    let back = back.concat();
    writer.await.expect("the writer").expect("writing");
    assert_eq!(back.len(), sent.len());
    assert!(back == sent, "bytes have changed on their way");
    assert_eq!(within("the end of the echo", execution.wait()).await.expect("the end").exit_code, 0);

    // A process that stops reading: the writer is told, and is not left waiting.
    let mut execution = bench.sandbox.exec(BoxCommand::new("head").args(["-c", "5"])).await.expect("head");
    let mut stdin = execution.stdin().expect("stdin");
    let refused = within("the refusal", async {
        loop {
            if let Err(error) = stdin.write_all(&[b'x'; 65536]).await {
                return error;
            }
        }
    })
    .await;
    assert!(matches!(refused, BoxliteError::Execution(_)), "{refused}");
    assert_eq!(execution.wait().await.expect("the end").exit_code, 0);

    // Without a stdin, and with one that is dropped: end of file at once.
    assert_eq!(bench.say(shell("cat; echo end").stdin_mode(StdinMode::Null)).await, (0, "end\n".into()));
    let mut execution = bench.sandbox.exec(BoxCommand::new("cat")).await.expect("cat");
    drop(execution.stdin());
    assert_eq!(
        within("the end after a dropped stdin", execution.wait()).await.expect("the end").exit_code,
        0
    );
    bench.end().await;
}

#[tokio::test]
async fn a_kept_stdin_ends_where_it_is_closed_though_its_writer_leaves_at_once() {
    let bench = Bench::new().await;
    for round in 0..50 {
        let count = shell("[ $(wc -c) = 18144 ]").stdin_mode(StdinMode::Keep);
        let mut execution = bench.sandbox.exec(count).await.expect("an execution");
        let mut stdin = execution.stdin().expect("stdin");
        stdin.write_all(&[b'x'; 18144]).await.expect("writing");
        stdin.close();
        drop(stdin);
        let ended = within("the end of a closed stdin", execution.wait()).await.expect("the end");
        assert_eq!(ended.exit_code, 0, "round {round}");
    }
    bench.end().await;
}

#[tokio::test]
async fn sixteen_executions_at_once_never_mix() {
    let bench = Bench::new().await;
    let (code, _) = bench.say(shell("for n in $(seq 16); do mkdir /tmp/dir$n; done")).await;
    assert_eq!(code, 0);
    let script = r#"pwd; read word; i=0
        while [ $i -lt 300 ]; do echo "$TAG out $1 $word $i"; echo "$TAG err $1 $word $i" >&2; i=$((i+1)); done
        exit $1"#;
    let running = (1..=16).map(|number: i32| {
        let command = shell(script)
            .args(["name".to_owned(), number.to_string()])
            .env("TAG", format!("tag{number}"))
            .working_dir(format!("/tmp/dir{number}"))
            .stdout_mode(OutputMode::Pipe)
            .stderr_mode(OutputMode::Pipe);
        let bench = &bench;
        async move {
            let mut execution = bench.sandbox.exec(command).await.expect("an execution");
            let mut stdin = execution.stdin().expect("stdin");
            let stdout = execution.stdout().expect("stdout").bytes().try_collect::<Vec<_>>();
            let stderr = execution.stderr().expect("stderr").bytes().try_collect::<Vec<_>>();
            let feed = async {
                stdin.write_all(format!("word{number}\n").as_bytes()).await.expect("writing");
                stdin.close();
            };
            let (out, err, ()) = tokio::join!(stdout, stderr, feed);
            let code = execution.wait().await.expect("the end").exit_code;
            let text = |chunks: Vec<_>| String::from_utf8(chunks.concat()).expect("UTF-8");
            (number, code, text(out.expect("stdout")), text(err.expect("stderr")))
        }
    });
    let all = within("sixteen executions", futures::future::join_all(running)).await;
    for (number, code, out, err) in all {
        let lines = |which: &str| -> String {
            (0..300).map(|i| format!("tag{number} {which} {number} word{number} {i}\n")).collect()
        };
        assert_eq!(code, number);
        assert_eq!(out, format!("/tmp/dir{number}\n{}", lines("out")));
        assert_eq!(err, lines("err"));
    }
    bench.end().await;
}

#[tokio::test]
async fn a_child_in_the_background_does_not_hold_a_run() {
    let bench = Bench::new().await;
    let (_cancel, cancelled) = watch::channel(false);
    let control = RunControl { deadline: None, cancelled };
    let command = shell("sleep 600 & echo $!");
    let progress = ProgressSink::none();
    let running = bench.sandbox.run(command, RunOptions::default(), &progress, control);
    let output = within("the run", running).await.map_err(|failure| failure.error).expect("a run");
    assert_eq!((output.exit.exit_code, output.output_still_open), (0, true));
    // It goes on: an execution's end is not the end of what it started.
    let child = String::from_utf8(output.stdout).expect("UTF-8");
    let (code, _, _) = vm::run(&bench.sandbox, shell(&format!("kill {child}"))).await;
    assert_eq!(code, 0);
    bench.end().await;
}

#[tokio::test]
async fn what_the_box_has_forgotten_is_no_cut() {
    let bench = Bench::new().await;
    let mut kept = bench.sandbox.exec(shell("echo all")).await.expect("an execution");
    // Writes on after its end, so that its counts of then say too little.
    let script = "(while [ ! -e /tmp/go ]; do sleep 0.1; done; echo late) & echo early";
    let mut late = bench.sandbox.exec(shell(script)).await.expect("an execution");
    let (kept_out, late_out) =
        (kept.stdout().expect("stdout").bytes(), late.stdout().expect("stdout").bytes());
    kept.wait().await.expect("the end");
    late.wait().await.expect("the end");
    assert_eq!(bench.say(shell("touch /tmp/go")).await.0, 0);
    let mut others = Vec::new();
    for _ in 0..70 {
        let other = bench.sandbox.exec(BoxCommand::new("true")).await.expect("an execution");
        others.push(tokio::spawn(async move { other.wait().await }));
    }
    for other in others {
        within("another command", other).await.expect("a task").expect("the end");
    }
    let kept_out: Vec<_> = kept_out.try_collect().await.expect("nothing is missing");
    assert_eq!(kept_out.concat(), b"all\n");
    let mut late_out = late_out;
    let mut text = Vec::new();
    let error = loop {
        match within("the output", late_out.next()).await {
            Some(Ok(part)) => text.extend_from_slice(&part),
            Some(Err(error)) => break error.to_string(),
            None => panic!("nobody can know that this was all"),
        }
    };
    assert_eq!(text, b"early\nlate\n");
    assert!(error.contains("no word on whether 11 bytes are all"), "{error}");
    bench.end().await;
}
