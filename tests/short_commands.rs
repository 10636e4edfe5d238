//! Commands run to their end by one call (`LiteBox::run`): what fits into the answer, what doesn't, and what cuts it off.

#[path = "support/waiting.rs"]
mod waiting;

use std::time::{Duration, Instant};

use boxlite::images::ProgressSink;
use boxlite::litebox::{RunControl, RunFailure, RunOptions, RunOutput};
use boxlite::{BoxCommand, BoxOptions, BoxliteError, BoxliteRuntime, LiteBox, RootfsSpec};
use boxlite_test_utils::home::{PerTestBoxHome, busybox_image};
use tokio::sync::watch;
use waiting::{PATIENCE, within};

async fn run_within(
    sandbox: &LiteBox,
    script: &str,
    options: RunOptions,
    deadline: Option<Duration>,
) -> Result<RunOutput, RunFailure> {
    let (_sender, cancelled) = watch::channel(false);
    let control = RunControl { deadline: deadline.map(|limit| Instant::now() + limit), cancelled };
    let command = BoxCommand::new("sh").args(["-c", script]);
    sandbox.run(command, options, &ProgressSink::none(), control).await
}

async fn run(sandbox: &LiteBox, script: &str) -> RunOutput {
    run_within(sandbox, script, RunOptions::default(), None).await.unwrap()
}

/// How many processes in the box have this word in their command line, the asking shell left out.
async fn processes(sandbox: &LiteBox, word: &str) -> usize {
    let script = format!("ps -o args | grep -c '[{}]{}'", &word[..1], &word[1..]);
    String::from_utf8(run(sandbox, &script).await.stdout).unwrap().trim().parse().unwrap()
}

async fn gone(sandbox: &LiteBox, word: &str) {
    let deadline = Instant::now() + PATIENCE;
    while processes(sandbox, word).await > 0 {
        assert!(Instant::now() < deadline, "'{word}' still runs");
    }
}

#[tokio::test]
async fn a_command_by_one_call_is_like_any_other() {
    let home = PerTestBoxHome::new();
    let trace = home.path.join("trace.json");
    let runtime = BoxliteRuntime::builder().home_dir(&home.path).trace_file(&trace).build().unwrap();
    let options = BoxOptions {
        rootfs: RootfsSpec::Image(busybox_image()),
        auto_remove: false,
        ..BoxOptions::default()
    };
    let sandbox = runtime.create(options, None).await.unwrap();

    output_of_any_length_comes_whole(&sandbox).await;
    what_is_kept_is_bounded(&sandbox).await;
    exits_and_failures_are_told(&sandbox).await;
    others_that_hold_the_output_hold_up_nobody(&sandbox).await;
    a_deadline_kills_and_gives_what_there_is(&sandbox).await;
    who_leaves_leaves_no_process(&sandbox).await;

    runtime.remove(sandbox.id().as_str(), true).await.unwrap();
    runtime.shutdown(None).await.unwrap();
    // It is written by threads of its own, which a removal does not wait for.
    within(PATIENCE, "the trace's last line", || is_told(&read_trace(&trace), "remove", "e")).await;
    let told = read_trace(&trace);
    for name in ["start", "configure", "agent/view", "exec sh", "remove"] {
        for phase in ["b", "e"] {
            assert!(is_told(&told, name, phase), "no {phase} of {name}");
        }
    }
}

async fn output_of_any_length_comes_whole(sandbox: &LiteBox) {
    for length in [0_usize, 1, 65_535, 65_536, 65_537, 300_000, 3_000_000] {
        let script =
            format!("head -c {length} /dev/zero; head -c {length} /dev/zero | tr '\\0' e >&2; exit 3");
        let output = run(sandbox, &script).await;
        assert_eq!((output.stdout.len(), output.stderr.len()), (length, length));
        assert_eq!((output.stdout_total, output.stderr_total), (length as u64, length as u64));
        assert!(
            output.stdout.iter().all(|byte| *byte == 0) && output.stderr.iter().all(|byte| *byte == b'e')
        );
        assert_eq!((output.exit.exit_code, output.output_still_open), (3, false));
    }
}

