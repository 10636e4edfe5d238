//! The one byte pipe to the host and what runs on it.
//!
//! Owns finding and opening the pipe ([`Link`]), one host's visit on it ([`session`]), and the unasked news
//! ([`events`]). Knows nothing of executions: streams are handed to whoever serves them.

pub(crate) mod events;
mod port;
pub(crate) mod session;
mod vsock;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{AgentError, Context};
use crate::sys::mounts::read_line;

use port::SerialPort;
use vsock::HostConnection;

/// The way to the host.
#[derive(Debug)]
pub(crate) enum Link {
    /// QEMU's virtserialport: hosts come and go.
    Serial(SerialPort),
    /// libkrun's vsock: one connection for the machine's whole life.
    Vsock(HostConnection),
}

impl Link {
    /// Whether nobody is at the other end.
    pub(crate) fn is_alone(&self) -> bool {
        match self {
            Self::Serial(port) => port.is_alone(),
            Self::Vsock(_) => false,
        }
    }

    /// Finds the pipe; the kernel adds a port moments after the agent's start. Which engine runs the machine shows
    /// only here: a machine with a port has no vsock device, and the other way round.
    pub(crate) async fn find() -> Result<Self, AgentError> {
        const EACH: Duration = Duration::from_millis(1);
        const LATER: Duration = Duration::from_millis(50);
        let mut tries = 0_u32;
        loop {
            if let Some(device) = find_port(Path::new("/sys/class/virtio-ports")) {
                let port = SerialPort::open(&device).step(|| format!("open {}", device.display()))?;
                return Ok(Self::Serial(port));
            }
            if let Some(connection) = HostConnection::open().step(|| "connect to the host".into())? {
                return Ok(Self::Vsock(connection));
            }
            tries = tries.saturating_add(1);
            tokio::time::sleep(if tries < 1000 { EACH } else { LATER }).await;
        }
    }
}

/// The device of the port that carries the agent's name.
fn find_port(class: &Path) -> Option<PathBuf> {
    let ports = fs::read_dir(class).ok()?;
    ports
        .flatten()
        .find(|port| read_line(&port.path().join("name")).is_ok_and(|name| name == boxlite_proto::AGENT_PORT))
        .map(|port| Path::new("/dev").join(port.file_name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_found_by_its_name() {
        let class = std::env::temp_dir().join(format!("boxlite-guest-ports-{}", std::process::id()));
        for (port, name) in [("vport0p0", "console\n"), ("vport0p1", "agent\n"), ("vport0p2", "agents\n")] {
            fs::create_dir_all(class.join(port)).unwrap();
            fs::write(class.join(port).join("name"), name).unwrap();
        }
        let found = find_port(&class);
        fs::remove_dir_all(&class).unwrap();
        assert_eq!(found, Some(PathBuf::from("/dev/vport0p1")));
        assert_eq!(find_port(&class), None);
    }
}
