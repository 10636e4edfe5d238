//! `agent.sock`: admits clients and gives each a stream to the agent.
//!
//! Owns the socket, the count of streams and the decision who may connect. The bytes are `relay`'s.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use boxlite_proto::channel::MAX_CLIENT_STREAMS;
use boxlite_proto::shim::files;
use boxlite_proto::stream::{BYTES, Which, admission};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, setsockopt, socket, sockopt,
};
use nix::unistd::{Uid, geteuid};
use tokio::net::{UnixListener, UnixStream};

use super::channel::Opener;
use super::log::log;
use super::relay::{CHUNK, Ending, HalfClose, Relay, see_off};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// Connections at once, those included that have no stream any more and are being seen off.
const MAX_CONNECTIONS: usize = 2048;
/// Asked for; the kernel gives what its limits allow.
const SEND_BUFFER: usize = 1024 * 1024;
/// Pause after an accept that failed for want of something.
const RETRY: Duration = Duration::from_millis(50);

/// Says whether new clients are let in.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<AtomicBool>);

impl Gate {
    /// From now on clients are told that the agent is going.
    pub(crate) fn close(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_closed(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Makes the socket in the working directory. The umask makes it the owner's only.
pub(crate) fn listen_at(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&fd, Backlog::new(BACKLOG)?)?;
    UnixListener::from_std(fd.into())
}

/// Deletes the socket's name.
pub(crate) fn unlink() {
    if let Err(error) = fs::remove_file(files::AGENT_SOCKET)
        && error.kind() != io::ErrorKind::NotFound
    {
        log!("cannot delete {}: {error}", files::AGENT_SOCKET);
    }
}

/// Accepts until dropped.
pub(crate) async fn serve(listener: UnixListener, opener: Opener, gate: Gate) {
    let streams = Count::new(MAX_CLIENT_STREAMS);
    let connections = Count::new(MAX_CONNECTIONS);
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                if let Some(client) = admit(client, &streams, &connections, &gate) {
                    tokio::spawn(client.run(opener.clone()));
                }
            }
            Err(error) => {
                log!("cannot accept a client: {error}");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// A client that was let in.
struct Client {
    socket: UnixStream,
    stream: Place,
    _connection: Place,
}

/// Lets a client in, or tells it why not. `None`: it is gone.
fn admit(socket: UnixStream, streams: &Count, connections: &Count, gate: &Gate) -> Option<Client> {
    let peer = Uid::from_raw(socket.peer_cred().ok()?.uid());
    if peer != geteuid() && !peer.is_root() {
        log!("refused a client of user {peer}");
        return None;
    }
    // A fresh socket has room for one byte; a client that is gone already needs none.
    let answer = |byte| socket.try_write(&[byte]).is_ok();
    if gate.is_closed() {
        answer(admission::GONE);
        return None;
    }
    let (Some(connection), Some(stream)) = (connections.take(), streams.take()) else {
        answer(admission::FULL);
        return None;
    };
    // Fewer wake-ups on either side; without it everything works too.
    let _ = setsockopt(&socket, sockopt::SndBuf, &SEND_BUFFER);
    answer(admission::OPEN).then_some(Client { socket, stream, _connection: connection })
}

impl Client {
    async fn run(self, opener: Opener) {
        let Self { socket, stream: place, _connection } = self;
        let Ok(Some(first)) = first_bytes(&socket).await else { return };
        let ending = match opener.open().await {
            Ok(stream) => Relay::new(&socket, stream, half_close(&first), first).exchange().await,
            Err(_) => Ending::AgentReset,
        };
        drop(place);
        see_off(&socket, ending).await;
    }
}

/// What the client sends first, at least as much as tells the kind of its stream.
async fn first_bytes(client: &UnixStream) -> io::Result<Option<Vec<u8>>> {
    let mut first = vec![0; CHUNK];
    let mut length = 0;
    loop {
        client.readable().await?;
        match client.try_read(&mut first[length..]) {
            Ok(0) if length == 0 => return Ok(None),
            Ok(0) => break,
            Ok(got) => length += got,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        if length > 1 || first[0] != BYTES {
            break;
        }
    }
    first.truncate(length);
    Ok(Some(first))
}

fn half_close(first: &[u8]) -> HalfClose {
    match first {
        [BYTES, which, ..] if *which != Which::Stdin as u8 => HalfClose::MeansNothing,
        _ => HalfClose::IsEof,
    }
}

/// A number of places that are taken and given back.
#[derive(Clone)]
struct Count(Arc<AtomicUsize>);

impl Count {
    fn new(places: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(places)))
    }

    fn take(&self) -> Option<Place> {
        let left = |left: usize| left.checked_sub(1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).ok()?;
        Some(Place(Arc::clone(&self.0)))
    }
}

/// A taken place; given back when dropped.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