async fn what_is_kept_is_bounded(sandbox: &LiteBox) {
    for length in [1000, 100_000] {
        let options = RunOptions { max_output: 10, ..RunOptions::default() };
        let script = format!("head -c {length} /dev/zero");
        let output = run_within(sandbox, &script, options, None).await.unwrap();
        assert_eq!((output.stdout.len(), output.stdout_total), (10, length));
    }
}

async fn exits_and_failures_are_told(sandbox: &LiteBox) {
    assert_eq!(run(sandbox, "kill -9 $$").await.exit.signal, 9);
    let (_sender, cancelled) = watch::channel(false);
    let control = RunControl { deadline: None, cancelled };
    let command = BoxCommand::new("no-such-command");
    let failure =
        sandbox.run(command, RunOptions::default(), &ProgressSink::none(), control).await.unwrap_err();
    assert_eq!(failure.error.exit_code(), Some(127), "{}", failure.error);
}

async fn others_that_hold_the_output_hold_up_nobody(sandbox: &LiteBox) {
    let output = run(sandbox, "sleep 1234 & echo mine").await;
    assert_eq!((output.stdout.as_slice(), output.output_still_open), (&b"mine\n"[..], true));
    // It is nobody's to wait for, and not to be held up by its own output.
    let output = run(sandbox, "(head -c 3000000 /dev/zero; echo done > /tmp/flood) & echo mine").await;
    // It may have been through with it before the shell came to its word.
    assert!(output.output_still_open || output.stdout_total == 3_000_005, "{}", output.stdout_total);
    assert!(output.stdout.windows(5).any(|word| word == b"mine\n"));
    let deadline = Instant::now() + PATIENCE;
    while run(sandbox, "cat /tmp/flood").await.exit.exit_code != 0 {
        assert!(Instant::now() < deadline, "the background process stands still");
    }
    run(sandbox, "pkill -f 'sleep 1234'").await;
}

async fn a_deadline_kills_and_gives_what_there_is(sandbox: &LiteBox) {
    for length in [5, 200_000] {
        let script = format!("head -c {length} /dev/zero; sleep 2345");
        // A busy machine may come to the output later than the deadline: with more time, then.
        let mut seen = Vec::new();
        for seconds in [1, 5, 25] {
            let limit = Some(Duration::from_secs(seconds));
            let failure = run_within(sandbox, &script, RunOptions::default(), limit).await.unwrap_err();
            assert!(matches!(failure.error, BoxliteError::Timeout(_)), "{}", failure.error);
            seen = failure
                .partial
                .map(|partial| (partial.stdout.len(), partial.exit.signal))
                .into_iter()
                .collect();
            if seen == [(length, 9)] {
                break;
            }
        }
        assert_eq!(seen, [(length, 9)], "the output before the deadline");
        gone(sandbox, "sleep 2345").await;
    }
}

async fn who_leaves_leaves_no_process(sandbox: &LiteBox) {
    // Before the call is on its way, on its way, and after.
    for millis in [0, 1, 2, 4, 8, 16, 200] {
        let running = run_within(sandbox, "sleep 3456", RunOptions::default(), None);
        let left = tokio::time::timeout(Duration::from_millis(millis), running).await;
        assert!(left.is_err());
    }
    gone(sandbox, "sleep 3456").await;
}

/// The trace so far: all of its whole lines.
fn read_trace(path: &std::path::Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines = &text[..=text.rfind('\n').expect("a line")];
    serde_json::from_str(&format!("{}]", lines.trim_end().trim_end_matches(','))).unwrap()
}

fn is_told(trace: &[serde_json::Value], name: &str, phase: &str) -> bool {
    trace.iter().any(|event| event["name"] == name && event["ph"] == phase)
}
