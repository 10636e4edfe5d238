//! Streams over a real yamux connection and real pipes.

use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use boxlite_proto::stream::OLDEST;
use futures::{AsyncReadExt, AsyncWriteExt};
use nix::fcntl::OFlag;
use nix::unistd::{pipe2, write};
use tokio::io::Interest;
use tokio::sync::mpsc;
use tokio_util::compat::TokioAsyncReadCompatExt;
use yamux::{Config, Connection, Mode, Stream};

use super::book::{Count, Held};
use super::input::Input;
use super::output::Output;
use super::ring::LIMIT;
use super::source::Source;
use super::*;
use crate::sys::eager::EagerFd;
use crate::sys::watch;

/// No step takes longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// A host and an agent: each call gives the two ends of one more stream.
struct Channel {
    wanted: mpsc::UnboundedSender<()>,
    opened: mpsc::UnboundedReceiver<Stream>,
    accepted: mpsc::UnboundedReceiver<Stream>,
}

impl Channel {
    fn new() -> Self {
        let (host, agent) = tokio::net::UnixStream::pair().unwrap();
        let mut host = Connection::new(host.compat(), Config::default(), Mode::Client);
        let mut agent = Connection::new(agent.compat(), Config::default(), Mode::Server);
        let (wanted, mut wishes) = mpsc::unbounded_channel();
        let (open, opened) = mpsc::unbounded_channel();
        let (accept, accepted) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(stream)) = poll_fn(|cx| agent.poll_next_inbound(cx)).await {
                accept.send(stream).unwrap();
            }
        });
        tokio::spawn(poll_fn(move |cx| {
            loop {
                if let Poll::Ready(Some(())) = wishes.poll_recv(cx) {
                    let mut new = pin!(poll_fn(|cx| host.poll_new_outbound(cx)));
                    if let Poll::Ready(Ok(stream)) = new.as_mut().poll(cx) {
                        open.send(stream).unwrap();
                    }
                    continue;
                }
                match host.poll_next_inbound(cx) {
                    Poll::Ready(Some(_)) => {}
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        }));
        Self { wanted, opened, accepted }
    }

    /// The host's end and the agent's; the first byte, which makes the peer see the stream, is consumed.
    async fn stream(&mut self) -> (Stream, Stream) {
        self.wanted.send(()).unwrap();
        let mut host = self.opened.recv().await.unwrap();
        host.write_all(b"B").await.unwrap();
        let mut agent = self.accepted.recv().await.unwrap();
        let mut first = [0];
        agent.read_exact(&mut first).await.unwrap();
        (host, agent)
    }
}

/// Somebody new.
fn taker_from(stream: Stream, offset: u64) -> Taker {
    static NAMES: AtomicU64 = AtomicU64::new(1);
    Taker { stream, offset, name: NAMES.fetch_add(1, Ordering::Relaxed) }
}

fn taker(stream: Stream) -> Taker {
    taker_from(stream, OLDEST)
}

fn output(mode: OutputMode) -> (Output, OwnedFd) {
    gathering(mode, 0)
}

fn gathering(mode: OutputMode, gathered: u64) -> (Output, OwnedFd) {
    let (read, process) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let (output, waiting) = Output::new(mode, gathered);
    let source = Source::Pipe(Arc::new(EagerFd::nonblocking(read).unwrap()));
    waiting.start(Some(source), InputMode::Null);
    (output, process)
}

async fn rest(stream: &mut Stream) -> Vec<u8> {
    let mut bytes = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
    bytes
}

