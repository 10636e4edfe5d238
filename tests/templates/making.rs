//! How templates come to be, and what a maker leaves that is stopped half-way.

use std::time::Duration;

use crate::waiting::within;
use crate::{home, is_clone, open, options, started, templates};

#[tokio::test]
async fn a_box_that_boots_has_a_template_made_for_the_next() {
    let home = home();
    let runtime = open(&home);
    let first = started(&runtime).await;
    assert!(!is_clone(&first));
    within(Duration::from_secs(60), "a template is made", || runtime.start_counts().templates_made == 1)
        .await;
    let second = started(&runtime).await;
    assert!(is_clone(&second));
    assert_eq!(templates(&home).1, [""; 0]);
    runtime.shutdown(None).await.unwrap();
}

#[tokio::test]
async fn runtimes_that_want_the_same_template_make_one() {
    let home = home();
    let (one, two) = (open(&home), open(&home));
    let options = options();
    let (first, second) = tokio::join!(one.prepare(&options), two.prepare(&options));
    first.unwrap();
    second.unwrap();
    assert_eq!(one.start_counts().templates_made + two.start_counts().templates_made, 1);
    assert_eq!((templates(&home).0.len(), templates(&home).1), (1, vec![]));
    one.shutdown(None).await.unwrap();
    two.shutdown(None).await.unwrap();
}

#[tokio::test]
async fn a_making_that_is_called_off_leaves_nothing() {
    let home = home();
    let runtime = open(&home);
    for after_ms in [0, 5, 50, 200, 500, 900] {
        let cut = tokio::time::timeout(Duration::from_millis(after_ms), runtime.prepare(&options())).await;
        assert!(cut.is_err(), "a template in {after_ms} ms");
        within(Duration::from_secs(20), "the draft goes", || templates(&home) == (vec![], vec![])).await;
    }
    // The end of the runtime calls it off, too, and waits for it.
    let making = {
        let (runtime, options) = (runtime.clone(), options());
        tokio::spawn(async move { runtime.prepare(&options).await })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    runtime.shutdown(None).await.unwrap();
    assert_eq!(templates(&home), (vec![], vec![]));
    let error = making.await.unwrap().unwrap_err();
    assert!(matches!(error, boxlite::BoxliteError::Stopped(_)), "{error:?}");
}
