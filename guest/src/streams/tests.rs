//! Streams over a real yamux connection and real pipes.

use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
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

use super::input::Input;
use super::output::{Count, Output, Source};
use super::ring::LIMIT;
use super::*;
use crate::sys::watch;

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

fn output(mode: OutputMode) -> (Output, OwnedFd) {
    let (read, process) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let (output, waiting) = Output::new(mode);
    let source = Source::Pipe(Arc::new(watch(read, Interest::READABLE).unwrap()));
    waiting.start(Some(source), InputMode::Null);
    (output, process)
}

async fn rest(stream: &mut Stream) -> Vec<u8> {
    let mut bytes = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
    bytes
}

/// Waits until the totals satisfy `what`.
async fn until(output: &Output, what: impl Fn(Count) -> bool) -> Count {
    for _ in 0..2000 {
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
    output.give(Taker { stream: agent, offset: OLDEST });
    write(&process, b"world").unwrap();
    drop(process);
    assert_eq!(rest(&mut host).await, b"hello world");
    let count = until(&output, |count| !count.taken).await;
    assert_eq!(count, Count { total: 11, dropped: 0, closed: true, first: 0, taken: false });
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
    let count = until(&output, |count| count.closed && count.dropped > 0).await;
    assert_eq!((count.total, count.dropped), (40 * 65_536, 24 * 65_536));
    let (mut host, agent) = channel.stream().await;
    output.give(Taker { stream: agent, offset: OLDEST });
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
    output.give(Taker { stream: agent, offset: OLDEST });
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
    output.give(Taker { stream: agent, offset: OLDEST });
    write(&process, b"one").unwrap();
    let mut got = [0; 3];
    first.read_exact(&mut got).await.unwrap();
    let (mut second, agent) = channel.stream().await;
    output.give(Taker { stream: agent, offset: OLDEST });
    assert_eq!(rest(&mut first).await, b"", "the earlier taker gets EOF");
    write(&process, b"two").unwrap();
    drop(process);
    assert_eq!(rest(&mut second).await, b"two");
    assert_eq!(output.count().first, 3);
}

#[tokio::test]
async fn a_lost_taker_leaves_the_process_running_and_can_come_back() {
    let mut channel = Channel::new();
    let (output, process) = output(OutputMode::Retain);
    let (mut host, agent) = channel.stream().await;
    output.give(Taker { stream: agent, offset: OLDEST });
    write(&process, b"0123456789").unwrap();
    let mut got = [0; 4];
    host.read_exact(&mut got).await.unwrap();
    drop(host);
    until(&output, |count| !count.taken).await;
    write(&process, b"abc").unwrap();
    until(&output, |count| count.total == 13).await;
    let (mut host, agent) = channel.stream().await;
    output.give(Taker { stream: agent, offset: 4 });
    drop(process);
    assert_eq!(rest(&mut host).await, b"456789abc");
    assert_eq!((output.count().first, output.count().dropped), (4, 0));
}

#[tokio::test]
async fn an_output_whose_process_never_began_is_empty_and_closed() {
    let mut channel = Channel::new();
    let (output, waiting) = Output::new(OutputMode::Retain);
    let (mut host, agent) = channel.stream().await;
    output.give(Taker { stream: agent, offset: OLDEST });
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
    let process = watch(process, Interest::READABLE).unwrap();
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = poll_fn(|cx| crate::sys::poll_read(&process, cx, &mut chunk));
        match tokio::time::timeout(Duration::from_secs(10), read).await.unwrap().unwrap() {
            0 => return bytes,
            n => bytes.extend_from_slice(&chunk[..n]),
        }
    }
}

#[tokio::test]
async fn a_half_close_is_end_of_file_in_every_mode() {
    for mode in [InputMode::Once, InputMode::Keep] {
        let mut channel = Channel::new();
        let (input, process) = input(mode);
        let (mut host, agent) = channel.stream().await;
        input.give(Taker { stream: agent, offset: 0 });
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
    once.give(Taker { stream: agent, offset: 0 });
    host.write_all(b"gone").await.unwrap();
    drop(host);
    assert_eq!(read_all(process).await, b"gone");

    let (keep, process) = input(InputMode::Keep);
    let (mut host, agent) = channel.stream().await;
    keep.give(Taker { stream: agent, offset: 0 });
    host.write_all(b"first ").await.unwrap();
    drop(host);
    let (mut host, agent) = channel.stream().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    keep.give(Taker { stream: agent, offset: 0 });
    host.write_all(b"second").await.unwrap();
    host.close().await.unwrap();
    assert_eq!(read_all(process).await, b"first second");
}

#[tokio::test]
async fn close_stdin_waits_for_the_bytes_written_before_it() {
    let mut channel = Channel::new();
    let (input, process) = input(InputMode::Keep);
    let (mut host, agent) = channel.stream().await;
    input.give(Taker { stream: agent, offset: 0 });
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
    input.give(Taker { stream: agent, offset: 0 });
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
    parking.park("e1".into(), Which::Stderr, Taker { stream: agent, offset: 3 });
    assert!(parking.claim("e1", Which::Stdout).is_none());
    assert!(parking.claim("e2", Which::Stderr).is_none());
    assert_eq!(parking.claim("e1", Which::Stderr).map(|taker| taker.offset), Some(3));
    assert!(parking.claim("e1", Which::Stderr).is_none());
}
