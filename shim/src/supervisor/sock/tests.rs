use super::*;
use crate::engine::AgentPipe;
use crate::supervisor::channel;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as StdStream;
use std::path::PathBuf;
use tokio::time::timeout;

/// No step takes longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// A served socket in a directory of its own, and the agent's end of the channel.
struct Served {
    dir: PathBuf,
    gate: Gate,
    _agent: yamux::Connection<tokio_util::compat::Compat<UnixStream>>,
}

impl Served {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("shim-sock-{name}-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let (ours, theirs) = StdStream::pair().unwrap();
        let (opener, _) = channel::start(AgentPipe::Open(ours.into())).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let theirs =
            tokio_util::compat::TokioAsyncReadCompatExt::compat(UnixStream::from_std(theirs).unwrap());
        let agent = yamux::Connection::new(theirs, channel::config(), yamux::Mode::Server);
        let gate = Gate::new();
        let listener = listen_at(&dir.join("s")).unwrap();
        tokio::spawn(serve(listener, opener, gate.clone()));
        Self { dir, gate, _agent: agent }
    }

    async fn connect(&self) -> (UnixStream, u8) {
        let socket = UnixStream::connect(self.dir.join("s")).await.unwrap();
        let mut answer = [0xff];
        let read = async {
            loop {
                socket.readable().await.unwrap();
                match socket.try_read(&mut answer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    result => return result.unwrap(),
                }
            }
        };
        let length = timeout(PATIENCE, read).await.expect("no admission");
        assert_eq!(length, 1);
        (socket, answer[0])
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.dir).unwrap();
    }
}

#[tokio::test]
async fn places_run_out_and_come_back() {
    let served = Served::new("count");
    let mut clients = Vec::new();
    for _ in 0..MAX_CLIENT_STREAMS {
        let (client, answer) = served.connect().await;
        assert_eq!(answer, admission::OPEN);
        clients.push(client);
    }
    assert_eq!(served.connect().await.1, admission::FULL);
    clients.pop();
    let again = async {
        while served.connect().await.1 == admission::FULL {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, again).await.expect("a freed place is not given out again");
}

#[tokio::test]
async fn the_last_stream_is_waited_for() {
    let served = Served::new("done");
    let (client, _) = served.connect().await;
    assert!(timeout(Duration::from_millis(50), served.gate.streams_done()).await.is_err());
    drop(client);
    timeout(PATIENCE, served.gate.streams_done()).await.expect("nobody has a stream");
}

#[tokio::test]
async fn a_closed_gate_says_so() {
    let served = Served::new("gate");
    assert_eq!(served.connect().await.1, admission::OPEN);
    served.gate.close();
    assert_eq!(served.connect().await.1, admission::GONE);
}

#[tokio::test]
async fn a_stale_socket_is_replaced() {
    let dir = std::env::temp_dir().join(format!("shim-stale-{}", std::process::id()));
    fs::create_dir(&dir).unwrap();
    let path = dir.join("s");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let _listener = listen_at(&path).unwrap();
    assert!(StdStream::connect(&path).is_ok());
    assert!(path.metadata().unwrap().permissions().mode() & 0o170000 == 0o140000);
    fs::remove_dir_all(&dir).unwrap();
}

#[tokio::test]
async fn the_kind_of_a_stream_is_waited_for() {
    let (ours, mut theirs) = StdStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let client = UnixStream::from_std(ours).unwrap();
    theirs.write_all(&[BYTES]).unwrap();
    let first = tokio::spawn(async move { first_bytes(&client).await.map(|first| (first, client)) });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!first.is_finished(), "one byte does not tell which stream it is");
    theirs.write_all(&[Which::Stderr as u8, 0]).unwrap();
    let (first, client) = timeout(PATIENCE, first).await.unwrap().unwrap().unwrap();
    let first = first.unwrap();
    assert_eq!(first, [BYTES, 2, 0]);
    assert_eq!(half_close(&first), HalfClose::MeansNothing);
    drop(client);
    assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
}

#[test]
fn only_output_has_no_half_close() {
    assert_eq!(half_close(b"C"), HalfClose::IsEof);
    assert_eq!(half_close(&[BYTES, Which::Stdin as u8]), HalfClose::IsEof);
    assert_eq!(half_close(&[BYTES, Which::Stdout as u8]), HalfClose::MeansNothing);
    assert_eq!(half_close(&[]), HalfClose::IsEof);
}
