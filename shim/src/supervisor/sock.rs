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
use boxlite_proto::stream::{BYTES, Which, admission};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, setsockopt, socket, sockopt,
};
use nix::unistd::{Uid, geteuid};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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

/// Who is in and whether others are let in.
#[derive(Clone)]
pub(crate) struct Gate {
    closed: Arc<AtomicBool>,
    /// Clients that carry bytes of a command.
    byte_streams: Arc<AtomicUsize>,
    streams: Arc<Semaphore>,
    connections: Arc<Semaphore>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self {
            closed: Arc::default(),
            byte_streams: Arc::default(),
            streams: Arc::new(Semaphore::new(MAX_CLIENT_STREAMS)),
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        }
    }

    /// From now on clients are told that the agent is going.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Whether a client carries bytes of a command.
    pub(crate) fn has_byte_streams(&self) -> bool {
        self.byte_streams.load(Ordering::Relaxed) > 0
    }

    /// Counts a client that carries bytes for as long as the result lives.
    fn count_bytes(&self) -> CountedBytes {
        self.byte_streams.fetch_add(1, Ordering::Relaxed);
        CountedBytes(Arc::clone(&self.byte_streams))
    }

    /// Returns when no client has a stream any more.
    pub(crate) async fn streams_done(&self) {
        // It fails only when the semaphore is closed, which nobody does.
        let _ = self.streams.acquire_many(MAX_CLIENT_STREAMS as u32).await;
    }
}

/// A client that carries bytes.
struct CountedBytes(Arc<AtomicUsize>);

impl Drop for CountedBytes {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
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

/// Accepts until dropped.
pub(crate) async fn serve(listener: UnixListener, opener: Opener, gate: Gate) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                if let Some(client) = admit(client, &gate) {
                    tokio::spawn(client.run(opener.clone(), gate.clone()));
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
    stream: OwnedSemaphorePermit,
    _connection: OwnedSemaphorePermit,
}

/// Lets a client in, or tells it why not. `None`: it is gone.
fn admit(socket: UnixStream, gate: &Gate) -> Option<Client> {
    let peer = Uid::from_raw(socket.peer_cred().ok()?.uid());
    if peer != geteuid() && !peer.is_root() {
        log!("refused a client of user {peer}");
        return None;
    }
    // A fresh socket has room for one byte; a client that is gone already needs none.
    let answer = |byte| socket.try_write(&[byte]).is_ok();
    if gate.closed.load(Ordering::Relaxed) {
        answer(admission::GONE);
        return None;
    }
    let place = |places: &Arc<Semaphore>| Arc::clone(places).try_acquire_owned();
    let (Ok(connection), Ok(stream)) = (place(&gate.connections), place(&gate.streams)) else {
        answer(admission::FULL);
        return None;
    };
    // Fewer wake-ups on either side; without it everything works too.
    let _ = setsockopt(&socket, sockopt::SndBuf, &SEND_BUFFER);
    answer(admission::OPEN).then_some(Client { socket, stream, _connection: connection })
}

impl Client {
    async fn run(self, opener: Opener, gate: Gate) {
        let Self { socket, stream: place, _connection } = self;
        let Ok(Some(first)) = first_bytes(&socket).await else { return };
        let counted = (first.first() == Some(&BYTES)).then(|| gate.count_bytes());
        let ending = match opener.open().await {
            Ok(stream) => Relay::new(&socket, stream, half_close(&first), first).exchange().await,
            Err(_) => Ending::AgentReset,
        };
        drop((place, counted));
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

#[cfg(test)]
mod tests;
