//! Executions with a terminal.

use boxlite::litebox::ExecStdout;
use boxlite::{BoxCommand, BoxliteError, Execution};
use futures::StreamExt;

use super::{Bench, shell, within};

/// A terminal's output so far.
struct Screen {
    stream: ExecStdout,
    /// What has not been waited for yet.
    seen: String,
    /// Everything.
    transcript: String,
}

impl Screen {
    fn of(execution: &mut Execution) -> Self {
        let stream = execution.stdout().expect("stdout");
        Self { stream, seen: String::new(), transcript: String::new() }
    }

    /// Reads until `text` is there, and forgets everything up to its end.
    async fn until(&mut self, text: &str) {
        let reading = async {
            loop {
                if let Some(at) = self.seen.find(text) {
                    self.seen.drain(..at + text.len());
                    return;
                }
                match self.stream.next().await {
                    Some(more) => {
                        self.seen.push_str(&more);
                        self.transcript.push_str(&more);
                    }
                    None => panic!("the terminal ended without {text:?}: {:?}", self.seen),
                }
            }
        };
        within(text, reading).await;
    }
}

#[tokio::test]
async fn a_terminal_is_real_has_a_size_and_passes_the_interrupt_key() {
    let bench = Bench::new().await;
    // A trapped signal interrupts `read`, which then reads nothing.
    let script = r#"for n in 0 1 2; do test -t $n || exit 9; done; trap 'echo resized' WINCH; tty; stty size
        until [ "$word" = first ]; do read word && echo "<$word>"; done
        stty size; cat; echo over; exit 4"#;
    let mut execution =
        bench.sandbox.exec(shell(script).tty(true).tty_size(50, 132)).await.expect("a terminal");
    assert!(execution.stderr().is_none(), "a terminal has one merged stream");
    let mut stdin = execution.stdin().expect("stdin");
    let mut screen = Screen::of(&mut execution);
    screen.until("/dev/pts/").await;
    screen.until("50 132\r\n").await;
    let refused = execution.resize_tty(33, 1 << 16).await.expect_err("too large");
    assert!(matches!(refused, BoxliteError::InvalidArgument(_)), "{refused}");
    execution.resize_tty(33, 99).await.expect("a new size");
    stdin.write_all(b"first\n").await.expect("writing");
    // The terminal's own echo comes first, then the process's answers.
    screen.until("first\r\n").await;
    screen.until("<first>\r\n").await;
    screen.until("33 99\r\n").await;
    assert!(screen.transcript.contains("resized\r\n"), "no SIGWINCH: {:?}", screen.transcript);
    // The end-of-file key, which `cat` obeys.
    stdin.write_all(b"\x04").await.expect("writing");
    screen.until("over\r\n").await;
    let result = within("the end", execution.wait()).await.expect("the end");
    assert_eq!(result.exit_code, 4);

    // The interrupt key reaches the group in front: the inner process dies of it, only then the shell's trap runs.
    let script = "trap 'echo caught; exit 3' INT; sh -c 'echo ready; exec sleep 300'; sleep 300";
    let mut execution = bench.sandbox.exec(shell(script).tty(true)).await.expect("a terminal");
    let mut stdin = execution.stdin().expect("stdin");
    let mut screen = Screen::of(&mut execution);
    screen.until("ready\r\n").await;
    stdin.write_all(b"\x03").await.expect("writing");
    screen.until("caught\r\n").await;
    assert_eq!(within("the end", execution.wait()).await.expect("the end").exit_code, 3);

    // Nobody handles it: the process dies of SIGINT.
    let command = BoxCommand::new("sleep").arg("300").tty(true);
    let mut execution = bench.sandbox.exec(command).await.expect("a terminal");
    let mut stdin = execution.stdin().expect("stdin");
    stdin.write_all(b"\x03").await.expect("writing");
    let result = within("the end", execution.wait()).await.expect("the end");
    assert_eq!(result.exit_code, -libc::SIGINT);

    // Without a terminal there is none to resize.
    let execution =
        bench.sandbox.exec(shell("test -t 0 && exit 9; sleep 1; exit 0")).await.expect("no terminal");
    let refused = execution.resize_tty(10, 10).await.expect_err("no terminal");
    assert!(!refused.to_string().is_empty());
    assert_eq!(execution.wait().await.expect("the end").exit_code, 0);
    bench.end().await;
}

#[tokio::test]
async fn closing_a_terminals_input_is_its_end_of_file() {
    let bench = Bench::new().await;
    let mut execution = bench.sandbox.exec(shell("cat; echo over").tty(true)).await.expect("a terminal");
    let mut stdin = execution.stdin().expect("stdin");
    let mut screen = Screen::of(&mut execution);
    stdin.write_all(b"hello\n").await.expect("written");
    screen.until("hello\r\nhello\r\n").await;
    stdin.close();
    screen.until("over\r\n").await;
    assert_eq!(execution.wait().await.expect("the end").exit_code, 0);
    bench.end().await;
}
