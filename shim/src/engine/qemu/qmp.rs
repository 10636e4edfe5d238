//! QEMU's control connection (QMP): its messages, and commands one after another while a machine is made.
//!
//! Owns the wire format as far as it is needed. Decides nothing. A machine that runs has a `monitor`. Source: QEMU's docs/interop/qmp-spec.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// Leaves the negotiation mode; written before QEMU even runs.
pub(crate) const HANDSHAKE: &[u8] = b"{\"execute\":\"qmp_capabilities\"}\n";
const QUIT: &[u8] = b"{\"execute\":\"quit\"}\n";
/// No message that matters is longer.
const LONGEST_LINE: u64 = 64 * 1024;

/// One message of QEMU's, as far as anybody here cares.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Message {
    /// Name of an event.
    event: Option<String>,
    #[serde(default)]
    data: Option<Data>,
    #[serde(default)]
    error: Option<ErrorBody>,
    /// The answer to a command that was taken.
    #[serde(default, rename = "return")]
    answer: Option<Value>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Data {
    reason: Option<String>,
    status: Option<String>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct ErrorBody {
    desc: String,
}

/// What is worth telling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The machine is ending, and why (`guest-reset`, `host-qmp-quit`, …).
    Shutdown { reason: String },
    /// The guest's kernel has panicked.
    GuestPanicked,
    /// QEMU refused a command.
    Refused { why: String },
    /// QEMU has done a command.
    Done,
    /// A machine's state has been written or read, or could not be.
    Migrated { ok: bool },
    /// Anything else.
    Other,
}

/// Understands one line; what is no JSON is `Other`.
pub(crate) fn parse(line: &[u8]) -> Notice {
    let Ok(message) = serde_json::from_slice::<Message>(line) else { return Notice::Other };
    if let Some(error) = message.error {
        return Notice::Refused { why: error.desc };
    }
    match message.event.as_deref() {
        Some("SHUTDOWN") => Notice::Shutdown {
            reason: message.data.and_then(|data| data.reason).unwrap_or_else(|| "unknown".into()),
        },
        Some("GUEST_PANICKED") => Notice::GuestPanicked,
        Some("MIGRATION") => match message.data.and_then(|data| data.status).as_deref() {
            Some("completed") => Notice::Migrated { ok: true },
            Some("failed" | "cancelled") => Notice::Migrated { ok: false },
            _ => Notice::Other,
        },
        None if message.answer.is_some() => Notice::Done,
        _ => Notice::Other,
    }
}

/// The two directions of the connection.
pub(crate) fn connect(fd: OwnedFd) -> io::Result<(Events, Commands)> {
    let stream = std::os::unix::net::UnixStream::from(fd);
    stream.set_nonblocking(true)?;
    let (read, write) = UnixStream::from_std(stream)?.into_split();
    Ok((Events { lines: BufReader::new(read), line: Vec::new() }, Commands(write)))
}

/// QEMU's messages. They must be read: QEMU keeps what nobody takes.
pub(crate) struct Events {
    lines: BufReader<OwnedReadHalf>,
    line: Vec<u8>,
}

impl Events {
    /// The next message; `None` when QEMU is gone or sends nonsense. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Option<Notice> {
        let room = LONGEST_LINE.saturating_sub(self.line.len() as u64);
        let mut bounded = (&mut self.lines).take(room);
        match bounded.read_until(b'\n', &mut self.line).await {
            Ok(_) if self.line.ends_with(b"\n") => {
                let notice = parse(&self.line);
                self.line.clear();
                Some(notice)
            }
            _ => None,
        }
    }
}

/// The way to QEMU.
pub(crate) struct Commands(OwnedWriteHalf);

impl Commands {
    /// Asks QEMU to end at once: it flushes its disks and goes, in milliseconds.
    pub(crate) async fn quit(&mut self) -> io::Result<()> {
        self.0.write_all(QUIT).await
    }

    pub(super) async fn send(&mut self, command: &[u8]) -> io::Result<()> {
        self.0.write_all(command).await
    }

