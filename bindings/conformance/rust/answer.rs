//! What was seen, and how errors are told: by the code's name in boxlite.h.

use std::ffi::OsString;

use boxlite::litebox::ExecExit;
use boxlite::{BoxliteError, BoxliteResult, Execution};
use serde_json::{Map, Value};

#[derive(Default)]
pub(crate) struct Answer(Map<String, Value>);

impl Answer {
    pub(crate) fn tell(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.to_owned(), value.into());
    }

    pub(crate) fn tell_error(&mut self, key: &str, error: &BoxliteError) {
        self.tell(key, code(error));
        if let Some(exit_code) = error.exit_code() {
            self.tell("exit_code", exit_code);
        }
    }

    /// Tells of a failure.
    pub(crate) fn note<T>(&mut self, key: &str, result: BoxliteResult<T>) -> Option<T> {
        result.map_err(|error| self.tell_error(key, &error)).ok()
    }

    pub(crate) fn tell_exit(&mut self, exit: ExecExit) {
        self.tell("exit", if exit.signal == 0 { exit.exit_code } else { -1 });
        self.tell("signal", exit.signal);
        self.tell("timed_out", exit.timed_out);
        self.tell("oom_killed", exit.oom_killed);
    }

    pub(crate) async fn tell_wait(&mut self, execution: &Execution) {
        if let Some(exit) = self.note("wait", execution.exit().await) {
            self.tell_exit(exit);
        }
    }

    pub(crate) fn json(self) -> Value {
        Value::Object(self.0)
    }
}

/// The error's name in boxlite.h.
fn code(error: &BoxliteError) -> String {
    let found = BoxliteError::CODES.iter().find(|(_, code)| *code == error.code());
    let mut name = "BOXLITE".to_owned();
    for letter in found.map_or("Unknown", |(name, _)| name).chars() {
        if letter.is_uppercase() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

/// An output that is there as a whole.
pub(crate) fn write_file(path: OsString, data: Vec<u8>) {
    std::fs::write(path, data).expect("a file for the output");
}
