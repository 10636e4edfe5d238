//! The child processes, each this same program with an order, and what they say.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::Sender;
use std::time::Instant;

use crate::report::{Event, Order};

/// The argument that makes this program a child of itself.
pub(crate) const ROLE: &str = "role:child";

/// What was heard of a child.
#[derive(Debug)]
pub(crate) enum Heard {
    Said(Event),
    /// Its end of the pipe is closed: it has ended, and nothing that it left running holds its descriptors.
    Silent,
}

#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) child: Child,
    stdin: Option<ChildStdin>,
    pub(crate) ended: Option<Instant>,
    pub(crate) killed: bool,
}

impl Running {
    /// Starts a child; what it says goes to `heard`, under its number. Its own temporary files go to `tmp`.
    pub(crate) fn spawn(
        number: usize,
        order: &Order,
        tmp: &Path,
        log: &Path,
        heard: &Sender<(usize, Instant, Heard)>,
    ) -> Self {
        let log = File::options().create(true).append(true).open(log).expect("the era's log can be written");
        let mut child = Command::new(std::env::current_exe().expect("this program has a path"))
            .arg(ROLE)
            .env("BOXLITE_TEST_HOOKS", "1")
            .env("BOXLITE_BOOT_SECONDS", "120")
            .env("TMPDIR", tmp)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("this program can be started again");
        let mut stdin = child.stdin.take().expect("stdin is a pipe");
        let mut order = serde_json::to_vec(order).expect("an order is JSON");
        order.push(b'\n');
        // One that can't read it has ended, which is noticed.
        let _ = stdin.write_all(&order);
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let heard = heard.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // A line that was cut off by a kill is no event.
                if let Ok(event) = serde_json::from_str(&line) {
                    let _ = heard.send((number, Instant::now(), Heard::Said(event)));
                }
            }
            let _ = heard.send((number, Instant::now(), Heard::Silent));
        });
        Self { child, stdin: Some(stdin), ended: None, killed: false }
    }

    /// Says that the driver has seen what it wanted to see.
    pub(crate) fn go_on(&mut self) {
        if let Some(stdin) = &mut self.stdin {
            let _ = stdin.write_all(b"go\n");
        }
    }

    /// Says that the round is over.
    pub(crate) fn wind_down(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills the child, which isn't reaped yet: its pid is nobody else's.
    pub(crate) fn kill(&mut self) -> bool {
        let alive = self.is_running();
        if alive {
            let _ = self.child.kill();
            self.killed = true;
            self.ended = Some(Instant::now());
        }
        alive
    }

    /// Reaps it; what is wrong with how it ended.
    pub(crate) fn reap(&mut self) -> Option<String> {
        self.stdin = None;
        let status = self.child.wait();
        self.ended.get_or_insert_with(Instant::now);
        match status {
            Ok(status) if status.success() || self.killed => None,
            Ok(status) => Some(format!("it ended with {status}")),
            Err(error) => Some(format!("it can't be waited for: {error}")),
        }
    }
}
