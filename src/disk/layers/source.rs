//! A layer's bytes: read and decompressed on a thread of its own, counted and hashed where they are used.
//!
//! Owns compression formats and the buffers between the two threads (2 MiB); knows nothing of what is in them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Scope;

use boxlite_archive::tar::Source;
use crossbeam_channel::{Receiver, Sender, bounded};
use flate2::bufread::GzDecoder;
use sha2::{Digest, Sha256};

use super::error::LayerError;
use super::{LayerCompression, LayerSource};

const BUFFER_BYTES: usize = 256 * 1024;
const BUFFERS: usize = 8;

enum Message {
    Bytes(Vec<u8>),
    /// The layer is complete.
    End,
    Failed(LayerError),
}

/// The receiving end: layer after layer in the order they were asked for.
pub(super) struct Feed<'a> {
    messages: Receiver<Message>,
    spent: Sender<Vec<u8>>,
    read: &'a AtomicU64,
}

impl<'a> Feed<'a> {
    /// Starts reading `layers`; the thread ends with them, or once the feed is dropped.
    pub(super) fn start<'s, 'e>(
        scope: &'s Scope<'s, 'e>,
        layers: Vec<&'e LayerSource>,
        read: &'a AtomicU64,
    ) -> Result<Self, LayerError>
    where
        'a: 's,
    {
        let (send, messages) = bounded(BUFFERS);
        let (spent, empty) = bounded(BUFFERS);
        for _ in 0..BUFFERS {
            // The channel has room for as many.
            let _ = spent.send(Vec::new());
        }
        std::thread::Builder::new()
            .name("boxlite-inflate".into())
            .spawn_scoped(scope, move || {
                let pipe = Pipe { send, empty, read };
                for layer in layers {
                    // A decoder's panic is this layer's error, not the caller's panic.
                    let last = match catch_unwind(AssertUnwindSafe(|| pipe.send_layer(layer))) {
                        Ok(Ok(())) => Message::End,
                        Ok(Err(error)) => Message::Failed(error),
                        Err(_) => Message::Failed(LayerError::Bug("the decompressor panicked")),
                    };
                    if pipe.send.send(last).is_err() {
                        return;
                    }
                }
            })
            .map_err(LayerError::Thread)?;
        Ok(Self { messages, spent, read })
    }

    /// The next layer's bytes, of which at most `limit` are allowed.
    pub(super) fn next_layer(&mut self, limit: u64) -> LayerBytes<'_, 'a> {
        LayerBytes {
            feed: self,
            buffer: Vec::new(),
            at: 0,
            total: 0,
            limit,
            ended: false,
            digest: Sha256::new(),
        }
    }

    /// Compressed bytes read so far.
    pub(super) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

/// One layer's uncompressed bytes.
pub(super) struct LayerBytes<'f, 'a> {
    feed: &'f mut Feed<'a>,
    buffer: Vec<u8>,
    at: usize,
    total: u64,
    limit: u64,
    ended: bool,
    digest: Sha256,
}

impl LayerBytes<'_, '_> {
    /// Compressed bytes read so far, of all layers.
    pub(super) fn read(&self) -> u64 {
        self.feed.read()
    }

    /// The digest of all bytes, once they have all been taken.
    pub(super) fn digest(self) -> [u8; 32] {
        self.digest.finalize().into()
    }

    fn next_buffer(&mut self) -> Result<(), LayerError> {
        let spent = std::mem::take(&mut self.buffer);
        if spent.capacity() > 0 {
            // If it cannot be sent, the thread has ended and needs no buffers.
            let _ = self.feed.spent.try_send(spent);
        }
        self.at = 0;
        match self.feed.messages.recv() {
            Ok(Message::Bytes(buffer)) => {
                self.total += buffer.len() as u64;
                if self.total > self.limit {
                    return Err(LayerError::TooLarge { limit: self.limit });
                }
                self.digest.update(&buffer);
                self.buffer = buffer;
                Ok(())
            }
            Ok(Message::End) => {
                self.ended = true;
                Ok(())
            }
            Ok(Message::Failed(error)) => Err(error),
            Err(_) => Err(LayerError::Bug("the decompressing thread ended before its work")),
        }
    }
}

impl Source for LayerBytes<'_, '_> {
    type Error = LayerError;

    fn take(&mut self, max: usize) -> Result<&[u8], LayerError> {
        while self.at == self.buffer.len() && !self.ended {
            self.next_buffer()?;
        }
        let start = self.at;
        self.at += max.min(self.buffer.len() - start);
        Ok(&self.buffer[start..self.at])
    }
}

/// The sending end.
struct Pipe<'a> {
    send: Sender<Message>,
    empty: Receiver<Vec<u8>>,
    read: &'a AtomicU64,
}

impl Pipe<'_> {
    fn send_layer(&self, layer: &LayerSource) -> Result<(), LayerError> {
        let file = File::open(&layer.path).map_err(LayerError::Read)?;
        let mut input = BufReader::with_capacity(BUFFER_BYTES, Counted { file, count: self.read });
        let declared = layer.compression;
        let found = LayerCompression::of_magic(input.fill_buf().map_err(LayerError::Read)?);
        if found != declared {
            return Err(LayerError::WrongCompression { declared, found });
        }
        match declared {
            LayerCompression::None => self.send_all(&mut input, declared),
            LayerCompression::Gzip => self.send_gzip(input),
            LayerCompression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input)
                    .map_err(|error| named(error, declared))?;
                self.send_all(&mut decoder, declared)
            }
        }
    }

    /// A gzip file is one member or more.
    fn send_gzip(&self, mut input: impl BufRead) -> Result<(), LayerError> {
        let format = LayerCompression::Gzip;
        loop {
            let mut decoder = GzDecoder::new(input);
            self.send_all(&mut decoder, format)?;
            input = decoder.into_inner();
            let next = input.fill_buf().map_err(LayerError::Read)?;
            if next.is_empty() {
                return Ok(());
            }
            if LayerCompression::of_magic(next) != format {
                return Err(LayerError::GarbageAfterGzip);
            }
        }
    }

    /// Sends all that `input` has; `Cancelled` when nobody listens any more.
    fn send_all(&self, input: &mut impl Read, format: LayerCompression) -> Result<(), LayerError> {
        loop {
            let mut buffer = self.empty.recv().map_err(|_| LayerError::Cancelled)?;
            buffer.resize(BUFFER_BYTES, 0);
            let mut filled = 0;
            while filled < BUFFER_BYTES {
                match input.read(&mut buffer[filled..]) {
                    Ok(0) => break,
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(named(error, format)),
                }
            }
            let ended = filled < BUFFER_BYTES;
            buffer.truncate(filled);
            self.send.send(Message::Bytes(buffer)).map_err(|_| LayerError::Cancelled)?;
            if ended {
                return Ok(());
            }
        }
    }
}

/// An error of the file stays one; all others are the decoder's.
fn named(error: io::Error, format: LayerCompression) -> LayerError {
    match error.kind() {
        _ if error.raw_os_error().is_some() => LayerError::Read(error),
        io::ErrorKind::UnexpectedEof => LayerError::Truncated { format },
        _ => LayerError::Damaged { format, reason: error.to_string() },
    }
}

/// Counts what is read from a file.
struct Counted<'a> {
    file: File,
    count: &'a AtomicU64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.count.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
