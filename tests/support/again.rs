//! The test program once more, as another process: it runs one of its tests, which finds an order in the environment.
//! In a normal run there is no order, and that test has nothing to do.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const ORDER: &str = "BOXLITE_TEST_ORDER";
/// Begins what the other process says to the test, among what its test harness prints.
const MARK: char = '@';
/// No other process is silent for longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(300);

/// What this process was started for.
pub(crate) fn order() -> Option<String> {
    std::env::var(ORDER).ok()
}

/// Says something to the process that gave the order.
pub(crate) fn say(text: &str) {
    println!("{MARK}{text}");
}

/// Another process; killed at drop.
#[derive(Debug)]
pub(crate) struct Another {
    child: Child,
    said: Receiver<String>,
}

impl Another {
    /// Starts it with this order.
    pub(crate) fn start(test: &str, order: &str) -> Self {
        let program = std::env::current_exe().expect("this program");
        Self::start_by(Command::new(program).args(["--exact", test, "--nocapture"]), order)
    }

    /// Starts it by a command of the caller's, which ends up with this program.
    pub(crate) fn start_by(command: &mut Command, order: &str) -> Self {
        command.env(ORDER, order).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("another process");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let (sayer, said) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some((_, text)) = line.split_once(MARK) {
                    // Who no longer listens has seen enough.
                    let _ = sayer.send(text.to_owned());
                }
            }
        });
        Self { child, said }
    }

    /// What it says next.
    pub(crate) fn hear(&self) -> String {
        self.said.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("process {}: {error}", self.pid()))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: i32) {
        // SAFETY: kill takes two integers; the child is not reaped yet, so the pid is its.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
    }

    /// Stops it, and returns when none of its threads takes a step any more: a signal reaches them one by one. One that has
    /// ended stands still, too.
    #[allow(dead_code)]
    pub(crate) fn stand_still(&self) {
        self.signal(libc::SIGSTOP);
        let threads = format!("/proc/{}/task", self.pid());
        let deadline = Instant::now() + PATIENCE;
        let moves = |thread: std::fs::DirEntry| {
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            let state = stat.rsplit_once(") ").and_then(|(_, fields)| fields.chars().next());
            state.is_some_and(|state| !"TZX".contains(state))
        };
        while std::fs::read_dir(&threads)
            .is_ok_and(|mut threads| threads.any(|thread| thread.is_ok_and(moves)))
        {
            assert!(Instant::now() < deadline, "process {} does not stop", self.pid());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of ours")
    }
}

impl Drop for Another {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
