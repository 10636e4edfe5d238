//! Disks made of a directory of the host.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use boxlite::BoxliteError;
use boxlite::disk::layers::{BuildLimits, BuildReport, build_directory_disk};
use boxlite_test_utils::erofs_reader::{self, Entry, Kind};
use boxlite_test_utils::registry::run;

use super::support::{fsck, sha256};

fn try_build(dir: &Path, disk: &Path) -> Result<BuildReport, BoxliteError> {
    build_directory_disk(dir, disk, &BuildLimits::default(), &mut |_| ControlFlow::Continue(()))
}

fn build(dir: &Path, disk: &Path) -> Vec<Entry> {
    try_build(dir, disk).expect("the disk is built");
    erofs_reader::open(disk).and_then(|image| image.entries()).expect("the disk can be read back")
}

#[test]
fn a_directory_comes_back_as_it_is() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let root = temp.path().join("root");
    fs::create_dir_all(root.join("usr/bin")).expect("creating");
    fs::write(root.join("usr/bin/tool"), "#!").expect("writing");
    fs::set_permissions(root.join("usr/bin/tool"), PermissionsExt::from_mode(0o4711)).expect("changing");
    fs::hard_link(root.join("usr/bin/tool"), root.join("again")).expect("linking");
    symlink("/etc/passwd", root.join("link")).expect("linking");
    symlink("usr", root.join("dirlink")).expect("linking");
    nix::unistd::mkfifo(&root.join("pipe"), nix::sys::stat::Mode::S_IRUSR).expect("a FIFO");
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).expect("a socket");
    let sparse = fs::File::create(root.join("sparse")).expect("creating");
    sparse.write_all_at(&[7; 100], 6 << 30).expect("writing");
    sparse.set_len(7 << 30).expect("extending");
    let content = vec![5; 300_000];
    fs::write(root.join("large"), &content).expect("writing");

    let disk = temp.path().join("disk");
    let entries = build(&root, &disk);
    let get = |path: &str| entries.iter().find(|entry| entry.path == path.as_bytes()).expect("an entry");
    let paths: Vec<_> =
        entries.iter().map(|entry| String::from_utf8_lossy(&entry.path).into_owned()).collect();
    let all = [
        "",
        "again",
        "dirlink",
        "large",
        "link",
        "pipe",
        "socket",
        "sparse",
        "usr",
        "usr/bin",
        "usr/bin/tool",
    ];
    assert_eq!(paths, all);
    assert_eq!((get("again").inode, get("again").links), (get("usr/bin/tool").inode, 2));
    assert_eq!((get("again").mode, get("again").uid), (0o4711, 0), "the caller's files are root's");
    assert_eq!(get("link").target, b"/etc/passwd");
    assert_eq!([get("pipe").kind, get("socket").kind], [Kind::Fifo, Kind::Socket]);
    assert_eq!((get("sparse").size, get("sparse").stored), (7 << 30, 524_288));
    assert_eq!(get("large").content, Some(sha256(&content)));

    let first = fs::metadata(&disk).expect("metadata").len();
    assert_eq!(first, boxlite::disk::layers::IMAGE_DISK_BYTES);
    let uuid = erofs_reader::open(&disk).expect("opening").uuid();
    build(&root, &disk);
    assert_eq!(erofs_reader::open(&disk).expect("opening").uuid(), uuid, "the same directory, the same disk");
    fs::remove_file(root.join("sparse")).expect("removing");
    build(&root, &disk);
    fsck(&disk);
}

#[test]
fn what_cannot_be_read_is_named_and_nothing_is_left() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let disk = temp.path().join("disk");
    for missing in [temp.path().join("missing"), Path::new("/dev/null").to_owned()] {
        let error = try_build(&missing, &disk).expect_err("no directory");
        assert!(matches!(error, BoxliteError::Storage(_)), "{error:?}");
        assert!(error.to_string().contains(&missing.display().to_string()), "{error}");
        assert!(!disk.exists());
    }
    if nix::unistd::geteuid().is_root() {
        // Root reads everything: the rest is for a user.
        return again_as_nobody("directory::what_cannot_be_read_is_named_and_nothing_is_left");
    }
    let root = temp.path().join("root");
    fs::create_dir(&root).expect("creating");
    fs::write(root.join("secret"), "").expect("writing");
    fs::set_permissions(root.join("secret"), PermissionsExt::from_mode(0o000)).expect("changing");
    let error = try_build(&root, &disk).expect_err("unreadable");
    assert!(error.to_string().contains("`secret`"), "{error}");
    assert_eq!(error.os_errno(), Some(13));
    assert!(!disk.exists());
}

#[test]
fn a_disk_that_cannot_be_written_is_a_storage_error() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let error = try_build(temp.path(), &temp.path().join("no/such/disk")).expect_err("no place");
    assert!(matches!(error, BoxliteError::Storage(_)), "{error:?}");
    let error = try_build(temp.path(), Path::new("/dev/null")).expect_err("no file");
    assert!(error.to_string().contains("not a regular file"), "{error}");
    assert!(Path::new("/dev/null").exists());
}

/// Runs one test of this program as a user without privileges, from a place that such a user can reach.
fn again_as_nobody(test: &str) {
    let temp = tempfile::tempdir().expect("a temporary directory");
    fs::set_permissions(temp.path(), PermissionsExt::from_mode(0o777)).expect("changing");
    let program = temp.path().join("tests");
    // Not written by this process: a child of another test's would have the program open, which can't be executed then.
    let this = std::env::current_exe().expect("this program");
    run(Command::new("cp").arg("--preserve=mode").arg(this).arg(&program)).expect("copying");
    let mut command = Command::new(&program);
    command.args(["--exact", test]).env("TMPDIR", temp.path()).current_dir("/").uid(65_534).gid(65_534);
    let output = command.output().expect("running this program again");
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && words.contains("1 passed"), "{words}");
}
