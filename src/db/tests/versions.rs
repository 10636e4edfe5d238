//! Databases of newer and older versions.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::*;
use migration::Migration;

/// What this build has, and one step more.
fn next() -> Vec<Migration> {
    let step = Migration { version: 2, sql: "ALTER TABLE boxes ADD COLUMN note TEXT" };
    MIGRATIONS.iter().map(|old| Migration { version: old.version, sql: old.sql }).chain([step]).collect()
}

/// Every file of `dir` with its content and the time of its last change.
fn state_of(dir: &Path) -> BTreeMap<OsString, (Vec<u8>, SystemTime)> {
    let entry = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.unwrap();
        let modified = entry.metadata().unwrap().modified().unwrap();
        (entry.file_name(), (std::fs::read(entry.path()).unwrap(), modified))
    };
    std::fs::read_dir(dir).unwrap().map(entry).collect()
}

#[test]
fn a_newer_database_is_refused_untouched() {
    for in_log in [false, true] {
        let (dir, database) = open();
        database.close().unwrap();
        let path = dir.path().join("boxlite.db");
        let newer = Connection::open(&path).unwrap();
        let journal = if in_log { "WAL" } else { "DELETE" };
        newer.pragma_update(None, "journal_mode", journal).unwrap();
        newer.execute("INSERT INTO schema_migrations VALUES (999, 0, '9.9.9')", []).unwrap();
        keep_log(&newer).unwrap();
        drop(newer);
        let before = state_of(dir.path());
        assert_eq!(before.keys().any(|name| name == "boxlite.db-wal"), in_log);
        let error = Database::open(&path).map(|_| ()).unwrap_err();
        assert!(matches!(&error, BoxliteError::Config(text) if text.contains("9.9.9")), "{error}");
        assert!(error.hint().contains("nothing was changed") && error.subject().is_some());
        let mut after = state_of(dir.path());
        if in_log {
            // The log's index holds readers' locks; it is not the database's content.
            after.remove(&OsString::from("boxlite.db-shm"));
        }
        for (name, (content, modified)) in after {
            assert_eq!(before.get(&name), Some(&(content, modified)), "{name:?}");
        }
    }
}

#[test]
fn an_older_database_is_migrated_once_and_a_copy_is_kept() {
    let (dir, database) = open();
    let path = dir.path().join("boxlite.db");
    database.insert(&new_box(BoxIDMint::mint(), Some("old"))).unwrap();
    // Not closed: its row is still in the log.
    let migrations = next();
    std::thread::scope(|scope| {
        let opening: Vec<_> =
            (0..6).map(|_| scope.spawn(|| Database::open_with(&path, &migrations).map(|_| ()))).collect();
        for one in opening {
            one.join().unwrap().unwrap();
        }
    });
    drop(database);
    let migrated = Connection::open(&path).unwrap();
    let note: Option<String> =
        migrated.query_row("SELECT note FROM boxes WHERE name = 'old'", [], |row| row.get(0)).unwrap();
    assert_eq!(note, None);
    let steps: i64 =
        migrated.query_row("SELECT count(*) FROM schema_migrations", [], |row| row.get(0)).unwrap();
    assert_eq!(steps, 2);
    drop(migrated);
    let mut names: Vec<OsString> = state_of(dir.path()).into_keys().collect();
    names.sort();
    assert_eq!(names, ["boxlite.db", "boxlite.db.v1"]);
    // The copy is the database as it was, for the version that wrote it.
    let older = Database::open(&dir.path().join("boxlite.db.v1")).unwrap();
    assert_eq!(older.list().unwrap()[0].name.as_deref(), Some("old"));
    let refused = Database::open(&path).map(|_| ()).unwrap_err();
    assert!(matches!(refused, BoxliteError::Config(_)), "{refused}");
}

#[test]
fn a_migration_that_fails_changes_nothing() {
    let (dir, database) = open();
    let path = dir.path().join("boxlite.db");
    database.insert(&new_box(BoxIDMint::mint(), Some("old"))).unwrap();
    database.close().unwrap();
    let mut migrations = next();
    migrations[1].sql = "ALTER TABLE boxes ADD COLUMN note TEXT; SELECT * FROM missing;";
    let error = Database::open_with(&path, &migrations).map(|_| ()).unwrap_err();
    assert!(matches!(error, BoxliteError::Database(_)), "{error}");
    assert_eq!(Database::open(&path).unwrap().list().unwrap().len(), 1);
}