/// Waits until the totals satisfy `what`.
async fn until(output: &Output, what: impl Fn(Count) -> bool) -> Count {
    for _ in 0..12_000 {
        if what(output.count()) {
            return output.count();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never came: {:?}", output.count());
}

#[tokio::test]
async fn untaken_output_is_kept_and_given_whole() {
    let mut channel = Channel::new();
    let (output, process) = output(OutputMode::Retain);
    write(&process, b"hello ").unwrap();
    until(&output, |count| count.total == 6).await;
    let (mut host, agent) = channel.stream().await;
    output.give(taker(agent));
    write(&process, b"world").unwrap();
    drop(process);
    assert_eq!(rest(&mut host).await, b"hello world");
    let count = until(&output, |count| !count.taken).await;
    assert_eq!(count, Count { total: 11, closed: true, taker: count.taker, ..Count::default() });
}

#[tokio::test]
async fn short_output_comes_in_one_piece() {
    let (output, process) = gathering(OutputMode::Pipe, 5);
    write(&process, b"hello").unwrap();
    drop(process);
    output.is_whole().await;
    let gathered = output.gather().await;
    assert_eq!((gathered.bytes.as_slice(), gathered.was_taken), (&b"hello"[..], false));
    assert!(output.gather().await.was_taken);
    assert_eq!(output.count().total, 5);
}

#[tokio::test]
async fn output_that_is_too_long_for_one_piece_is_left_to_takers() {
    let mut channel = Channel::new();
    let (output, process) = gathering(OutputMode::Pipe, 5);
    write(&process, b"hello!").unwrap();
    output.is_too_long().await;
    drop(process);
    until(&output, |count| count.closed).await;
    assert!(tokio::time::timeout(Duration::from_millis(20), output.is_whole()).await.is_err());
    let (mut host, agent) = channel.stream().await;
    output.give(taker(agent));
    assert_eq!(rest(&mut host).await, b"hello!");
    assert!(output.gather().await.was_taken);
}

#[tokio::test]
async fn untaken_output_drops_the_oldest_and_says_so() {
    let mut channel = Channel::new();
    let (output, process) = output(OutputMode::Retain);
    let writer = tokio::task::spawn_blocking(move || {
        for chunk in 0..40_u8 {
            write(&process, &[chunk; 65_536]).unwrap();
        }
    });
    writer.await.unwrap();
    let count = until(&output, |count| count.closed && count.dropped == 24 * 65_536).await;
    assert_eq!(count.total, 40 * 65_536);
    let (mut host, agent) = channel.stream().await;
    output.give(taker(agent));
    let kept = rest(&mut host).await;
    assert_eq!((kept.len(), kept[0], kept[LIMIT - 1]), (LIMIT, 24, 39));
    assert_eq!(output.count().first, 24 * 65_536);
}

#[tokio::test]
async fn a_pipe_holds_the_process_until_it_is_taken() {
    let mut channel = Channel::new();
    let (output, process) = output(OutputMode::Pipe);
    let mut writer = tokio::task::spawn_blocking(move || {
        for chunk in 0..40_u8 {
            let mut left = &[chunk; 65_536][..];
            while !left.is_empty() {
                let n = write(&process, left).unwrap();
                left = &left[n..];
            }
        }
    });
    let waited = tokio::time::timeout(Duration::from_millis(200), &mut writer).await;
    assert!(waited.is_err(), "the writer must wait");
    let (mut host, agent) = channel.stream().await;
    output.give(taker(agent));
    let all = rest(&mut host).await;
    writer.await.unwrap();
    assert_eq!(all.len(), 40 * 65_536);
    assert!(all.iter().zip(0..).all(|(byte, offset)| *byte as usize == offset / 65_536));
    assert_eq!(output.count().dropped, 0);
}

#[tokio::test]
async fn a_later_taker_takes_over_where_the_earlier_one_was() {
    let mut channel = Channel::new();
    let (output, process) = output(OutputMode::Retain);
    let (mut first, agent) = channel.stream().await;
    output.give(Taker { stream: agent, offset: OLDEST, name: 1001 });
    write(&process, b"one").unwrap();
    let mut got = [0; 3];
    first.read_exact(&mut got).await.unwrap();
    let (mut second, agent) = channel.stream().await;
    output.give(taker(agent));
    assert_eq!(rest(&mut first).await, b"", "the earlier taker gets EOF");
    write(&process, b"two").unwrap();
    drop(process);
    assert_eq!(rest(&mut second).await, b"two");
    assert_eq!(output.count().first, 3);
    // Who was taken over is told so to the end: of 6 bytes it was to have all, and has 3.
    let state = output.count_of(1001);
    assert_eq!((state.first, state.total, state.closed, state.taken_over), (0, 6, true, true));
}

#[tokio::test]
async fn who_was_cut_off_in_the_middle_of_a_take_is_given_all_of_it() {
    let mut channel = Channel::new();
    let (output, process) = output(OutputMode::Pipe);
    write(&process, b"0123456789").unwrap();
    let (mut lost, agent) = channel.stream().await;
    output.give(Taker { stream: agent, offset: OLDEST, name: 1002 });
    lost.read_exact(&mut [0; 10]).await.unwrap();
    drop(lost);
    until(&output, |count| !count.taken).await;
    let (mut again, agent) = channel.stream().await;
    output.give(Taker { stream: agent, offset: OLDEST, name: 1002 });
    drop(process);
    assert_eq!(rest(&mut again).await, b"0123456789");
    assert_eq!((output.count_of(1002).first, output.count_of(1002).taken_over), (0, false));
}

#[tokio::test]
async fn output_that_was_given_up_never_looks_whole() {
    let mut channel = Channel::new();
    for mode in [OutputMode::Pipe, OutputMode::Retain] {
        let (output, process) = output(mode);
        write(&process, b"promised").unwrap();
        drop(process);
        let held = Held { bytes: 8, is_promised: mode == OutputMode::Pipe };
        let count = until(&output, |count| count.closed && output.held() == held).await;
        assert_eq!((count.total, count.dropped), (8, 0));
        output.forget();
        let count = until(&output, |count| count.dropped == 8).await;
        assert_eq!(count.total, 8);
        assert_eq!(output.held(), Held::default());
        let (mut host, agent) = channel.stream().await;
        output.give(taker(agent));
        let received = rest(&mut host).await.len() as u64;
        let count = output.count();
        assert_eq!((received, count.first), (0, 0), "{mode:?}");
        assert_ne!(count.first + received, count.total, "{mode:?}");
        assert!(output.gather().await.given_up);
    }
}

#[tokio::test]
async fn a_lost_taker_leaves_the_process_running_and_can_come_back() {
    let mut channel = Channel::new();
    let (output, process) = output(OutputMode::Retain);
    let (mut host, agent) = channel.stream().await;
    output.give(taker(agent));
    write(&process, b"0123456789").unwrap();
    let mut got = [0; 4];
    host.read_exact(&mut got).await.unwrap();
    drop(host);
    until(&output, |count| !count.taken).await;
    write(&process, b"abc").unwrap();
    until(&output, |count| count.total == 13).await;
    let (mut host, agent) = channel.stream().await;
    output.give(taker_from(agent, 4));
    drop(process);
    assert_eq!(rest(&mut host).await, b"456789abc");
    assert_eq!((output.count().first, output.count().dropped), (4, 0));
}

#[tokio::test]
async fn an_output_whose_process_never_began_is_empty_and_closed() {
    let mut channel = Channel::new();
    let (output, waiting) = Output::new(OutputMode::Retain, 0);
    let (mut host, agent) = channel.stream().await;
    output.give(taker(agent));
    assert!(!output.count().closed);
    drop(waiting);
    assert_eq!(rest(&mut host).await, b"");
    assert!(output.count().closed);
}

fn input(mode: InputMode) -> (Input, OwnedFd) {
    let (process, sink) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).unwrap();
    let (input, waiting) = Input::new(mode);
    waiting.start(watch(sink, Interest::WRITABLE).unwrap());
    (input, process)
}

/// What a process reads until EOF.
async fn read_all(process: OwnedFd) -> Vec<u8> {
    read_until(process, |_| false).await.1
}

/// What a process has read when that is enough, or at EOF.
async fn read_until(process: OwnedFd, is_enough: impl Fn(&[u8]) -> bool) -> (OwnedFd, Vec<u8>) {
    let process = watch(process, Interest::READABLE).unwrap();
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    while !is_enough(&bytes) {
        let read = poll_fn(|cx| crate::sys::poll_read(&process, cx, &mut chunk));
        match tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap() {
            0 => break,
            n => bytes.extend_from_slice(&chunk[..n]),
        }
    }
    (process.into_inner(), bytes)
}

#[tokio::test]
async fn a_half_close_is_end_of_file_in_every_mode() {
    for mode in [InputMode::Once, InputMode::Keep] {
        let mut channel = Channel::new();
        let (input, process) = input(mode);
        let (mut host, agent) = channel.stream().await;
        input.give(taker_from(agent, 0));
        host.write_all(b"last words").await.unwrap();
        host.close().await.unwrap();
        assert_eq!(read_all(process).await, b"last words", "{mode:?}");
    }
}

#[tokio::test]
async fn a_lost_writer_is_end_of_file_only_where_nobody_may_come_back() {
    let mut channel = Channel::new();
    let (once, process) = input(InputMode::Once);
    let (mut host, agent) = channel.stream().await;
    once.give(taker_from(agent, 0));
    host.write_all(b"gone").await.unwrap();
    drop(host);
    assert_eq!(read_all(process).await, b"gone");

    let (keep, process) = input(InputMode::Keep);
    let (mut host, agent) = channel.stream().await;
    keep.give(taker_from(agent, 0));
    host.write_all(b"first ").await.unwrap();
    drop(host);
    let (process, first) = read_until(process, |bytes| bytes.len() >= 6).await;
    assert_eq!(first, b"first ");
    let (mut host, agent) = channel.stream().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    keep.give(taker_from(agent, 0));
    host.write_all(b"second").await.unwrap();
    host.close().await.unwrap();
    assert_eq!(read_all(process).await, b"second");
}

#[tokio::test]
async fn close_stdin_waits_for_the_bytes_written_before_it() {
    let mut channel = Channel::new();
    let (input, process) = input(InputMode::Keep);
    let (mut host, agent) = channel.stream().await;
    input.give(taker_from(agent, 0));
    input.close_at(6);
    host.write_all(b"abc").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    host.write_all(b"def").await.unwrap();
    assert_eq!(read_all(process).await, b"abcdef");
}

#[tokio::test]
async fn a_process_that_closes_its_stdin_resets_even_an_idle_writer() {
    let mut channel = Channel::new();
    let (input, process) = input(InputMode::Keep);
    let (mut host, agent) = channel.stream().await;
    input.give(taker_from(agent, 0));
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(process);
    assert_eq!(rest(&mut host).await, b"");
    assert!(host.is_closed(), "a reset, not a half-close");
    assert!(host.write_all(b"x").await.is_err());
}

#[tokio::test]
async fn parked_streams_are_claimed_once() {
    use boxlite_proto::stream::Which;
    let mut channel = Channel::new();
    let parking = Arc::new(parking::Parking::default());
    let (_host, agent) = channel.stream().await;
    parking.park("e1".into(), Which::Stderr, taker_from(agent, 3));
    assert!(parking.claim("e1", Which::Stdout).is_none());
    assert!(parking.claim("e2", Which::Stderr).is_none());
    assert_eq!(parking.claim("e1", Which::Stderr).map(|taker| taker.offset), Some(3));
    assert!(parking.claim("e1", Which::Stderr).is_none());
}
