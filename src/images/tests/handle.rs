//! The images of a runtime: from any executor, with boxes that use them, and left in the middle.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use boxlite_test_utils::oci::{Layout, Packing, tar_of};

use super::{assert_tidy, files_below, sample_layout, store};
use crate::errors::BoxliteError;
use crate::images::{ImageHandle, ImageStage, ImageUser, ProgressSink};

/// An executor that knows nothing of tokio.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn it_works_without_a_runtime_of_the_caller() {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = sample_layout(dir.path());
    let workers = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let workers = workers.expect("a runtime");
    let users = Arc::new(std::sync::Mutex::new(Vec::new()));
    let asked = Arc::clone(&users);
    let handle = ImageHandle::new(store(dir.path()), workers.handle().clone(), move || {
        Ok(asked.lock().expect("the users").clone())
    });
    let reference = format!("oci:{}:v1", layout.dir().display());
    // No tokio context here: the futures are polled by another executor.
    let pulled = block_on(handle.pull(&reference)).expect("an image");
    assert_eq!((pulled.reference(), pulled.layer_count()), (reference.as_str(), 3));
    assert_eq!(pulled.config_digest(), pulled.stored().config_digest.to_string());
    let listed = block_on(handle.list()).expect("a list");
    assert_eq!(listed.len(), 1);
    assert_eq!((&*listed[0].tag, &*listed[0].reference), ("v1", &*reference));
    assert_eq!(listed[0].id, pulled.stored().manifest_digest.to_string());

    users.lock().expect("the users").push(ImageUser {
        name: "box-1".into(),
        reference: Some(reference.clone()),
        disk: Some(pulled.stored().manifest_digest),
    });
    let error = block_on(handle.remove(&reference, false)).expect_err("it is used");
    assert!(matches!(error, BoxliteError::InvalidState(_)), "{error}");
    assert!(error.to_string().contains("box-1") && error.hint().contains("force=true"), "{error}");
    assert!(block_on(handle.get(&reference)).expect("a look").is_some());
    block_on(handle.remove(&reference, true)).expect("a forced removal");
    assert_eq!(block_on(handle.get(&reference)), Ok(None));
    let error = block_on(handle.pull("Bad Name")).expect_err("a bad name");
    assert!(matches!(error, BoxliteError::InvalidArgument(_)), "{error}");

    drop(workers);
    let error = block_on(handle.pull(&reference)).expect_err("nobody works");
    assert!(matches!(error, BoxliteError::Stopped(_)), "{error}");
    assert_tidy(dir.path());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_nobody_waits_for_ends_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::new(dir.path().join("layout")).expect("a layout");
    let files: Vec<(String, Vec<u8>)> =
        (0..64_u8).map(|number| (format!("file-{number}"), vec![number | 1; 2 << 20])).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, content)| (&**name, &**content)).collect();
    let tar = tar_of(&files).expect("a tar");
    layout.tags(&[("v1", &layout.image(&[(&*tar, Packing::Tar)]).expect("an image"))]).expect("an index");
    let store = store(dir.path());
    let reference = format!("oci:{}", layout.dir().display());
    let image = store.ensure(&reference, &ProgressSink::none()).await.expect("an image");

    let (begun, begin) = channel();
    let sink = ProgressSink::new(move |progress| {
        if progress.stage == ImageStage::BuildingDisk {
            // The test has seen the first one already.
            let _ = begun.send(());
        }
    });
    let (builder, wanted) = (store.clone(), image.clone());
    let build = tokio::spawn(async move { builder.disk(&wanted, &sink).await });
    begin.recv_timeout(Duration::from_secs(60)).expect("a build");
    build.abort();
    assert!(build.await.is_err_and(|error| error.is_cancelled()));
    // The lock is free as soon as the abandoned build has ended.
    let lock = format!("disk-{}", image.manifest_digest.hex());
    drop(store.0.locks.acquire(&lock, "testing").await.expect("the lock"));
    assert!(files_below(&dir.path().join("images/disks")).is_empty());
    assert_tidy(dir.path());
    assert!(store.disk(&image, &ProgressSink::none()).await.expect("a disk").built);
}
