//! Ends that nobody asked for are seen at once by whoever watches, and at the next look by everybody else.

use boxlite::BoxStatus;

use super::*;

/// What the database says, read past every runtime.
fn state_in_database(home: &PerTestBoxHome) -> String {
    let connection = rusqlite::Connection::open(home.path.join("db/boxlite.db")).unwrap();
    connection.query_row("SELECT state FROM boxes", [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn the_watcher_of_an_adopted_box_records_its_end_without_a_call() {
    let home = PerTestBoxHome::new();
    let left = Left::in_home(&home).await;
    let watching = open(&home);
    assert_eq!(state_in_database(&home), "running");
    kill(left.pid);
    within(PATIENCE, "the row is settled without a call", || state_in_database(&home) == "stopped").await;
    watching.remove(&left.id, false).await.unwrap();
    drop(watching);
    closed(&home).await;
    assert_clean(&home, &[&left.id], &[]);
}

#[tokio::test]
async fn a_runtime_that_does_not_watch_sees_the_end_at_its_next_look() {
    let home = PerTestBoxHome::new();
    let other = open(&home);
    let idle = other.create(detached(), Some("looked-at".into())).await.unwrap();
    let id = idle.id().to_string();
    let mut looks = 0;
    loop {
        // Another runtime starts it and goes; this one has not touched it since.
        let pid = {
            let starter = open(&home);
            let sandbox = starter.get(&id).await.unwrap().unwrap();
            sandbox.start().await.unwrap();
            sandbox.info().pid.unwrap()
        };
        assert_eq!(idle.info().status, BoxStatus::Running);
        kill(pid);
        within(PATIENCE, "the machine ends", || processes_naming(&id).is_empty()).await;
        // The row may be settled only by what is called here: the starter is gone, or sees it in the same moment.
        looks += 1;
        match looks {
            1 => {
                assert_eq!((idle.info().status, idle.info().pid), (BoxStatus::Stopped, None));
                assert_eq!(other.list_info().await.unwrap()[0].status, BoxStatus::Stopped);
                within(PATIENCE, "it is recorded", || state_in_database(&home) == "stopped").await;
            }
            2 => {
                let info = other.get_info(&id).await.unwrap().unwrap();
                assert_eq!((info.status, info.pid), (BoxStatus::Stopped, None));
                // Exec starts it again.
                succeeds(&other.get(&id).await.unwrap().unwrap(), "true").await;
                idle.stop().await.unwrap();
            }
            _ => break,
        }
    }
    // Any number of runtimes may find it at once.
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| drop(open(&home)));
        }
    });
    let info = other.get_info(&id).await.unwrap().unwrap();
    assert_eq!((info.status, info.pid), (BoxStatus::Stopped, None));
    assert_at_rest(&home.path.join("boxes").join(&id));
    other.remove(&id, false).await.unwrap();
    drop((other, idle));
    closed(&home).await;
    assert_clean(&home, &[&id], &[]);
}
