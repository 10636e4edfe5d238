//! Each test has a real client socket on one side and a real yamux peer, as the agent is one, on the other.

use super::*;
use crate::engine::AgentPipe;
use crate::supervisor::channel::{self, Opener};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream as StdStream;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// No step takes longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the agent's end stands in these tests; the streams it got are handed on one by one.
struct Agent {
    opener: Opener,
    streams: mpsc::UnboundedReceiver<yamux::Stream>,
    driver: JoinHandle<()>,
}

fn agent() -> Agent {
    let (ours, theirs) = StdStream::pair().unwrap();
    let (opener, _) = channel::start(AgentPipe::Open(ours.into())).unwrap();
    theirs.set_nonblocking(true).unwrap();
    let theirs = tokio_util::compat::TokioAsyncReadCompatExt::compat(UnixStream::from_std(theirs).unwrap());
    let mut connection = yamux::Connection::new(theirs, channel::config(), yamux::Mode::Server);
    let (give, streams) = mpsc::unbounded_channel();
    let driver = tokio::spawn(async move {
        while let Some(Ok(stream)) = poll_fn(|cx| connection.poll_next_inbound(cx)).await {
            let _ = give.send(stream);
        }
    });
    Agent { opener, streams, driver }
}

/// A relay under way: the client's other end, the agent's stream, and the relay's result.
struct Case {
    client: StdStream,
    stream: yamux::Stream,
    relay: JoinHandle<Ending>,
    agent: Agent,
}

async fn case(half_close: HalfClose, first: &[u8]) -> Case {
    let mut agent = agent();
    let (client, ours) = StdStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let ours = UnixStream::from_std(ours).unwrap();
    let opened = agent.opener.open().await.unwrap();
    let first = first.to_vec();
    let relay = tokio::spawn(async move {
        let ending = Relay::new(&ours, opened, half_close, first).exchange().await;
        see_off(&ours, ending).await;
        ending
    });
    let stream = within(agent.streams.recv()).await.unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.set_write_timeout(Some(PATIENCE)).unwrap();
    Case { client, stream, relay, agent }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it hangs")
}

/// Blocking work of a client, on a thread of its own.
async fn client<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (give, get) = tokio::sync::oneshot::channel();
    let thread = std::thread::spawn(move || give.send(work()).map_err(drop).unwrap());
    let result = within(get).await.unwrap();
    thread.join().unwrap();
    result
}

async fn read_exactly(stream: &mut yamux::Stream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    within(stream.read_exact(&mut bytes)).await.unwrap();
    bytes
}

#[tokio::test]
async fn bytes_pass_both_ways_and_the_first_are_not_lost() {
    let mut case = case(HalfClose::IsEof, b"Chello").await;
    assert_eq!(read_exactly(&mut case.stream, 6).await, b"Chello");
    case.client.write_all(b" there").unwrap();
    assert_eq!(read_exactly(&mut case.stream, 6).await, b" there");
    case.stream.write_all(b"answer").await.unwrap();
    let mut answer = [0; 6];
    let mut client_end = case.client.try_clone().unwrap();
    let answer = client(move || client_end.read_exact(&mut answer).map(|()| answer)).await.unwrap();
    assert_eq!(&answer, b"answer");
}

#[tokio::test]
async fn the_clients_half_close_is_the_agents_eof_and_answers_still_come() {
    let mut case = case(HalfClose::IsEof, b"input").await;
    case.client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut input = Vec::new();
    within(case.stream.read_to_end(&mut input)).await.unwrap();
    assert_eq!(input, b"input");
    assert!(!case.stream.is_closed(), "a half-close must not be a reset");
    case.stream.write_all(b"late answer").await.unwrap();
    case.stream.close().await.unwrap();
    let mut reader = case.client;
    let text = client(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).map(|_| text)
    });
    assert_eq!(text.await.unwrap(), "late answer");
    assert_eq!(within(case.relay).await.unwrap(), Ending::AgentDone);
}

#[tokio::test]
async fn a_closed_client_resets_the_stream_after_its_last_byte() {
    let mut case = case(HalfClose::IsEof, b"in").await;
    case.client.write_all(b"put").unwrap();
    drop(case.client);
    let mut input = Vec::new();
    within(case.stream.read_to_end(&mut input)).await.unwrap();
    assert_eq!(input, b"input");
    assert!(case.stream.is_closed(), "the agent must be able to tell it from a half-close");
    assert_eq!(within(case.relay).await.unwrap(), Ending::ClientGone);
}

#[tokio::test]
async fn an_output_reader_that_half_closed_is_missed_when_it_goes() {
    let mut case = case(HalfClose::MeansNothing, b"B").await;
    case.client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_exactly(&mut case.stream, 1).await, b"B");
    case.stream.write_all(b"more").await.unwrap();
    let mut more = [0; 4];
    let mut reader = case.client.try_clone().unwrap();
    client(move || reader.read_exact(&mut more)).await.unwrap();
    let mut byte = [0];
    assert!(
        timeout(Duration::from_millis(50), case.stream.read(&mut byte)).await.is_err(),
        "no EOF for the agent"
    );
    drop(case.client);
    assert_eq!(within(case.stream.read(&mut byte)).await.unwrap(), 0);
    assert!(case.stream.is_closed());
    assert_eq!(within(case.relay).await.unwrap(), Ending::ClientGone);
}

