//! A command that runs to its end in one call, and what may happen to it meanwhile.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use boxlite::BoxliteError;
use boxlite::images::ProgressSink;
use boxlite::litebox::{RunControl, RunFailure, RunOptions, RunOutput};

use crate::answer::{Answer, write_file};
use crate::driver::Driver;
use crate::request::Request;

impl Driver {
    pub(crate) async fn run(&self, request: &Request, answer: &mut Answer) {
        let drain = Duration::from_millis(request.number("drain_ms", 200));
        let options = RunOptions { input: request.input(), drain, ..RunOptions::default() };
        let (_keep, cancelled) = tokio::sync::watch::channel(false);
        let deadline = request
            .has("deadline_ms")
            .then(|| Instant::now() + Duration::from_millis(request.number("deadline_ms", 0)));
        let control = RunControl { deadline, cancelled };
        let none = ProgressSink::none();
        let killed = async {
            if request.has("kill_when") {
                self.kill_when(request.os("kill_when")).await;
            }
        };
        let (run, ()) = tokio::join!(self.sandbox.run(request.command(), options, &none, control), killed);
        let output = match run {
            Ok(output) => {
                answer.tell_exit(output.exit);
                answer.tell("open", output.output_still_open);
                Some(output)
            }
            Err(RunFailure { error, partial }) => {
                answer.tell_error("error", &error);
                partial
            }
        };
        if let Some(RunOutput { stdout, stderr, .. }) = output {
            write_file(request.os("out"), stdout);
            write_file(request.os("err"), stderr);
        }
    }

    /// Kills the box's shim once there is this file in the box.
    async fn kill_when(&self, path: OsString) {
        let read = || self.sandbox.read_file(path.clone(), 1, ProgressSink::none());
        while matches!(read().await, Err(BoxliteError::NotFound(_))) {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.kill_shim();
    }
}
