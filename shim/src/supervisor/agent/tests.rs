use super::*;
use crate::engine::AgentPipe;
use crate::supervisor::channel;
use std::future::poll_fn;
use std::os::unix::net::UnixStream as StdStream;
use tokio::net::UnixStream;
use tokio_util::compat::TokioAsyncReadCompatExt;

/// Greets an agent that answers an events stream with `words` and then ends it.
async fn greeted_by(words: &[u8]) -> Result<Events, StartError> {
    let (ours, theirs) = StdStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let theirs = UnixStream::from_std(theirs).unwrap().compat();
    let mut connection = yamux::Connection::new(theirs, channel::config(), yamux::Mode::Server);
    let words = words.to_vec();
    tokio::spawn(async move {
        while let Some(Ok(mut stream)) = poll_fn(|cx| connection.poll_next_inbound(cx)).await {
            let words = words.clone();
            tokio::spawn(async move {
                let mut kind = [0];
                stream.read_exact(&mut kind).await.unwrap();
                assert_eq!(kind[0], stream::EVENTS);
                let _ = stream.write_all(&words).await;
                let _ = stream.close().await;
            });
        }
    });
    let (opener, _running) = channel::start(AgentPipe::Open(ours.into())).unwrap();
    tokio::time::timeout(Duration::from_secs(60), greet(&opener)).await.expect("it hangs")
}

#[tokio::test]
async fn an_agent_of_this_build_is_taken_and_its_events_are_read() {
    let words = format!("hello {PROTOCOL_VERSION} {BUILD_ID}\nnews of tomorrow\nbye power-off\n");
    let mut events = greeted_by(words.as_bytes()).await.unwrap();
    let bye = Event::Bye(boxlite_proto::event::ByeReason::PowerOff);
    assert_eq!(events.next().await, Some(bye), "the unknown event is passed over");
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_stranger_is_refused_by_name() {
    let error = greeted_by(b"hello 7 0.0.1-strange\n").await.err().unwrap();
    assert!(matches!(&error, StartError::BuildMismatch { their_protocol: 7, .. }), "{error}");
    assert!(error.to_string().contains("0.0.1-strange") && error.to_string().contains(BUILD_ID), "{error}");
}

#[tokio::test]
async fn no_word_and_wrong_words_are_failures() {
    for words in [&b""[..], b"bye agent-failed\n", b"hello 1", &[b'x'; 10_000]] {
        let error = greeted_by(words).await.err().unwrap();
        assert!(matches!(error, StartError::Channel(_)), "{error}");
    }
}

#[test]
fn a_refusal_is_told_in_the_agents_words() {
    let status = ttrpc::get_status(ttrpc::Code::INTERNAL, "no disk called box".to_owned());
    let error = refusal(&ttrpc::Error::RpcStatus(status));
    assert_eq!(error.to_string(), "the agent refused to set up the box: no disk called box");
}

#[test]
fn machine_ids_are_stable_and_differ() {
    assert_eq!(machine_id("a"), machine_id("a"));
    assert_ne!(machine_id("a"), machine_id("b"));
    assert_eq!(machine_id("a").len(), 16);
    assert_eq!(machine_id("a")[6] >> 4, 4);
}
