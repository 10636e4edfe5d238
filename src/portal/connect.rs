//! Opens connections to a shim's `agent.sock`, whatever the length of its path.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use boxlite_proto::stream::admission;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::errors::{BoxliteError, BoxliteResult, Detail};

/// Longest path that `sockaddr_un` holds, its NUL left out.
const LONGEST_SOCKET_PATH: usize = 107;

/// A shim that admits nobody for so long is stopped or hangs.
const ADMISSION_TIME: Duration = Duration::from_secs(10);

/// Connects, says with `header` what the connection is for, and waits for the shim to admit it.
pub(super) async fn open(socket: &Path, header: &[u8]) -> BoxliteResult<UnixStream> {
    let exchanged = async {
        let mut stream = connect(socket).await?;
        let mut answer = [admission::GONE];
        // Who isn't let in may be told so, and left, before it has said anything.
        let written = stream.write_all(header).await;
        match (stream.read_exact(&mut answer).await, written) {
            (Ok(_), Err(error)) if answer[0] == admission::OPEN => Err(error),
            (Ok(_), _) => Ok((stream, answer[0])),
            (Err(_), Err(error)) | (Err(error), Ok(())) => io::Result::Err(error),
        }
    };
    let exchanged = match tokio::time::timeout(ADMISSION_TIME, exchanged).await {
        Ok(exchanged) => exchanged,
        Err(_) => Err(io::Error::from_raw_os_error(libc::ETIMEDOUT)),
    };
    let (stream, answer) = exchanged.map_err(|error| unreachable_box(socket, &error))?;
    match answer {
        admission::OPEN => Ok(stream),
        admission::FULL => Err(BoxliteError::ResourceExhausted(
            Detail::new(format!(
                "the box has {} streams open, and no more are possible",
                boxlite_proto::channel::MAX_CLIENT_STREAMS
            ))
            .hint("close streams of finished executions, or run fewer at once"),
        )),
        _ => Err(BoxliteError::Stopped(
            Detail::new("the box is going down").subject(socket.display().to_string()),
        )),
    }
}

async fn connect(socket: &Path) -> io::Result<UnixStream> {
    if socket.as_os_str().len() <= LONGEST_SOCKET_PATH {
        return UnixStream::connect(socket).await;
    }
    // The path is too long for an address: reach it through a descriptor of its directory.
    let parent = socket.parent().unwrap_or(Path::new("/"));
    let directory: OwnedFd = std::fs::File::open(parent)?.into();
    let name = socket.file_name().unwrap_or_default();
    let short = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
    UnixStream::connect(short).await
}

fn unreachable_box(socket: &Path, error: &io::Error) -> BoxliteError {
    let mut detail =
        Detail::new(format!("the box's agent can't be reached at {}: {error}", socket.display()))
            .subject(socket.display().to_string());
    if let Some(errno) = error.raw_os_error() {
        detail = detail.errno(errno);
    }
    BoxliteError::Portal(detail)
}
