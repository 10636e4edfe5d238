//! Getting blobs into the store: from a registry with retries and resume, or from a local container.
//!
//! Owns retry, back-off and per-layer progress. Hashing and writing happen on blocking threads; the blob's lock is
//! held until the last of them is done, also when the caller leaves in between.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use oci_client::client::{BlobResponse, SizedStream};
use tokio::sync::mpsc;

use super::blobs::{PartialBlob, random};
use super::flight::FlightSinks;
use super::image::ImageLimits;
use super::layout::LocalImage;
use super::manifest::Descriptor;
use super::progress::{ImageProgress, ImageStage, LayerProgress};
use super::registry::{Failure, RegistryClient};
use super::store::Inner;
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::executor::blocking;
use crate::lock::LockGuard;
use crate::model::digest::Digest;

const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// Progress events of one layer come at most this often.
const EVENT_INTERVAL: Duration = Duration::from_millis(50);
/// Chunks on their way from the network to the disk.
const CHUNKS_IN_FLIGHT: usize = 32;

/// Where blobs come from.
#[derive(Clone)]
pub(super) enum Origin {
    Registry(Arc<RegistryClient>),
    Local(Arc<LocalImage>),
}

/// One pull's way of getting blobs.
#[derive(Clone)]
pub(super) struct Fetcher {
    pub store: Arc<Inner>,
    pub origin: Origin,
    pub reference: Arc<str>,
    pub sinks: FlightSinks,
}

/// Whether a blob's progress is told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum BlobKind {
    Config,
    Layer,
}

fn stopped() -> BoxliteError {
    BoxliteError::Stopped(Detail::new("the runtime was shut down"))
}

/// A flag that is raised when its owner goes: how blocking work learns that nobody waits for it.
pub(super) struct Abandon(Arc<AtomicBool>);

impl Abandon {
    pub(super) fn new() -> (Self, Arc<AtomicBool>) {
        let flag = Arc::new(AtomicBool::new(false));
        (Self(Arc::clone(&flag)), flag)
    }
}

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Repeats a request while it fails for reasons that pass.
pub(super) async fn with_retries<T, F>(
    limits: &ImageLimits,
    mut request: impl FnMut() -> F,
) -> BoxliteResult<T>
where
    F: Future<Output = Result<T, Failure>>,
{
    let mut attempt = 1;
    loop {
        match request().await {
            Ok(answer) => return Ok(answer),
            Err(failure) if failure.transient && attempt < limits.attempts => {
                tokio::time::sleep(pause(limits, attempt)).await;
                attempt += 1;
            }
            Err(failure) => return Err(failure.error),
        }
    }
}

/// Doubles with each attempt, plus or minus half, so that many clients don't come back at once.
fn pause(limits: &ImageLimits, attempt: u32) -> Duration {
    let base = limits.first_pause.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(LONGEST_PAUSE);
    base.mul_f64(0.5 + (random() % 1000) as f64 / 1000.0)
}

impl Fetcher {
    pub(super) fn tell(&self, stage: ImageStage, layer: Option<LayerProgress>) {
        self.sinks.emit(&ImageProgress { reference: self.reference.to_string(), stage, layer });
    }

    /// Makes sure that a blob is in the store.
    pub(super) async fn fetch(self, blob: Descriptor, kind: BlobKind) -> BoxliteResult<()> {
        let report = Report::new(&self, blob, kind);
        if self.store.blobs.has(&blob) {
            report.done();
            return Ok(());
        }
        // Before the lock: who holds a lock is to get on with it. One bound for all pulls, as each transfer has a
        // blocking thread while it runs.
        let _permit = self.store.transfers.acquire().await.map_err(|_| stopped())?;
        let operation = format!("pulling {} of {}", blob.digest, self.reference);
        let guard =
            self.store.locks.acquire_behind_work(&format!("blob-{}", blob.digest.hex()), &operation).await?;
        if self.store.blobs.has(&blob) {
            report.done();
            return Ok(());
        }
        let guard = Arc::new(guard);
        let report = Report { guard: Some(Arc::clone(&guard)), ..report };
        match &self.origin {
            Origin::Registry(client) => self.download(client, blob, &guard, &report).await?,
            Origin::Local(image) => self.copy(Arc::clone(image), blob, guard, report.clone()).await?,
        }
        report.done();
        Ok(())
    }

    async fn copy(
        &self,
        image: Arc<LocalImage>,
        blob: Descriptor,
        guard: Arc<LockGuard>,
        report: Report,
    ) -> BoxliteResult<()> {
        let blobs = self.store.blobs.clone();
        let (_abandon, abandoned) = Abandon::new();
        let work = move || {
            let _held = guard;
            let mut member = image.open(&blob.digest)?;
            let mut partial = blobs.begin(blob)?;
            partial.restart()?;
            let copied = partial.copy_from(&mut member.reader, &mut |done| {
                report.at(done);
                if abandoned.load(Ordering::Relaxed) {
                    return Err(BoxliteError::Cancelled(Detail::new("the import was cancelled")));
                }
                Ok(())
            });
            match copied {
                Ok(()) => partial.commit(),
                // A copy is quick to make again: nothing to go on with is kept.
                Err(error) => {
                    partial.delete();
                    Err(error)
                }
            }
        };
        blocking(work).await
    }

