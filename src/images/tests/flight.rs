//! Shared work: done once, told to all, ended when nobody waits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::super::progress::ImageStage;
use super::*;

struct Raise(Arc<AtomicUsize>);

impl Drop for Raise {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn event() -> ImageProgress {
    ImageProgress { reference: "x".into(), stage: ImageStage::Pulling, layer: None }
}

#[tokio::test]
async fn many_callers_share_one_run_and_all_hear_of_it() {
    let flights = Flights::<u32>::default();
    let (runs, heard) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let waiters = (0..8).map(|_| {
        let (flights, runs, heard) = (&flights, Arc::clone(&runs), Arc::clone(&heard));
        async move {
            let sink = ProgressSink::new(move |_| {
                heard.fetch_add(1, Ordering::SeqCst);
            });
            let work = |sinks: FlightSinks| async move {
                runs.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(30)).await;
                sinks.emit(&event());
                Ok(7)
            };
            flights.join("key", &sink, work).await
        }
    });
    let results = futures::future::join_all(waiters).await;
    assert!(results.iter().all(|result| *result == Ok(7)));
    assert_eq!((runs.load(Ordering::SeqCst), heard.load(Ordering::SeqCst)), (1, 8));
}

#[tokio::test]
async fn a_caller_leaves_and_the_others_go_on_until_the_last_one_leaves() {
    let flights = Arc::new(Flights::<u32>::default());
    let (ended, finished) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let wait = |millis: u64| {
        let (flights, raise, finished) =
            (Arc::clone(&flights), Raise(Arc::clone(&ended)), Arc::clone(&finished));
        tokio::spawn(async move {
            let work = |_| async move {
                let _raise = raise;
                tokio::time::sleep(Duration::from_millis(millis)).await;
                finished.fetch_add(1, Ordering::SeqCst);
                Ok(7)
            };
            flights.join("key", &ProgressSink::none(), work).await
        })
    };
    let (first, second) = (wait(100), wait(100));
    tokio::time::sleep(Duration::from_millis(20)).await;
    first.abort();
    assert_eq!(second.await.expect("no panic"), Ok(7));
    assert_eq!(finished.load(Ordering::SeqCst), 1);

    let only = wait(60_000);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let before = ended.load(Ordering::SeqCst);
    only.abort();
    let _ = only.await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(ended.load(Ordering::SeqCst), before + 1);
    assert_eq!(finished.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_panic_of_the_work_is_an_error_of_its_waiters() {
    let flights = Flights::<u32>::default();
    let result = flights.join("key", &ProgressSink::none(), |_| async { panic!("in the work") }).await;
    assert!(matches!(result, Err(BoxliteError::Panic(_))), "{result:?}");
    assert_eq!(flights.join("key", &ProgressSink::none(), |_| async { Ok(7) }).await, Ok(7));
}
