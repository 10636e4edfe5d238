use std::time::Duration;

use super::*;
use crate::db::NewBox;
use crate::lock::Locks;
use crate::model::id::BoxIDMint;

struct Place {
    _dir: tempfile::TempDir,
    locks: Locks,
    database: Database,
    id: BoxID,
}

impl Place {
    /// A home's database with one new box.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(&dir.path().join("boxlite.db")).unwrap();
        let locks = Locks::open(dir.path().join("locks"), Duration::from_secs(1)).unwrap();
        let id = BoxIDMint::mint();
        let new =
            NewBox { id: id.clone(), name: None, options: "{}".into(), owner_pid: 1, owner_start: None };
        database.insert(&new).unwrap();
        Self { _dir: dir, locks, database, id }
    }

    fn hold(&self) -> Option<HeldBox> {
        let lock = self.locks.try_acquire(self.id.as_str(), "test").unwrap().expect("nobody else has it");
        self.database.hold(&self.id, lock).unwrap()
    }

    fn resting(&self) -> Held<AtRest> {
        match self.hold() {
            Some(HeldBox::AtRest(resting)) => resting,
            other => panic!("not at rest: {other:?}"),
        }
    }

    fn row(&self) -> BoxRow {
        self.database.get(&self.id).unwrap().unwrap()
    }
}

fn run() -> Run {
    let (image_json, engine) = ("{}".into(), "test");
    Run { pid: 17, pid_start: Some(18), engine, image_json, owner_pid: 1, owner_start: None }
}

#[test]
fn a_life_is_recorded_step_by_step() {
    let place = Place::new();
    let database = &place.database;
    let starting = place.resting().begin_start(database).unwrap();
    assert_eq!(place.row().state, BoxState::Starting);
    let running = starting.settle_running(database, &run()).unwrap();
    let row = place.row();
    assert_eq!((row.state, row.pid, row.started_ns.is_some()), (BoxState::Running, Some(17), true));
    let stopping = running.begin_stop(database);
    assert_eq!((place.row().state, place.row().pid), (BoxState::Stopping, Some(17)));
    let resting = stopping.come_to_rest(database, &Rest::Failed { reason: "why".into() }).unwrap();
    let row = place.row();
    assert_eq!((row.state, row.failure.as_deref(), row.pid), (BoxState::Failed, Some("why"), None));
    let removing = resting.begin_remove(database);
    assert_eq!(place.row().state, BoxState::Removing);
    removing.forget(database).unwrap();
    assert!(place.hold().is_none());
}

#[test]
fn the_lock_is_held_as_long_as_the_box_is() {
    let place = Place::new();
    let resting = place.resting();
    let starting = resting.begin_start(&place.database).unwrap();
    assert!(place.locks.try_acquire(place.id.as_str(), "other").unwrap().is_none());
    drop(starting);
    assert!(matches!(place.hold(), Some(HeldBox::Starting(_))), "what was left unfinished is found so");
}

#[test]
fn a_lock_of_another_box_holds_nothing() {
    let place = Place::new();
    let lock = place.locks.try_acquire("AAAA00000001", "test").unwrap().unwrap();
    assert!(matches!(place.database.hold(&place.id, lock), Err(BoxliteError::Internal(_))));
}

#[test]
fn a_box_changed_behind_its_holder_is_refused_naming_state_and_operation() {
    let place = Place::new();
    let resting = place.resting();
    place.database.with(|connection| connection.execute("UPDATE boxes SET state = 'running'", [])).unwrap();
    let error = resting.begin_start(&place.database).unwrap_err();
    assert!(
        matches!(&error, BoxliteError::InvalidState(text) if text.contains("start") && text.contains("running"))
    );

    let place = Place::new();
    let starting = place.resting().begin_start(&place.database).unwrap();
    place.database.with(|connection| connection.execute("DELETE FROM boxes", [])).unwrap();
    let (starting, error) = starting.settle_running(&place.database, &run()).unwrap_err();
    assert!(matches!(&error, BoxliteError::NotFound(_)), "{error}");
    assert!(matches!(starting.come_to_rest(&place.database, &Rest::Stopped), Err(BoxliteError::NotFound(_))));
}

#[test]
fn only_an_unused_box_is_forgotten_without_its_lock() {
    let place = Place::new();
    let starting = place.resting().begin_start(&place.database).unwrap();
    place.database.forget_unused(&place.id).unwrap();
    let resting = starting.come_to_rest(&place.database, &Rest::Configured).unwrap();
    drop(resting);
    place.database.forget_unused(&place.id).unwrap();
    assert!(place.hold().is_none());
}
