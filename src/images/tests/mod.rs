//! Tests of the store as a whole, on real files, a real registry and real processes.

mod archives;
mod faults;
mod handle;
mod keeping;
mod local;
mod processes;
mod proxy;
mod prune;
mod remote;
mod tokens;

use std::path::Path;
use std::time::Duration;

use boxlite_test_utils::oci::{Layout, Packing, tar_of};

use super::{ImageLimits, ImageStore, ProgressSink};
use crate::errors::BoxliteError;
use crate::model::registry::ImageRegistry;

/// A store that gives up quickly.
fn store_with(dir: &Path, registries: Vec<ImageRegistry>) -> ImageStore {
    let limits = ImageLimits {
        lock_patience: Duration::from_secs(10),
        attempts: 3,
        first_pause: Duration::from_millis(20),
        ..ImageLimits::default()
    };
    ImageStore::open(dir.join("images"), registries, limits).expect("a store")
}

fn store(dir: &Path) -> ImageStore {
    store_with(dir, Vec::new())
}

/// A layout with one image of three layers, one in each packing, tagged `v1`.
pub(super) fn sample_layout(dir: &Path) -> Layout {
    let layout = Layout::new(dir.join("layout")).expect("a layout");
    let tars: Vec<Vec<u8>> = (0..3_u8)
        .map(|number| {
            let big = vec![number; 300_000];
            tar_of(&[(&format!("file-{number}"), &big), ("shared", &[number])]).expect("a tar")
        })
        .collect();
    let layers = [(&*tars[0], Packing::Gzip), (&*tars[1], Packing::Zstd), (&*tars[2], Packing::Tar)];
    let manifest = layout.image(&layers).expect("an image");
    layout.tags(&[("v1", &manifest)]).expect("an index");
    layout
}

/// Every file below `dir`, by its path from there.
fn files_below(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in
            std::fs::read_dir(&next).expect("a directory").map(|entry| entry.expect("an entry").path())
        {
            if entry.is_dir() {
                waiting.push(entry);
            } else if let Ok(relative) = entry.strip_prefix(dir) {
                found.push(relative.display().to_string());
            }
        }
    }
    found.sort_unstable();
    found
}

/// Nothing but complete things is in the store: no lock, no temporary file, no partial blob.
pub(super) fn assert_tidy(dir: &Path) {
    let left: Vec<String> = files_below(&dir.join("images"))
        .into_iter()
        .filter(|name| name.starts_with("tmp/") || name.starts_with("locks/"))
        .collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

/// The error of a reference that can't be used; nothing of it is left in the store.
async fn refusal(dir: &Path, reference: &str) -> BoxliteError {
    let error = store(dir).ensure(reference, &ProgressSink::none()).await.expect_err(reference);
    assert_tidy(dir);
    assert_eq!(store(dir).list().await, Ok(Vec::new()), "{reference}");
    assert!(!error.hint().is_empty());
    error
}
