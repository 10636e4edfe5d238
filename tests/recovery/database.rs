//! A database that is gone, torn or replaced, before and while runtimes have it open.

use super::*;

/// Every way in which a call can meet a damaged database.
async fn assert_each_call_names_it(runtime: &BoxliteRuntime, sandbox: &LiteBox) {
    let id = sandbox.id().as_str();
    assert_names_database(&runtime.list_info().await.unwrap_err());
    assert_names_database(&runtime.get(id).await.unwrap_err());
    assert_names_database(&runtime.get_info(id).await.unwrap_err());
    assert_names_database(&runtime.exists(id).await.unwrap_err());
    assert_names_database(&runtime.create(detached(), None).await.unwrap_err());
    assert_names_database(&runtime.remove(id, true).await.unwrap_err());
    assert_names_database(&sandbox.start().await.unwrap_err());
    assert_names_database(&sandbox.exec(BoxCommand::new("true")).await.unwrap_err());
    assert_eq!(sandbox.info().name.as_deref(), sandbox.name(), "what was last seen is still told");
}

#[tokio::test]
async fn damage_under_a_running_runtime_is_told_by_each_call() {
    for damage in ["deleted", "cut short", "text"] {
        let home = PerTestBoxHome::new();
        let runtime = open(&home);
        let sandbox = runtime.create(detached(), Some("kept".into())).await.unwrap();
        let path = home.path.join("db/boxlite.db");
        let left = match damage {
            "deleted" => {
                fs::remove_file(&path).unwrap();
                None
            }
            "cut short" => Some(Vec::new()),
            _ => Some(b"a text".repeat(10_000)),
        };
        if let Some(left) = &left {
            fs::write(&path, left).unwrap();
        }
        assert_each_call_names_it(&runtime, &sandbox).await;
        runtime.shutdown(None).await.unwrap();
        drop((runtime, sandbox));
        assert_names_database(&try_open(&home.path).unwrap_err());
        assert_eq!(fs::read(&path).ok(), left, "{damage}: the damaged file was changed");
        // The box has never run: it is in the log alone.
        let report = BoxliteRuntime::builder().home_dir(&home.path).repair().unwrap();
        assert_eq!(report.boxes.len(), 1, "{damage}: {report:?}");
        assert!(open(&home).exists("kept").await.unwrap(), "{damage}");
        closed(&home).await;
        assert_clean(&home, &[], &report.kept_aside);
    }
}

#[tokio::test]
async fn a_newer_home_is_refused_and_nothing_in_it_is_changed() {
    let home = PerTestBoxHome::new();
    drop(open(&home));
    closed(&home).await;
    alter(&home, "INSERT INTO schema_migrations VALUES (999, 0, '9.9.9')");
    let path = home.path.join("db/boxlite.db");
    let before = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().modified().unwrap());
    for error in [
        try_open(&home.path).unwrap_err(),
        BoxliteRuntime::builder().home_dir(&home.path).repair().unwrap_err(),
    ] {
        assert!(matches!(&error, BoxliteError::Config(text) if text.contains("9.9.9")), "{error:?}");
    }
    assert_eq!((fs::read(&path).unwrap(), fs::metadata(&path).unwrap().modified().unwrap()), before);
    assert_eq!(names_in(&home.path.join("db")), ["boxlite.db"]);
    assert_clean(&home, &[], &[]);
}
