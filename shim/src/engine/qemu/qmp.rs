//! QEMU's control connection: events in, one command out.
//!
//! Owns the wire format as far as it is needed. Decides nothing.

use std::io;
use std::os::fd::OwnedFd;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
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
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Data {
    reason: Option<String>,
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "x"}, "capabilities": ["oob"]}}"#;

    #[test]
    fn messages_are_told_apart() {
        assert_eq!(parse(GREETING.as_bytes()), Notice::Other);
        assert_eq!(parse(br#"{"return": {}}"#), Notice::Other);
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
