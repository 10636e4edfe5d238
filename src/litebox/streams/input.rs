//! Writing to a process's stdin, and its end, which a terminal doesn't have.

use tokio::io::AsyncWriteExt;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;

use super::{Source, runtime_gone};
use crate::errors::{BoxliteError, BoxliteResult, Detail};

/// The way to write to a process. Dropping it is the end of its stdin, unless that is kept.
pub struct ExecStdin {
    half: StdinHalf,
    /// A pipe, which may outlive its connection: whom to tell that it is closed. `None` for a terminal.
    source: Option<Source>,
    written: u64,
    /// Keeps the other direction open.
    read: Option<oneshot::Receiver<BoxliteResult<OwnedReadHalf>>>,
}

impl std::fmt::Debug for ExecStdin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExecStdin").field("half", &self.half).finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum StdinHalf {
    Connecting(oneshot::Receiver<BoxliteResult<OwnedWriteHalf>>),
    Open(OwnedWriteHalf),
    Closed,
}

impl ExecStdin {
    pub(in crate::litebox) fn new(
        source: Option<Source>,
        write: oneshot::Receiver<BoxliteResult<OwnedWriteHalf>>,
        read: Option<oneshot::Receiver<BoxliteResult<OwnedReadHalf>>>,
    ) -> Self {
        Self { half: StdinHalf::Connecting(write), source, written: 0, read }
    }

    /// Writes all of `data`; waits while the process does not read.
    ///
    /// # Errors
    /// `Execution` when the process has closed its stdin or this was closed.
    pub async fn write_all(&mut self, data: &[u8]) -> BoxliteResult<()> {
        self.connected().await?;
        match &mut self.half {
            StdinHalf::Open(half) => {
                half.write_all(data).await.map_err(|error| {
                    BoxliteError::Execution(Detail::new(format!(
                        "the process no longer reads its stdin: {error}"
                    )))
                })?;
                self.written += data.len() as u64;
                Ok(())
            }
            _ => Err(BoxliteError::Execution(Detail::new("stdin was closed"))),
        }
    }

    /// The same as [`ExecStdin::write_all`]: nothing is written in part.
    pub async fn write(&mut self, data: &[u8]) -> BoxliteResult<()> {
        self.write_all(data).await
    }

    /// Ends the stream: the process reads EOF after what was written.
    pub fn close(&mut self) {
        // A half that goes is shut down: at once, or by whoever is still connecting it.
        let half = std::mem::replace(&mut self.half, StdinHalf::Closed);
        let Some(source) = self.source.take() else { return };
        let (read, written) = (self.read.take(), self.written);
        source.handle.clone().spawn(async move {
            match half {
                StdinHalf::Open(half) => drop(half),
                StdinHalf::Connecting(connecting) => drop(connecting.await),
                StdinHalf::Closed => {}
            }
            // Were the connection closed right now, the half-close could not be told from a lost connection, after which
            // a stdin that is kept waits for another writer. A process that has ended needs no word.
            let _ = source.close_stdin(written).await;
            drop(read);
        });
    }

    /// Whether it was closed, or could not be connected.
    pub fn is_closed(&self) -> bool {
        matches!(self.half, StdinHalf::Closed)
    }

    async fn connected(&mut self) -> BoxliteResult<()> {
        if let StdinHalf::Connecting(connecting) = &mut self.half {
            let connected = connecting.await.unwrap_or_else(|_| Err(runtime_gone()));
            // The answer comes once: what failed is closed.
            self.half = StdinHalf::Closed;
            self.half = StdinHalf::Open(connected?);
        }
        Ok(())
    }
}

impl Drop for ExecStdin {
    fn drop(&mut self) {
        if self.source.is_none() {
            // A terminal, or closed.
            return;
        }
        // A half that is dropped is shut down before its connection is closed, and the shim may see the first alone: the
        // end of a stdin that was to be kept. So it is only closed.
        match std::mem::replace(&mut self.half, StdinHalf::Closed) {
            StdinHalf::Open(half) => half.forget(),
            StdinHalf::Connecting(mut connecting) => {
                connecting.close();
                if let Ok(Ok(half)) = connecting.try_recv() {
                    half.forget();
                }
            }
            StdinHalf::Closed => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stdin_that_could_not_be_connected_stays_closed() {
        let (connected, connecting) = oneshot::channel();
        connected.send(Err(BoxliteError::Portal("gone".into()))).unwrap();
        let mut stdin = ExecStdin::new(None, connecting, None);
        assert!(matches!(stdin.write_all(b"x").await, Err(BoxliteError::Portal(_))));
        assert!(matches!(stdin.write_all(b"x").await, Err(BoxliteError::Execution(_))));
        assert!(stdin.is_closed());
    }
}
