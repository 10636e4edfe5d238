//! Which boxes belong to a runtime of this process that still is.
//!
//! A box's row names the process that owns it. That tells whose a box is as long as processes end with their runtimes;
//! one that drops a runtime, or execs another program, goes on without. So each runtime holds a tenure, and a box whose
//! owner is this very process is owned only under one that has not ended.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::errors::{BoxliteError, BoxliteResult};
use crate::model::id::BoxID;
use crate::per_process::PerProcess;

/// Device and inode of a home: two paths may lead to one.
type Home = (u64, u64);

type Owned = HashMap<(Home, BoxID), Weak<()>>;

static OWNED: PerProcess<Mutex<Owned>> = PerProcess::new();

/// A panic elsewhere leaves these plain values usable.
fn owned() -> MutexGuard<'static, Owned> {
    OWNED.get().lock().unwrap_or_else(PoisonError::into_inner)
}

/// A runtime's time; ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Tenure(Arc<()>);

/// What boxes are owned under.
#[derive(Clone, Debug)]
pub(crate) struct Title {
    home: Home,
    tenure: Weak<()>,
}

impl Tenure {
    /// Begins with the runtime on `home`.
    pub(crate) fn begin(home: &Path) -> BoxliteResult<(Self, Title)> {
        let metadata = home.metadata().map_err(|error| BoxliteError::io("read", home, &error))?;
        let tenure = Self(Arc::new(()));
        let title = Title { home: (metadata.dev(), metadata.ino()), tenure: Arc::downgrade(&tenure.0) };
        Ok((tenure, title))
    }
}

impl Drop for Tenure {
    fn drop(&mut self) {
        let ending = Arc::downgrade(&self.0);
        owned().retain(|_, tenure| !tenure.ptr_eq(&ending));
    }
}

impl Title {
    /// The box is this runtime's from now on.
    pub(crate) fn take(&self, id: &BoxID) {
        owned().insert((self.home, id.clone()), self.tenure.clone());
    }

    /// The box is no more.
    pub(crate) fn give_up(&self, id: &BoxID) {
        owned().remove(&(self.home, id.clone()));
    }

    /// Whether some runtime of this process owns the box of this home.
    pub(crate) fn is_taken(&self, id: &BoxID) -> bool {
        // A start that was under way may take it after the end.
        owned().get(&(self.home, id.clone())).is_some_and(|tenure| tenure.strong_count() > 0)
    }
}
