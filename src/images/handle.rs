//! The images of a runtime, as the Rust API shows them.
//!
//! Owns nothing but the way to the store: work runs on the runtime's own threads, so the futures work on any
//! executor.

use std::fmt;
use std::sync::Arc;

use super::image::StoredImage;
use super::progress::ProgressSink;
use super::prune::{ImageUser, PrunedItem};
use super::store::ImageStore;
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::executor;
use crate::model::types::ImageInfo;

/// What the home's boxes need.
type Users = Arc<dyn Fn() -> BoxliteResult<Vec<ImageUser>> + Send + Sync>;

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
    /// A handle whose work runs on `workers`; `users` tells what boxes need.
    pub(crate) fn new(
        store: ImageStore,
        workers: tokio::runtime::Handle,
        users: impl Fn() -> BoxliteResult<Vec<ImageUser>> + Send + Sync + 'static,
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
        Ok(self.list_stored().await?.into_iter().map(ImageInfo::from).collect())
    }

    /// As `list`, with all that is known of each.
    pub async fn list_stored(&self) -> BoxliteResult<Vec<StoredImage>> {
        self.run(|store| async move { store.list().await }).await
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
                Some(image) if !force => names_of(users()?, &image),
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

    /// Deletes what no box of this home needs: images, disks, and blobs and parts of blobs that belong to none; with
    /// `dry_run` nothing. Tells what that is, in either case. A box needs its image from its creation on. Homes that share
    /// this store are not asked: their boxes fetch their images again. Once begun it goes on when the caller leaves.
    pub async fn prune(&self, dry_run: bool) -> BoxliteResult<Vec<PrunedItem>> {
        let users = Arc::clone(&self.users);
        self.run(move |store| async move { store.prune(move || users(), dry_run).await }).await
    }

    /// Runs work on the runtime's threads; dropping the returned future ends the work.
    async fn run<T, F>(&self, work: impl FnOnce(ImageStore) -> F) -> BoxliteResult<T>
    where
        T: Send + 'static,
        F: Future<Output = BoxliteResult<T>> + Send + 'static,
    {
        executor::run_on(&self.workers, work(self.store.clone())).await
    }
}

/// The boxes that were started from `image`.
fn names_of(users: Vec<ImageUser>, image: &StoredImage) -> Vec<String> {
    let uses = |user: &ImageUser| user.disk == Some(image.manifest_digest);
    users.into_iter().filter(uses).map(|user| user.name).collect()
}
