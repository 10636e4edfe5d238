//! Databases that are no longer what they were, before and while they are open.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

use super::*;

const TEXT: &str = "this is no database, it is a text that somebody put here\n";

/// A database that takes up some pages.
fn filled() -> (tempfile::TempDir, Database, PathBuf) {
    let (dir, database) = open();
    for _ in 0..100 {
        let options = format!("{{\"filler\":\"{}\"}}", "x".repeat(500));
        let new = NewBox { options, ..new_box(BoxIDMint::mint(), None) };
        database.insert(&new).unwrap();
    }
    let path = dir.path().join("boxlite.db");
    (dir, database, path)
}

fn refused(path: &Path) -> BoxliteError {
    let before = fs::read(path).unwrap();
    let error = Database::open(path).map(|_| ()).unwrap_err();
    assert_is_about(&error, path);
    assert_eq!(fs::read(path).unwrap(), before, "the damaged file was changed");
    error
}

fn assert_is_about(error: &BoxliteError, path: &Path) {
    assert!(matches!(error, BoxliteError::Database(_)), "{error:?}");
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    assert!(error.hint().contains("repair"), "{}", error.hint());
}

#[test]
fn text_in_place_of_the_database_is_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("boxlite.db");
    fs::write(&path, TEXT.repeat(40)).unwrap();
    assert!(refused(&path).hint().contains("disks are not affected"));
}

#[test]
fn a_directory_in_place_of_the_database_is_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("boxlite.db");
    fs::create_dir(&path).unwrap();
    assert_is_about(&Database::open(&path).map(|_| ()).unwrap_err(), &path);
}

#[test]
fn any_torn_page_is_found_at_the_opening() {
    let (_dir, database, path) = filled();
    database.close().unwrap();
    let whole = fs::read(&path).unwrap();
    let pages = whole.len() / 4096;
    assert!(pages > 10);
    for page in [0, 1, pages / 2, pages - 1] {
        let mut torn = whole.clone();
        torn[page * 4096..][..2048].fill(0xa5);
        fs::write(&path, &torn).unwrap();
        refused(&path);
    }
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    refused(&path);
    fs::write(&path, &whole).unwrap();
    assert_eq!(Database::open(&path).unwrap().list().unwrap().len(), 100);
}

#[test]
fn what_befalls_the_file_of_an_open_database_is_noticed_at_the_next_call() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 6] = [
        ("deleted", |path| fs::remove_file(path).unwrap()),
        ("replaced", |path| {
            fs::remove_file(path).unwrap();
            fs::write(path, TEXT).unwrap();
        }),
        ("cut short", |path| OpenOptions::new().write(true).open(path).unwrap().set_len(0).unwrap()),
        ("cut short", |path| OpenOptions::new().write(true).open(path).unwrap().set_len(8192).unwrap()),
        ("overwritten", |path| fs::write(path, TEXT.repeat(4000)).unwrap()),
        ("overwritten", |path| fs::write(path, TEXT).unwrap()),
    ];
    for (what, damage) in damages {
        let (dir, database, path) = filled();
        // Folds the log in, so that the file is as long as it gets.
        Connection::open(&path).unwrap().query_row("PRAGMA wal_checkpoint", [], |_| Ok(())).unwrap();
        assert_eq!(database.list().unwrap().len(), 100);
        damage(&path);
        let content = fs::read(&path).ok();
        let log = fs::read(dir.path().join("boxlite.db-wal")).unwrap();
        for error in [
            database.list().unwrap_err(),
            database.insert(&new_box(BoxIDMint::mint(), None)).unwrap_err(),
            database.get(&BoxIDMint::mint()).unwrap_err(),
        ] {
            assert_is_about(&error, &path);
            assert!(error.detail().contains(what), "{what}: {error}");
        }
        drop(database);
        assert_eq!(fs::read(&path).ok(), content, "{what}: the file was written to");
        assert_eq!(fs::read(dir.path().join("boxlite.db-wal")).unwrap(), log, "{what}: the log was lost");
    }
}

#[test]
fn a_database_that_somebody_vacuums_stays_usable() {
    let (_dir, database, path) = filled();
    for row in database.list().unwrap() {
        database.forget_unused(&row.id).unwrap();
    }
    let other = Connection::open(&path).unwrap();
    other.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE);").unwrap();
    assert!(database.list().unwrap().is_empty());
    database.insert(&new_box(BoxIDMint::mint(), None)).unwrap();
}

#[test]
fn a_closed_database_needs_no_log() {
    let (dir, database, path) = filled();
    database.sync().unwrap();
    drop(database.clone());
    assert!(beside(&path, "-wal").exists(), "a clone closed it");
    drop(database);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "files are left beside the database");
    let file = OpenOptions::new().read(true).open(&path).unwrap();
    let mut magic = [0; 15];
    file.read_exact_at(&mut magic, 0).unwrap();
    assert_eq!(&magic, b"SQLite format 3");
}

#[test]
fn what_the_system_lacks_is_no_damage() {
    let told = |code: i32, errno: Option<i32>| {
        let error = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
        describe(Path::new("/h/boxlite.db"), &error, errno)
    };
    let io = rusqlite::ffi::SQLITE_IOERR_WRITE;
    for errno in [libc::EMFILE, libc::ENFILE, libc::ENOSPC, libc::EDQUOT, libc::ENOMEM] {
        let error = told(io, Some(errno));
        assert!(matches!(error, BoxliteError::ResourceExhausted(_)), "{errno}: {error}");
        assert_eq!(error.os_errno(), Some(errno));
    }
    assert!(matches!(told(rusqlite::ffi::SQLITE_IOERR_SHMSIZE, None), BoxliteError::ResourceExhausted(_)));
    assert!(matches!(told(io, Some(libc::EIO)), BoxliteError::Database(_)));
    assert!(matches!(told(io, None), BoxliteError::Database(_)));
}
