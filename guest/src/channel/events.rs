//! What the agent tells unasked: `hello` to each host that opens an events stream, `bye` to all before the end.
//!
//! Owns the open events streams. The words are the wire's ([`boxlite_proto::event`]).

use std::sync::Mutex;
use std::time::Duration;

use boxlite_proto::event::{ByeReason, Event};
use futures::{AsyncReadExt, AsyncWriteExt};
use yamux::Stream;

use crate::sys::lock;

/// How long the host has to say that it got the last word.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_millis(200);

/// The open events streams.
#[derive(Debug, Default)]
pub(crate) struct Events {
    streams: Mutex<Vec<Stream>>,
}

impl Events {
    /// Greets on a new events stream and keeps it for later news.
    pub(crate) async fn greet(&self, mut stream: Stream) {
        let hello = Event::Hello {
            protocol: boxlite_proto::PROTOCOL_VERSION,
            build_id: boxlite_proto::BUILD_ID.to_owned(),
        };
        if stream.write_all(format!("{hello}\n").as_bytes()).await.is_ok() {
            let mut streams = lock(&self.streams);
            streams.retain(|old| !old.is_closed());
            streams.push(stream);
        }
    }

    /// The last word, to everyone; returns when all have read it (they close their end) or time is up.
    pub(crate) async fn bye(&self, reason: ByeReason) {
        let streams = std::mem::take(&mut *lock(&self.streams));
        let line = format!("{}\n", Event::Bye(reason));
        let tell = streams.into_iter().map(|mut stream| {
            let line = &line;
            async move {
                stream.write_all(line.as_bytes()).await?;
                stream.close().await?;
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).await
            }
        });
        let told = futures::future::join_all(tell);
        let _ = tokio::time::timeout(ACKNOWLEDGED_WITHIN, told).await;
    }
}