    /// A command that a descriptor goes along with. It is short, so it is taken whole.
    async fn send_with(&mut self, command: &[u8], fd: BorrowedFd<'_>) -> io::Result<()> {
        let socket = self.0.as_ref();
        let send = || {
            let fds = [fd.as_raw_fd()];
            let parts = [IoSlice::new(command)];
            let rights = [ControlMessage::ScmRights(&fds)];
            Ok(sendmsg::<()>(socket.as_raw_fd(), &parts, &rights, MsgFlags::MSG_NOSIGNAL, None)?)
        };
        let sent = socket.async_io(Interest::WRITABLE, send).await?;
        if sent == command.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }
}

/// Why a machine could not be frozen, restored or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QmpError {
    #[error("QEMU refused `{command}`: {why}")]
    Refused { command: &'static str, why: String },
    #[error("QEMU could not transfer the machine's state")]
    Transfer,
    #[error("QEMU's monitor has ended")]
    Gone,
    #[error("QEMU's monitor can't be written to: {0}")]
    Write(#[from] io::Error),
}

/// The connection while a machine is made: each command is answered before the next.
pub(crate) struct Control {
    events: Events,
    commands: Commands,
    /// How the transfer of a state has ended, if QEMU has said so.
    migrated: Option<bool>,
}

impl Control {
    /// Takes the connection over when QEMU is up.
    pub(crate) async fn begin((events, commands): (Events, Commands)) -> Result<Self, QmpError> {
        let mut control = Self { events, commands, migrated: None };
        // The answer to the handshake.
        control.answered("qmp_capabilities").await?;
        Ok(control)
    }

    /// Both directions, for a machine that runs.
    pub(crate) fn release(self) -> (Events, Commands) {
        (self.events, self.commands)
    }

    /// Writes the state of a machine in a template's making to `state`: everything but its memory, which lies in a
    /// file of its own. The machine stands still then.
    pub(crate) async fn freeze(&mut self, state: BorrowedFd<'_>) -> Result<(), QmpError> {
        self.run("stop", Value::Null).await?;
        self.leave_out_memory().await?;
        let name = "state";
        self.commands.send_with(&command("getfd", json!({ "fdname": name })), state).await?;
        self.answered("getfd").await?;
        self.run("migrate", json!({ "uri": format!("fd:{name}") })).await?;
        self.transferred().await
    }

    /// Reads the state of a template's machine from `state`, which is QEMU's own descriptor of that number.
    pub(crate) async fn restore(&mut self, state: i32) -> Result<(), QmpError> {
        self.leave_out_memory().await?;
        self.run("migrate-incoming", json!({ "uri": format!("fd:{state}") })).await?;
        self.transferred().await
    }

    /// Tells the guest how large a disk is.
    pub(crate) async fn announce_size(&mut self, node: &str, bytes: u64) -> Result<(), QmpError> {
        self.run("block_resize", json!({ "node-name": node, "size": bytes })).await
    }

    /// Lets a restored machine run.
    pub(crate) async fn go_on(&mut self) -> Result<(), QmpError> {
        self.run("cont", Value::Null).await
    }

    /// Ends QEMU.
    pub(crate) async fn quit(&mut self) -> Result<(), QmpError> {
        Ok(self.commands.quit().await?)
    }

    async fn leave_out_memory(&mut self) -> Result<(), QmpError> {
        let on = |capability| json!({ "capability": capability, "state": true });
        let capabilities = json!({ "capabilities": [on("x-ignore-shared"), on("events")] });
        self.run("migrate-set-capabilities", capabilities).await
    }

    async fn run(&mut self, name: &'static str, arguments: Value) -> Result<(), QmpError> {
        self.commands.send(&command(name, arguments)).await?;
        self.answered(name).await
    }

    async fn answered(&mut self, command: &'static str) -> Result<(), QmpError> {
        loop {
            match self.events.next().await.ok_or(QmpError::Gone)? {
                Notice::Done => return Ok(()),
                Notice::Refused { why } => return Err(QmpError::Refused { command, why }),
                Notice::Migrated { ok } => self.migrated = Some(ok),
                Notice::Shutdown { .. } | Notice::GuestPanicked | Notice::Other => {}
            }
        }
    }

    async fn transferred(&mut self) -> Result<(), QmpError> {
        loop {
            match self.migrated.take() {
                Some(true) => return Ok(()),
                Some(false) => return Err(QmpError::Transfer),
                None => {}
            }
            if let Notice::Migrated { ok } = self.events.next().await.ok_or(QmpError::Gone)? {
                self.migrated = Some(ok);
            }
        }
    }
}

/// One command as QEMU reads it.
pub(super) fn command(name: &str, arguments: Value) -> Vec<u8> {
    let mut command = json!({ "execute": name });
    if !arguments.is_null() {
        command["arguments"] = arguments;
    }
    format!("{command}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "x"}, "capabilities": ["oob"]}}"#;

    #[test]
    fn messages_are_told_apart() {
        assert_eq!(parse(GREETING.as_bytes()), Notice::Other);
        assert_eq!(parse(br#"{"return": {}}"#), Notice::Done);
        for (status, notice) in [
            ("completed", Notice::Migrated { ok: true }),
            ("failed", Notice::Migrated { ok: false }),
            ("active", Notice::Other),
        ] {
            let event = format!(r#"{{"event": "MIGRATION", "data": {{"status": "{status}"}}}}"#);
            assert_eq!(parse(event.as_bytes()), notice);
        }
        assert_eq!(
            parse(br#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}"#),
            Notice::Shutdown { reason: "guest-reset".into() }
        );
        assert_eq!(
            parse(br#"{"event": "GUEST_PANICKED", "data": {"action": "pause"}}"#),
            Notice::GuestPanicked
        );
        assert_eq!(
            parse(br#"{"error": {"class": "CommandNotFound", "desc": "no such command"}}"#),
            Notice::Refused { why: "no such command".into() }
        );
        assert_eq!(parse(b"{\"event\":"), Notice::Other);
        assert_eq!(parse(b"[]"), Notice::Other);
    }

    #[tokio::test]
    async fn events_arrive_and_quit_is_sent() {
        let (ours, mut qemu) = std::os::unix::net::UnixStream::pair().unwrap();
        let (mut events, mut commands) = connect(ours.into()).unwrap();
        qemu.write_all(format!("{GREETING}\r\n{{\"event\": \"SHUTDOWN\"}}\r\n").as_bytes()).unwrap();
        assert_eq!(events.next().await, Some(Notice::Other));
        assert_eq!(events.next().await, Some(Notice::Shutdown { reason: "unknown".into() }));
        commands.quit().await.unwrap();
        let mut sent = [0; QUIT.len()];
        qemu.read_exact(&mut sent).unwrap();
        assert_eq!(sent, QUIT);
        drop(qemu);
        assert_eq!(events.next().await, None);
    }

    #[tokio::test]
    async fn a_transfer_may_end_before_its_command_is_answered() {
        let (ours, mut qemu) = std::os::unix::net::UnixStream::pair().unwrap();
        let done = "{\"return\": {}}\n";
        let completed = "{\"event\": \"MIGRATION\", \"data\": {\"status\": \"completed\"}}\n";
        let refused = "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\n";
        write!(qemu, "{GREETING}\n{done}{done}{completed}{done}{refused}").unwrap();
        let mut control = Control::begin(connect(ours.into()).unwrap()).await.unwrap();
        control.restore(9).await.unwrap();
        let error = control.go_on().await.unwrap_err();
        assert!(matches!(&error, QmpError::Refused { command: "cont", why } if why == "no"), "{error}");
        drop(qemu);
        assert!(matches!(control.announce_size("box", 1).await, Err(QmpError::Gone | QmpError::Write(_))));
    }

    #[tokio::test]
    async fn a_line_without_end_is_given_up() {
        let (ours, mut qemu) = std::os::unix::net::UnixStream::pair().unwrap();
        let (mut events, _commands) = connect(ours.into()).unwrap();
        let writer = std::thread::spawn(move || qemu.write_all(&vec![b'x'; 1 << 20]));
        assert_eq!(events.next().await, None);
        drop(events);
        drop(_commands);
        let _ = writer.join();
    }
}
