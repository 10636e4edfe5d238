//! The start of a box of its own, which may be cancelled during its pull.

use std::future::Future;
use std::sync::Arc;

use boxlite::images::{ImageStage, ProgressSink};

use crate::answer::Answer;
use crate::driver::{Driver, options};
use crate::request::Request;

impl Driver {
    /// A box of its own, of `image`, is started, and removed.
    pub(crate) async fn start(&self, request: &Request, answer: &mut Answer) {
        let created = self.runtime.create(options(request.text("image"), 256), None).await;
        let Some(other) = answer.note("create", created) else { return };
        let pulled = Arc::new(tokio::sync::Notify::new());
        let tells = pulled.clone();
        let sink = ProgressSink::new(move |progress| {
            if progress.stage == ImageStage::Pulling
                && progress.layer.is_some_and(|layer| layer.done_bytes > 0)
            {
                tells.notify_one();
            }
        });
        let cancel = request.has("cancel");
        let started = first_of(other.start_with(&sink), async {
            pulled.notified().await;
            if !cancel {
                std::future::pending::<()>().await;
            }
        });
        match started.await {
            Some(started) => drop(answer.note("error", started)),
            // What cancelling is elsewhere is dropping the future here.
            None => answer.tell("error", "BOXLITE_CANCELLED"),
        }
        answer.tell("status", other.info().status.as_str());
        answer.note("remove", self.runtime.remove(other.id().as_str(), true).await);
    }
}

/// What `work` gives, unless `end` comes first: then it is dropped.
async fn first_of<T>(work: impl Future<Output = T>, end: impl Future<Output = ()>) -> Option<T> {
    tokio::select! {
        result = work => Some(result),
        () = end => None,
    }
}
