//! A bad network in front of a good registry: slow, broken off, refusing for a while, without ranges.
//!
//! One request per connection; it forwards bytes and invents nothing but the refusals it is told to give.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

/// What goes wrong, and what was seen.
#[derive(Debug, Default)]
pub(super) struct Weather {
    /// So many requests are answered with this status line.
    pub refusals: (usize, &'static str),
    /// So many blob answers are broken off after this many bytes.
    pub cuts: (usize, u64),
    /// Bytes per second of each blob answer.
    pub blob_rate: Option<u64>,
    /// The registry does not get to see ranges.
    pub no_ranges: bool,
    /// Requests so far.
    pub requests: usize,
    /// Bytes of blob answers so far, heads included.
    pub blob_bytes: u64,
    /// Blob answers under way, and the most there were at once.
    pub under_way: (usize, usize),
}

pub(super) struct Proxy {
    address: SocketAddr,
    weather: Arc<Mutex<Weather>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// In front of `host`, which is `address:port`.
    pub(super) fn start(host: &str) -> Self {
        let upstream: SocketAddr = host.parse().expect("an address");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("its address");
        let (weather, stop) = (Arc::new(Mutex::new(Weather::default())), Arc::new(AtomicBool::new(false)));
        let (shared, stopped) = (Arc::clone(&weather), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            for client in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(client) = client else { continue };
                let weather = Arc::clone(&shared);
                // A client that goes away ends its thread with an error, as it should.
                std::thread::spawn(move || serve(client, upstream, &weather));
            }
        });
        Self { address, weather, stop, thread: Some(thread) }
    }

    pub(super) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(super) fn weather(&self) -> MutexGuard<'_, Weather> {
        self.weather.lock().expect("the weather")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(mut client: TcpStream, upstream: SocketAddr, weather: &Mutex<Weather>) -> io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if client.read(&mut byte)? == 0 {
            return Ok(());
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let is_blob = head.starts_with("GET ") && head.contains("/blobs/sha256:");
    let (refusal, cut, rate, no_ranges) = {
        let mut weather = weather.lock().expect("the weather");
        weather.requests += 1;
        let take = |left: &mut usize| {
            let any = *left > 0;
            *left -= usize::from(any);
            any
        };
        let status = weather.refusals.1;
        let refusal = take(&mut weather.refusals.0).then_some(status);
        let length = weather.cuts.1;
        let cut = if is_blob && take(&mut weather.cuts.0) { length } else { u64::MAX };
        (refusal, cut, weather.blob_rate.filter(|_| is_blob), weather.no_ranges)
    };
    if let Some(status) = refusal {
        return write!(client, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let dropped = |line: &str| {
        let line = line.to_ascii_lowercase();
        line.starts_with("connection:") || (no_ranges && line.starts_with("range:"))
    };
    let lines: Vec<&str> = head.trim_end().split("\r\n").filter(|line| !dropped(line)).collect();
    let mut server = TcpStream::connect(upstream)?;
    write!(server, "{}\r\nConnection: close\r\n\r\n", lines.join("\r\n"))?;
    if is_blob {
        let mut weather = weather.lock().expect("the weather");
        weather.under_way.0 += 1;
        weather.under_way.1 = weather.under_way.1.max(weather.under_way.0);
    }
    let note = |note: Note| {
        let mut weather = weather.lock().expect("the weather");
        match note {
            _ if !is_blob => {}
            Note::Bytes(count) => weather.blob_bytes += count,
            Note::End => weather.under_way.0 -= 1,
        }
    };
    let result = forward(&mut server, &mut client, cut, rate, note);
    let _ = client.shutdown(Shutdown::Both);
    result
}

enum Note {
    Bytes(u64),
    End,
}

/// One chunk is always held back, so that the end is noted before the client can see it.
fn forward(
    server: &mut TcpStream,
    client: &mut TcpStream,
    cut: u64,
    rate: Option<u64>,
    note: impl Fn(Note),
) -> io::Result<()> {
    let step = rate.map_or(64 << 10, |rate| usize::try_from(rate / 50).unwrap_or(1).max(1));
    let mut held = Vec::new();
    let mut sent = 0;
    let mut pass = || {
        while sent < cut {
            let mut next = vec![0; step];
            let count = server.read(&mut next)?;
            if count == 0 {
                break;
            }
            next.truncate(count);
            let chunk = std::mem::replace(&mut held, next);
            client.write_all(&chunk)?;
            sent += count as u64;
            note(Note::Bytes(count as u64));
            if rate.is_some() {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    };
    let passed = pass();
    note(Note::End);
    passed.and_then(|()| client.write_all(&held))
}
