//! The words that callers look for in errors, and the order of things they rely on, with a real box.

use boxlite::{BoxStatus, BoxliteError};
use boxlite_test_utils::home::PerTestBoxHome;

use super::{busybox, open};

#[tokio::test]
async fn what_is_not_there_is_said_to_be_not_found() {
    let home = PerTestBoxHome::isolated();
    let runtime = open(&home);
    let error = runtime.remove("nothing", true).await.unwrap_err();
    assert!(matches!(error, BoxliteError::NotFound(_)) && error.to_string().contains("not found"), "{error}");
    assert!(runtime.get("nothing").await.unwrap().is_none());
    assert!(runtime.get_info("nothing").await.unwrap().is_none());
    assert!(!runtime.exists("nothing").await.unwrap() && runtime.list_info().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_name_is_given_once() {
    let home = PerTestBoxHome::isolated();
    let runtime = open(&home);
    let first = runtime.create(busybox(), Some("name".into())).await.unwrap();
    let error = runtime.create(busybox(), Some("name".into())).await.unwrap_err();
    assert!(matches!(error, BoxliteError::AlreadyExists(_)), "{error}");
    let (same, created) = runtime.get_or_create(busybox(), Some("name".into())).await.unwrap();
    assert!(!created && same.id() == first.id() && same.name() == Some("name"));
}

#[tokio::test]
async fn after_a_shutdown_everything_says_so() {
    let home = PerTestBoxHome::isolated();
    let runtime = open(&home);
    let sandbox = runtime.create(busybox(), None).await.unwrap();
    runtime.shutdown(None).await.unwrap();
    runtime.clone().shutdown(Some(0)).await.unwrap();
    let refusals = [
        runtime.create(busybox(), None).await.err(),
        sandbox.start().await.err(),
        sandbox.exec(boxlite::BoxCommand::new("true")).await.err(),
    ];
    for error in refusals {
        assert!(
            matches!(&error, Some(BoxliteError::Stopped(text)) if text.contains("shut down")),
            "{error:?}"
        );
    }
    assert_eq!(runtime.list_info().await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_active_box_is_removed_only_by_force() {
    let home = PerTestBoxHome::new();
    let runtime = open(&home);
    let sandbox = runtime.create(busybox(), None).await.unwrap();
    assert_eq!(sandbox.info().status, BoxStatus::Configured);
    sandbox.start().await.unwrap();
    assert!(sandbox.info().status.is_running() && sandbox.info().pid.is_some());
    let id = sandbox.id().to_string();
    let error = runtime.remove(&id, false).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, BoxliteError::InvalidState(_)), "{error}");
    assert!(["cannot remove", "active", "force=true"].iter().all(|words| text.contains(words)), "{text}");
    assert!(runtime.exists(&id).await.unwrap());
    runtime.remove(&id, true).await.unwrap();
    assert!(!runtime.exists(&id).await.unwrap());
    runtime.shutdown(Some(-1)).await.unwrap();
}
