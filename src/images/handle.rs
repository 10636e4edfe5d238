//! The images of a runtime, as the Rust API shows them.
//!
//! Owns nothing but the way to the store: work runs on the runtime's own threads, so the futures work on any
//! executor.

use std::fmt;
use std::sync::Arc;

use super::image::StoredImage;
use super::progress::ProgressSink;
use super::store::ImageStore;
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::model::digest::Digest;
use crate::model::types::ImageInfo;

/// Names the boxes that use the image with this manifest digest.
type Users = Arc<dyn Fn(&Digest) -> BoxliteResult<Vec<String>> + Send + Sync>;

/// The images of a runtime.
#[derive(Clone)]
pub struct ImageHandle {
    store: ImageStore,
    workers: tokio::runtime::Handle,
    users: Users,
}

/// An image that was just pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PulledImage {
    image: StoredImage,
    config_digest: String,
}

impl PulledImage {
    fn new(image: StoredImage) -> Self {
        Self { config_digest: image.config_digest.to_string(), image }
    }

    /// The normalised reference.
    pub fn reference(&self) -> &str {
        &self.image.reference
    }

    /// The digest of the image's config.
    pub fn config_digest(&self) -> &str {
        &self.config_digest
    }

    /// How many layers it has.
    pub fn layer_count(&self) -> usize {
        self.image.layers.len()
    }

    /// All that is known about it.
    pub fn stored(&self) -> &StoredImage {
        &self.image
    }
}

impl fmt::Debug for ImageHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageHandle").field("store", &self.store).finish_non_exhaustive()
    }
}

impl ImageHandle {
    /// A handle whose work runs on `workers`; `users` names the boxes that use an image.
    pub(crate) fn new(
        store: ImageStore,
        workers: tokio::runtime::Handle,
        users: impl Fn(&Digest) -> BoxliteResult<Vec<String>> + Send + Sync + 'static,
    ) -> Self {
        Self { store, workers, users: Arc::new(users) }
    }

    /// Asks the source what `reference` is now and fetches what is missing.
    pub async fn pull(&self, reference: &str) -> BoxliteResult<PulledImage> {
        self.pull_with_progress(reference, ProgressSink::none()).await
    }

    /// As `pull`, telling `progress` how far it is.
    pub async fn pull_with_progress(
        &self,
        reference: &str,
        progress: ProgressSink,
    ) -> BoxliteResult<PulledImage> {
        let reference = reference.to_owned();
        let pulled = self.run(|store| async move { store.pull(&reference, &progress).await });
        pulled.await.map(PulledImage::new)
    }

    /// All complete images, the newest first.
    pub async fn list(&self) -> BoxliteResult<Vec<ImageInfo>> {
        let images = self.run(|store| async move { store.list().await }).await?;
        Ok(images.into_iter().map(ImageInfo::from).collect())
    }

    /// The image of a reference or digest, if it is stored.
    pub async fn get(&self, reference: &str) -> BoxliteResult<Option<StoredImage>> {
        let reference = reference.to_owned();
        self.run(|store| async move { store.get(&reference).await }).await
    }

    /// Removes an image. One that boxes use stays, unless forced: those boxes fetch it again at their next start.
    pub async fn remove(&self, reference: &str, force: bool) -> BoxliteResult<()> {
        let (reference, users) = (reference.to_owned(), Arc::clone(&self.users));
        let remove = |store: ImageStore| async move {
            let used = match store.get(&reference).await? {
                Some(image) if !force => users(&image.manifest_digest)?,
                _ => Vec::new(),
            };
            if used.is_empty() {
                return store.remove(&reference).await;
            }
            Err(BoxliteError::InvalidState(
                Detail::new(format!("cannot remove image {reference}: used by {}", used.join(", ")))
                    .subject(reference)
                    .hint("remove these boxes first, or remove the image with force=true"),
            ))
        };
        self.run(remove).await
    }

    /// Runs work on the runtime's threads; dropping the returned future ends the work.
    async fn run<T, F>(&self, work: impl FnOnce(ImageStore) -> F) -> BoxliteResult<T>
    where
        T: Send + 'static,
        F: Future<Output = BoxliteResult<T>> + Send + 'static,
    {
        let mut task = AbortOnDrop(self.workers.spawn(work(self.store.clone())));
        match (&mut task.0).await {
            Ok(result) => result,
            Err(error) if error.is_panic() => {
                Err(BoxliteError::Internal(Detail::new("a task of the image store panicked")))
            }
            Err(_) => Err(BoxliteError::Stopped(Detail::new("the runtime was shut down"))),
        }
    }
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