#[tokio::test]
async fn a_reader_that_dies_unblocks_the_agent() {
    let mut case = case(HalfClose::MeansNothing, b"B").await;
    assert_eq!(read_exactly(&mut case.stream, 1).await, b"B");
    let chunk = vec![0; 32 * 1024];
    // Far more than the window and the socket hold: it must block while nobody reads.
    let blocked = timeout(Duration::from_millis(200), async {
        for _ in 0..64 {
            case.stream.write_all(&chunk).await.unwrap();
        }
    });
    assert!(blocked.await.is_err(), "back pressure reaches the agent");
    drop(case.client);
    let failed = async {
        loop {
            if case.stream.write_all(&chunk).await.is_err() {
                return;
            }
        }
    };
    within(failed).await;
}

#[tokio::test]
async fn input_is_whole_though_its_sender_does_not_read() {
    const LENGTH: usize = 2_000_000;
    let mut case = case(HalfClose::IsEof, b"C").await;
    case.client.shutdown(std::net::Shutdown::Read).unwrap();
    case.stream.write_all(b"nobody reads this").await.unwrap();
    let mut sender = case.client;
    let sending = client(move || sender.write_all(&vec![7; LENGTH]));
    let receiving = async {
        let mut input = Vec::new();
        within(case.stream.read_to_end(&mut input)).await.unwrap();
        input.len()
    };
    let (sent, received) = tokio::join!(sending, receiving);
    sent.unwrap();
    assert_eq!(received, 1 + LENGTH);
}

#[tokio::test]
async fn the_agents_reset_is_eof_and_epipe() {
    let case = case(HalfClose::IsEof, b"B").await;
    drop(case.stream);
    let mut end = case.client;
    let (read, write) = client(move || {
        let mut text = String::new();
        let read = end.read_to_string(&mut text).map(|_| text);
        (read, end.write_all(b"x"))
    })
    .await;
    assert_eq!(read.unwrap(), "");
    assert_eq!(write.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(within(case.relay).await.unwrap(), Ending::AgentReset);
}

#[tokio::test]
async fn a_blocked_writer_gets_epipe_when_the_agent_resets() {
    let case = case(HalfClose::IsEof, b"B").await;
    let mut end = case.client;
    let writing = client(move || end.write_all(&vec![0; 8 * 1024 * 1024]));
    let resetting = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(case.stream);
    };
    let (written, ()) = tokio::join!(writing, resetting);
    assert_eq!(written.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn the_last_bytes_come_even_to_a_client_that_was_writing() {
    let mut case = case(HalfClose::MeansNothing, b"B").await;
    case.client.write_all(&[0; 100_000]).unwrap();
    case.stream.write_all(b"the end").await.unwrap();
    case.stream.close().await.unwrap();
    let mut end = case.client;
    let text = client(move || {
        std::thread::sleep(Duration::from_millis(50));
        let wrote = end.write_all(b"late input");
        let mut text = String::new();
        end.read_to_string(&mut text).and(wrote).map(|()| text)
    });
    assert_eq!(text.await.unwrap(), "the end");
    assert_eq!(within(case.relay).await.unwrap(), Ending::AgentDone);
}

#[tokio::test]
async fn much_passes_whole_in_both_directions_at_once() {
    const LENGTH: usize = 3_000_000;
    let pattern: Vec<u8> = (0..LENGTH).map(|i| (i % 251) as u8).collect();
    let mut case = case(HalfClose::IsEof, &pattern[..10]).await;
    let (mut up, mut down) = (case.client.try_clone().unwrap(), case.client);
    let to_send = pattern.clone();
    let sending = client(move || {
        up.write_all(&to_send[10..]).unwrap();
        up.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let receiving = client(move || {
        let mut got = Vec::new();
        down.read_to_end(&mut got).map(|_| got)
    });
    let echoing = async {
        let (mut read, mut write) = (&mut case.stream).split();
        futures::io::copy(&mut read, &mut write).await.unwrap();
        write.close().await.unwrap();
    };
    let ((), got, ()) = tokio::join!(sending, receiving, within(echoing));
    assert!(got.unwrap() == pattern);
}

#[tokio::test]
async fn the_machines_end_is_eof_for_every_client() {
    let case = case(HalfClose::IsEof, b"C").await;
    case.agent.driver.abort();
    let mut end = case.client;
    let mut text = String::new();
    let read = client(move || end.read_to_string(&mut text).map(|_| text));
    assert_eq!(read.await.unwrap(), "");
    assert_eq!(within(case.relay).await.unwrap(), Ending::AgentReset);
    within(async {
        while case.agent.opener.open().await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
