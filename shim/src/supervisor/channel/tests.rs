use super::*;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use std::future::poll_fn;
use std::os::unix::net::UnixStream as StdStream;
use std::time::Duration;
use tokio::time::timeout;

/// No step takes longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the agent's end does with each stream it gets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Agent {
    /// Answers with an empty frame at once, which acknowledges the stream.
    Acknowledges,
    /// Keeps the stream and says nothing.
    KeepsSilent,
}

fn start_with(agent: Agent) -> (Opener, JoinHandle<ConnectionError>) {
    let (ours, theirs) = StdStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let theirs = UnixStream::from_std(theirs).unwrap().compat();
    let mut connection = Connection::new(theirs, config(), Mode::Server);
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Some(Ok(mut stream)) = poll_fn(|cx| connection.poll_next_inbound(cx)).await {
            if agent == Agent::Acknowledges {
                assert_eq!(stream.write(&[]).await.unwrap(), 0);
            }
            kept.push(stream);
        }
    });
    start(AgentPipe::Open(ours.into())).unwrap()
}

/// Opens so many, or as many as open in time.
async fn open_silent(opener: &Opener, count: usize, each: Duration) -> Vec<yamux::Stream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let Ok(opened) = timeout(each, opener.open()).await else { break };
        let mut stream = opened.unwrap();
        stream.write_all(b"B").await.unwrap();
        streams.push(stream);
    }
    streams
}

#[tokio::test]
async fn all_places_can_be_filled_with_silent_streams() {
    let (opener, _running) = start_with(Agent::Acknowledges);
    assert_eq!(open_silent(&opener, 500, PATIENCE).await.len(), 500);
}

#[tokio::test]
async fn unacknowledged_streams_make_openers_wait_and_are_survived() {
    let (opener, running) = start_with(Agent::KeepsSilent);
    let mut streams = open_silent(&opener, 500, Duration::from_secs(2)).await;
    assert!((200..500).contains(&streams.len()), "{}", streams.len());
    streams.truncate(10);
    assert_eq!(open_silent(&opener, 20, PATIENCE).await.len(), 20, "those who wait get what comes free");
    assert!(!running.is_finished());
}

#[tokio::test]
async fn churn_does_not_end_the_channel() {
    let (opener, running) = start_with(Agent::Acknowledges);
    for _ in 0..5 {
        assert_eq!(open_silent(&opener, 450, PATIENCE).await.len(), 450);
    }
    assert!(!running.is_finished());
}

#[tokio::test]
async fn the_end_of_the_pipe_ends_the_channel() {
    let (ours, theirs) = StdStream::pair().unwrap();
    let (opener, running) = start(AgentPipe::Open(ours.into())).unwrap();
    let mut stream = opener.open().await.unwrap();
    drop(theirs);
    timeout(PATIENCE, running).await.unwrap().unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(opener.open().await.unwrap_err(), ChannelEnded);
}

#[tokio::test]
async fn the_first_to_connect_is_the_pipe_and_there_is_no_second() {
    let dir = std::env::temp_dir().join(format!("shim-channel-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let path = dir.join("s");
    let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let (opener, running) = start(AgentPipe::Expected(socket)).unwrap();
    let asked = tokio::spawn(async move { opener.open().await });
    let agent = UnixStream::connect(&path).await.unwrap();
    // What waited for the pipe is served.
    timeout(PATIENCE, asked).await.unwrap().unwrap().unwrap();
    crate::sys::soon("the second finds nobody", || StdStream::connect(&path).is_err());
    drop(agent);
    timeout(PATIENCE, running).await.unwrap().unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
}
