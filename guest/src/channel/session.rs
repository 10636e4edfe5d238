//! One visit of the host: yamux over the pipe, each stream handed on by its first byte.
//!
//! Owns the yamux connection and the reading of headers. Never interprets what follows a header.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;

use boxlite_proto::channel::{READ_BUFFER, SPLIT_SEND, STREAM_TABLE, STREAM_WINDOW, WRITE_BUFFER};
use boxlite_proto::stream::{BYTES, BytesHeader, CALLS, EVENTS};
use futures::io::{AsyncRead, AsyncWrite, BufReader, BufWriter};
use futures::{AsyncReadExt, AsyncWriteExt};
use yamux::{Config, Connection, Mode, Stream};

use super::Link;
use crate::error::{AgentError, Context};

/// Where streams go once their kind is known.
pub(crate) trait Dispatch: Send + Sync + 'static {
    /// Calls follow.
    fn calls(&self, stream: Stream);
    /// The agent is to write its events there.
    fn events(&self, stream: Stream);
    /// Bytes of one execution's stream follow.
    fn bytes(&self, header: BytesHeader, stream: Stream);
}

impl Link {
    /// Serves the next host from its first byte until it goes away.
    pub(crate) async fn visit(&self, dispatch: &Arc<dyn Dispatch>) -> Result<(), AgentError> {
        match self {
            Self::Serial(port) => {
                serve(port.host().await.step(|| "wait for the host".into())?, dispatch).await;
                Ok(())
            }
            Self::Vsock(connection) => {
                serve(connection.stream().step(|| "use the connection to the host".into())?, dispatch).await;
                // No other host can come: this machine has nobody left to live for.
                Err(AgentError::HostGone)
            }
        }
    }
}

fn config() -> Config {
    let mut config = Config::default();
    // In this order: each setter checks the number of streams against the windows set so far.
    config.set_max_connection_receive_window(None);
    config.set_max_num_streams(STREAM_TABLE);
    config.set_max_connection_receive_window(Some(STREAM_TABLE * STREAM_WINDOW));
    config.set_split_send_size(SPLIT_SEND);
    config
}

async fn serve<T: AsyncRead + AsyncWrite + Unpin>(pipe: T, dispatch: &Arc<dyn Dispatch>) {
    let pipe = BufReader::with_capacity(READ_BUFFER, BufWriter::with_capacity(WRITE_BUFFER, pipe));
    let mut connection = Connection::new(pipe, config(), Mode::Server);
    while let Some(Ok(stream)) = poll_fn(|cx| connection.poll_next_inbound(cx)).await {
        let dispatch = Arc::clone(dispatch);
        tokio::spawn(async move {
            // A stream that says nothing sensible is dropped, which resets it.
            let _ = hand_on(stream, &*dispatch).await;
        });
    }
}

async fn hand_on(mut stream: Stream, dispatch: &dyn Dispatch) -> io::Result<()> {
    // An empty frame acknowledges the stream: the host may have only 256 unacknowledged ones, silent ones among them.
    // A stream that was reset meanwhile still has a header to be read.
    let _ = stream.write(&[]).await;
    let mut kind = [0];
    stream.read_exact(&mut kind).await?;
    match kind[0] {
        CALLS => dispatch.calls(stream),
        EVENTS => dispatch.events(stream),
        BYTES => {
            let header = read_header(&mut stream).await?;
            dispatch.bytes(header, stream);
        }
        _ => {}
    }
    Ok(())
}

async fn read_header<T: AsyncRead + Unpin>(stream: &mut T) -> io::Result<BytesHeader> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).await?;
    let mut rest = vec![0; BytesHeader::rest_len(head[1])];
    stream.read_exact(&mut rest).await?;
    BytesHeader::decode(head[0], &rest).map_err(|_| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::read_header;
    use boxlite_proto::stream::{BytesHeader, Which};

    #[tokio::test]
    async fn headers_are_read_whole_and_nothing_more() {
        let header =
            BytesHeader { which: Which::Stdin, execution: "e1".into(), offset: 9, taker: 3, is_early: false };
        let mut wire = header.encode().split_off(1);
        wire.extend_from_slice(b"body");
        let mut rest = &wire[..];
        assert_eq!(read_header(&mut rest).await.unwrap(), header);
        assert_eq!(rest, b"body");
        assert!(read_header(&mut &wire[..5]).await.is_err());
        wire[0] = 7;
        assert!(read_header(&mut &wire[..]).await.is_err());
    }
}
