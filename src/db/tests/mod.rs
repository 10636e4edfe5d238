mod damage;
mod versions;

use super::*;
use crate::model::id::{BoxID, BoxIDMint};

fn new_box(id: BoxID, name: Option<&str>) -> NewBox {
    NewBox { id, name: name.map(str::to_owned), options: "{}".into(), owner_pid: 1, owner_start: Some(2) }
}

fn open() -> (tempfile::TempDir, Database) {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::open(&dir.path().join("boxlite.db")).unwrap();
    (dir, database)
}

#[test]
fn boxes_are_found_by_id_name_and_prefix_and_listed_newest_first() {
    let (_dir, database) = open();
    let ids = ["AAAA00000001", "AAAA00000002", "BBBB00000003"].map(|id| BoxID::parse(id).unwrap());
    for (id, name) in ids.iter().zip([Some("one"), None, Some("AAAA")]) {
        database.insert(&new_box(id.clone(), name)).unwrap();
    }
    let listed: Vec<BoxID> = database.list().unwrap().into_iter().map(|row| row.id).collect();
    assert_eq!(listed, [ids[2].clone(), ids[1].clone(), ids[0].clone()]);
    assert_eq!(database.find("one").unwrap().unwrap().id, ids[0]);
    assert_eq!(database.find("BB").unwrap().unwrap().id, ids[2]);
    assert_eq!(database.find("AAAA").unwrap().unwrap().id, ids[2], "a name goes before a prefix");
    let ambiguous = database.find("AAA").unwrap_err();
    assert!(matches!(&ambiguous, BoxliteError::InvalidArgument(text) if text.contains("AAAA00000002")));
    assert!(database.find("zzz").unwrap().is_none());
    assert!(database.find("").unwrap().is_none());
    assert!(database.find("%").unwrap().is_none());
}

#[test]
fn a_taken_name_is_refused() {
    let (_dir, database) = open();
    database.insert(&new_box(BoxIDMint::mint(), Some("web"))).unwrap();
    let error = database.insert(&new_box(BoxIDMint::mint(), Some("web"))).unwrap_err();
    assert!(matches!(&error, BoxliteError::AlreadyExists(_)) && error.subject() == Some("web"));
}

#[test]
fn a_new_home_may_be_opened_by_many_at_once() {
    for _ in 0..10 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("boxlite.db");
        std::thread::scope(|scope| {
            let opening: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let database = Database::open(&path)?;
                        database.insert(&new_box(BoxIDMint::mint(), None))?;
                        Ok::<_, BoxliteError>(database)
                    })
                })
                .collect();
            let open: Vec<Database> = opening.into_iter().map(|one| one.join().unwrap().unwrap()).collect();
            assert_eq!(open[0].list().unwrap().len(), 8);
        });
    }
}
