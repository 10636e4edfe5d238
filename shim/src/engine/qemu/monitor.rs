//! The monitor of a machine that runs: commands in, their answers out, and whatever else QEMU says.
//!
//! Owns the connection once the machine is made, which `qmp`'s `Control` does. Decides nothing.

use boxlite_proto::serial;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::qmp::{Commands, Events, Notice, QmpError, command};

/// Name of the node that holds the file of an image that came later. Only one ever comes.
const LATER_IMAGE: &str = "later-image";

/// The monitor. Its messages are read for as long as QEMU lives, also when this is dropped.
pub(crate) struct Monitor {
    commands: Commands,
    /// Of all commands, in their order; the error is QEMU's.
    answers: UnboundedReceiver<Result<(), String>>,
}

impl Monitor {
    /// Begins to read; `tell` hears of each message. Needs the runtime.
    pub(crate) fn watch(
        (mut events, commands): (Events, Commands),
        tell: impl Fn(&Notice) + Send + 'static,
    ) -> Self {
        let (answer, answers) = unbounded_channel();
        tokio::spawn(async move {
            while let Some(notice) = events.next().await {
                tell(&notice);
                // Nobody may wait for answers any more; the messages must be read all the same.
                let _ = match notice {
                    Notice::Done => answer.send(Ok(())),
                    Notice::Refused { why } => answer.send(Err(why)),
                    _ => Ok(()),
                };
            }
        });
        Self { commands, answers }
    }

    /// Asks QEMU to end at once: it flushes its disks and goes, in milliseconds.
    pub(crate) async fn quit(&mut self) -> std::io::Result<()> {
        self.commands.quit().await
    }

    /// Puts another image, the file at `path`, in the place of the machine's. The guest must not use the disk meanwhile.
    /// The options are those that the command line has for the first.
    pub(crate) async fn replace_image(&mut self, path: &str) -> Result<(), QmpError> {
        let cache = json!({ "direct": false, "no-flush": false });
        let file = json!({
            "node-name": LATER_IMAGE, "driver": "file", "filename": path,
            "read-only": true, "discard": "ignore", "cache": cache,
        });
        self.run("blockdev-add", file).await?;
        let image = json!({
            "node-name": serial::IMAGE, "driver": "raw", "file": LATER_IMAGE,
            "read-only": true, "discard": "ignore", "cache": cache,
        });
        // The first image's file goes with its last user.
        self.run("blockdev-reopen", json!({ "options": [image] })).await
    }

    async fn run(&mut self, name: &'static str, arguments: Value) -> Result<(), QmpError> {
        // Answers that nobody has waited for.
        while self.answers.try_recv().is_ok() {}
        self.commands.send(&command(name, arguments)).await?;
        match self.answers.recv().await {
            Some(Ok(())) => Ok(()),
            Some(Err(why)) => Err(QmpError::Refused { command: name, why }),
            None => Err(QmpError::Gone),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::qmp::connect;
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixStream;

    #[tokio::test]
    async fn an_answer_belongs_to_its_command_and_events_to_nobody() {
        let (ours, mut qemu) = UnixStream::pair().unwrap();
        let (told, mut heard) = unbounded_channel();
        let tell = move |notice: &Notice| told.send(notice.clone()).unwrap();
        let mut monitor = Monitor::watch(connect(ours.into()).unwrap(), tell);
        // The handshake's.
        writeln!(qemu, "{{\"return\": {{}}}}").unwrap();
        assert_eq!(heard.recv().await, Some(Notice::Done));
        let script = std::thread::spawn(move || {
            let mut commands = BufReader::new(qemu.try_clone().unwrap()).lines();
            let mut next = || serde_json::from_str::<Value>(&commands.next().unwrap().unwrap()).unwrap();
            let add = next();
            writeln!(qemu, "{{\"event\": \"SHUTDOWN\"}}\n{{\"return\": {{}}}}").unwrap();
            let reopen = next();
            writeln!(qemu, "{{\"error\": {{\"class\": \"GenericError\", \"desc\": \"no\"}}}}").unwrap();
            (add, reopen)
        });
        let refused = monitor.replace_image("../../a \"b\"").await.unwrap_err();
        assert_eq!(refused.to_string(), "QEMU refused `blockdev-reopen`: no");
        let (add, reopen) = script.join().unwrap();
        assert_eq!(add["arguments"]["filename"], "../../a \"b\"");
        assert_eq!(reopen["arguments"]["options"][0]["file"], add["arguments"]["node-name"]);
        let events: Vec<_> = std::iter::from_fn(|| heard.try_recv().ok()).collect();
        assert_eq!(events[0], Notice::Shutdown { reason: "unknown".into() });
        assert!(matches!(monitor.replace_image("x").await, Err(QmpError::Gone | QmpError::Write(_))));
    }
}