    async fn download(
        &self,
        client: &Arc<RegistryClient>,
        blob: Descriptor,
        guard: &Arc<LockGuard>,
        report: &Report,
    ) -> BoxliteResult<()> {
        let limits = &self.store.limits;
        let mut partial = self.begin(blob, guard).await?;
        let mut leftover = partial.len() > 0;
        let mut attempt = 1;
        loop {
            let before = partial.len();
            if before < blob.size {
                let transfer;
                (partial, transfer) = transfer_once(client, blob.digest, partial, guard, report).await?;
                // A stream that ends early without an error is as broken as one with.
                let failure = match transfer {
                    Ok(()) if partial.len() < blob.size => Some(client.broken_stream(
                        &blob.digest,
                        &std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the stream ended early"),
                    )),
                    Ok(()) => None,
                    Err(failure) => Some(failure),
                };
                if let Some(failure) = failure {
                    if partial.len() > before {
                        attempt = 1;
                    }
                    if !failure.transient || attempt >= limits.attempts {
                        return Err(failure.error);
                    }
                    tokio::time::sleep(pause(limits, attempt)).await;
                    attempt += 1;
                    continue;
                }
            }
            let held = Arc::clone(guard);
            let committed = blocking(move || {
                let _held = held;
                partial.commit()
            });
            match committed.await {
                // What an earlier process left may have been damaged: once more, from the start.
                Err(BoxliteError::Image(_)) if leftover => {
                    leftover = false;
                    partial = self.begin(blob, guard).await?;
                }
                result => return result,
            }
        }
    }

    async fn begin(&self, blob: Descriptor, guard: &Arc<LockGuard>) -> BoxliteResult<PartialBlob> {
        let (blobs, held) = (self.store.blobs.clone(), Arc::clone(guard));
        blocking(move || {
            let _held = held;
            blobs.begin(blob)
        })
        .await
    }
}

/// One request for the rest of a blob. Outer errors are the disk's and final, inner ones the network's.
async fn transfer_once(
    client: &RegistryClient,
    digest: Digest,
    mut partial: PartialBlob,
    guard: &Arc<LockGuard>,
    report: &Report,
) -> BoxliteResult<(PartialBlob, Result<(), Failure>)> {
    let stream = match client.blob(&digest, partial.len()).await {
        Ok(BlobResponse::Partial(stream)) => stream,
        Ok(BlobResponse::Full(stream)) => {
            partial.restart()?;
            stream
        }
        Err(failure) => return Ok((partial, Err(failure))),
    };
    let mut done = partial.len();
    let (send, mut receive) = mpsc::channel::<Bytes>(CHUNKS_IN_FLIGHT);
    let held = Arc::clone(guard);
    let writer = blocking(move || {
        let _held = held;
        while let Some(chunk) = receive.blocking_recv() {
            partial.write(&chunk)?;
        }
        Ok(partial)
    });
    let pump = async move {
        let mut stream: SizedStream = stream;
        while let Some(next) = stream.next().await {
            let chunk = match next {
                Ok(chunk) => chunk,
                Err(error) => return Err(client.broken_stream(&digest, &error)),
            };
            done += chunk.len() as u64;
            if send.send(chunk).await.is_err() {
                // The writer has failed; its error is the one that counts.
                break;
            }
            report.at(done);
        }
        Ok(())
    };
    let (partial, transfer) = futures::join!(writer, pump);
    Ok((partial?, transfer))
}

/// Tells callers and waiters how far one blob is.
#[derive(Clone)]
struct Report {
    sinks: FlightSinks,
    reference: Arc<str>,
    blob: Descriptor,
    kind: BlobKind,
    guard: Option<Arc<LockGuard>>,
    last: Arc<std::sync::Mutex<Instant>>,
}

impl Report {
    fn new(fetcher: &Fetcher, blob: Descriptor, kind: BlobKind) -> Self {
        Self {
            sinks: fetcher.sinks.clone(),
            reference: Arc::clone(&fetcher.reference),
            blob,
            kind,
            guard: None,
            last: Arc::new(std::sync::Mutex::new(Instant::now())),
        }
    }

    fn at(&self, done_bytes: u64) {
        if let Some(guard) = &self.guard {
            guard.progress();
        }
        let due = {
            let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let due = last.elapsed() >= EVENT_INTERVAL;
            if due {
                *last = Instant::now();
            }
            due
        };
        if due {
            self.emit(done_bytes);
        }
    }

    fn done(&self) {
        self.emit(self.blob.size);
    }

    fn emit(&self, done_bytes: u64) {
        if self.kind == BlobKind::Layer {
            let (digest, total_bytes) = (self.blob.digest, self.blob.size);
            let done_bytes = done_bytes.min(total_bytes);
            let layer = Some(LayerProgress { digest, done_bytes, total_bytes });
            let reference = self.reference.to_string();
            self.sinks.emit(&ImageProgress { reference, stage: ImageStage::Pulling, layer });
        }
    }
}
