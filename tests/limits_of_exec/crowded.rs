//! A box that has as many streams as there can be.

use std::time::{Duration, Instant};

use boxlite::images::ProgressSink;
use boxlite::{BoxliteError, BoxliteResult};
use boxlite_proto::stream::{self, admission};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::Bench;

/// The agent waits for a command's streams, which come by themselves, for half a minute.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_command_without_room_for_its_streams_is_refused_at_once() {
    let bench = Bench::new().await;
    let id = bench.sandbox.id().as_str();
    let socket = bench.home.path.join("boxes").join(id).join("agent.sock");
    let read = async || -> BoxliteResult<Vec<u8>> {
        bench.sandbox.read_file("/etc/passwd".into(), 1 << 16, ProgressSink::none()).await
    };
    let content = read().await.expect("a file");
    let mut taken = Vec::new();
    loop {
        let mut stream = UnixStream::connect(&socket).await.expect("the shim listens");
        // Who isn't let in may be left before it has said what it is for.
        let _ = stream.write_all(&[stream::CALLS]).await;
        if stream.read_u8().await.expect("an answer") == admission::FULL {
            break;
        }
        taken.push(stream);
    }

    for _ in 0..20 {
        let began = Instant::now();
        let refused = read().await.expect_err("no room for its streams");
        assert!(matches!(refused, BoxliteError::ResourceExhausted(_)), "{refused}");
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    }

    drop(taken);
    let deadline = Instant::now() + SOON;
    let again = loop {
        match read().await {
            Err(BoxliteError::ResourceExhausted(_)) if Instant::now() < deadline => {}
            again => break again.expect("there is room again"),
        }
    };
    assert_eq!(again, content);
    bench.end().await;
}
