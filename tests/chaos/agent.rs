//! Makes the agent of a box abort, by the call that exists for this program only.

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use boxlite_proto::agent::Empty;
use boxlite_proto::agent_ttrpc::TestClient;
use boxlite_proto::stream::{self, admission};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// An agent that doesn't answer the connection by then doesn't serve yet, or no more.
const ADMISSION: Duration = Duration::from_secs(2);

/// Whether the agent of the box in `directory` was told to abort.
pub(crate) fn abort(directory: &Path) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.is_ok_and(|runtime| runtime.block_on(ask(directory)).is_ok())
}

async fn ask(directory: &Path) -> io::Result<()> {
    // Through a descriptor: a home's path may be longer than a socket's address.
    let directory = std::fs::File::open(directory)?;
    let path = format!("/proc/self/fd/{}/agent.sock", directory.as_raw_fd());
    let mut socket = UnixStream::connect(path).await?;
    let admitted = async {
        socket.write_all(&[stream::CALLS]).await?;
        socket.read_u8().await
    };
    match tokio::time::timeout(ADMISSION, admitted).await {
        Ok(Ok(admission::OPEN)) => {}
        _ => return Err(io::ErrorKind::ConnectionRefused.into()),
    }
    let client = TestClient::new(ttrpc::r#async::Client::new(ttrpc::r#async::transport::Socket::new(socket)));
    match client.abort(ttrpc::context::with_duration(ADMISSION), &Empty::new()).await {
        // It can't answer any more.
        Err(ttrpc::Error::RpcStatus(status)) if status.code() == ttrpc::Code::UNIMPLEMENTED => {
            panic!("the agent refuses to abort although BOXLITE_TEST_HOOKS=1: {}", status.message())
        }
        Ok(_) => panic!("the agent answered instead of aborting"),
        Err(_) => Ok(()),
    }
}
