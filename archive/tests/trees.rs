//! Trees through an archive and back, and archives that mean harm.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use boxlite_archive::{
    CopyError, Header, PackOptions, Place, RemoteKind, Stream, TarWriter, UnpackOptions, Unpacked, pack,
    unpack,
};

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

fn packed(source: &Path, options: PackOptions) -> Result<Vec<u8>, CopyError> {
    let mut archive = Vec::new();
    pack(bytes(source), b".", &mut archive, options)?;
    Ok(archive)
}

fn unpacked(archive: &[u8], destination: &Path, options: UnpackOptions) -> Result<Unpacked, CopyError> {
    let place = Place::Named { destination: bytes(destination), source_name: b"tree", include_parent: true };
    unpack(Stream::new(archive), place, options)
}

/// An archive of entries (name, type, link) with five bytes in each file.
fn archive(entries: &[(&str, u8, &str)]) -> Vec<u8> {
    let mut out = TarWriter::new(Vec::new());
    for (path, flag, link) in entries {
        let size = if *flag == b'0' { 5 } else { 0 };
        let header = Header {
            path: path.as_bytes(),
            flag: *flag,
            link: link.as_bytes(),
            mode: 0o755,
            ..Header::default()
        };
        out.header(&header, size).unwrap();
        out.data(&b"harm!"[..size as usize]).unwrap();
        out.pad(size).unwrap();
    }
    out.finish().unwrap()
}

fn files_below(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries.map(|e| if e.file_type().unwrap().is_dir() { files_below(&e.path()) } else { 1 }).sum()
}

#[test]
fn a_tree_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    let odd = OsStr::from_bytes(b"sp ace\n\xff");
    let long = "n".repeat(200);
    fs::create_dir_all(tree.join(odd).join(&long)).unwrap();
    fs::write(tree.join(odd).join("file"), b"content").unwrap();
    fs::set_permissions(tree.join(odd).join("file"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::hard_link(tree.join(odd).join("file"), tree.join("second")).unwrap();
    symlink("../nowhere", tree.join(&long)).unwrap();
    let sparse = fs::File::create(tree.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_at(&sparse, b"middle", 5 << 20).unwrap();
    sparse.set_len(10 << 20).unwrap();
    let past = fs::File::open(tree.join("sparse")).unwrap();
    past.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_nanos(1_000_000_001)).unwrap();
    fs::set_permissions(tree.join(odd), fs::Permissions::from_mode(0o511)).unwrap();

    let archive = packed(&tree, PackOptions::default()).unwrap();
    assert!(archive.len() < 1 << 20, "holes are not packed: {}", archive.len());
    let to = dir.path().join("new/parent/copy");
    unpacked(&archive, &to, UnpackOptions::default()).unwrap();

    let file = to.join(odd).join("file");
    assert_eq!(fs::read(&file).unwrap(), b"content");
    let (one, other) = (fs::metadata(&file).unwrap(), fs::metadata(to.join("second")).unwrap());
    assert_eq!((one.mode() & 0o7777, one.ino()), (0o640, other.ino()));
    assert_eq!(one.mtime_nsec(), fs::metadata(tree.join("second")).unwrap().mtime_nsec());
    assert_eq!(fs::read_link(to.join(&long)).unwrap(), Path::new("../nowhere"));
    assert_eq!(fs::metadata(to.join(odd)).unwrap().mode() & 0o777, 0o511);
    assert!(to.join(odd).join(&long).is_dir());
    let copy = fs::metadata(to.join("sparse")).unwrap();
    assert_eq!((copy.len(), copy.mtime(), copy.mtime_nsec()), (10 << 20, 1, 1));
    assert!(copy.blocks() * 512 < 1 << 20, "holes are kept: {} blocks", copy.blocks());
    let mut there = vec![0; 6];
    std::os::unix::fs::FileExt::read_exact_at(
        &fs::File::open(to.join("sparse")).unwrap(),
        &mut there,
        5 << 20,
    )
    .unwrap();
    assert_eq!(there, b"middle");

    // Into what exists now: below it, under its own name; and again over itself.
    for _ in 0..2 {
        unpacked(&archive, &to, UnpackOptions::default()).unwrap();
        assert!(to.join("tree").join("second").is_file());
    }
    let place = Place::Named { destination: bytes(&to), source_name: b"tree", include_parent: false };
    unpack(Stream::new(archive.as_slice()), place, UnpackOptions::default()).unwrap();
    let no_overwrite = UnpackOptions { no_overwrite: true, ..UnpackOptions::default() };
    let dry = UnpackOptions { dry_run: true, ..no_overwrite };
    let names = packed(&tree, PackOptions { names_only: true, ..PackOptions::default() }).unwrap();
    let before = files_below(dir.path());
    let error = unpacked(&names, &to, dry).unwrap_err();
    assert_eq!(error.kind(), RemoteKind::Exists, "{error}");
    unpacked(&names, &dir.path().join("not/there"), dry).unwrap();
    assert!(!dir.path().join("not").exists());
    assert_eq!(files_below(dir.path()), before);
    assert_eq!(unpacked(&archive, &to, no_overwrite).unwrap_err().kind(), RemoteKind::Exists);
}

#[test]
fn nothing_leads_out_of_the_target() {
    for (entries, why) in [
        (&[(".", b'5', ""), ("./../out", b'0', "")][..], "`..`"),
        (&[(".", b'5', ""), ("./l", b'2', "/tmp"), ("./l/boxlite-out", b'0', "")], "a link just made"),
        (&[(".", b'5', ""), ("./l", b'2', ".."), ("./l", b'5', "")], "a link as a directory"),
        (&[(".", b'5', ""), ("./l", b'2', ".."), ("./h", b'1', "./l/out")], "a hard link through a link"),
        (&[(".", b'5', ""), ("./h", b'1', "../out")], "a hard link by `..`"),
        (&[(".", b'2', "/tmp"), ("./boxlite-out", b'0', "")], "the root as a link"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("out"), "mine").unwrap();
        let to = dir.path().join("to");
        unpacked(&archive(entries), &to, UnpackOptions::default()).expect_err(why);
        assert_eq!(fs::read(dir.path().join("out")).unwrap(), b"mine", "{why}");
        assert!(!Path::new("/tmp/boxlite-out").exists(), "{why}");
    }
    // An absolute name is a name below the target; a link is replaced, not written through.
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("mine"), "mine").unwrap();
    fs::create_dir(dir.path().join("to")).unwrap();
    symlink("../mine", dir.path().join("to/link")).unwrap();
    let harm = archive(&[("/etc/passwd", b'0', ""), ("link", b'0', ""), ("null", b'3', "")]);
    let to = dir.path().join("to");
    unpack(Stream::new(harm.as_slice()), Place::Directory(bytes(&to)), UnpackOptions::default()).unwrap();
    assert_eq!(fs::read(dir.path().join("mine")).unwrap(), b"mine");
    assert_eq!(fs::read(to.join("etc/passwd")).unwrap(), b"harm!");
    assert!(!to.join("null").exists(), "no device is made");
    assert!(fs::symlink_metadata(to.join("link")).unwrap().is_file());
}

#[test]
fn set_id_bits_are_dropped_unless_they_are_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let mut out = TarWriter::new(Vec::new());
    out.header(&Header { path: b".", flag: b'0', mode: 0o6755, ..Header::default() }, 0).unwrap();
    let archive = out.finish().unwrap();
    for (keep_set_id, mode) in [(false, 0o755), (true, 0o6755)] {
        let to = dir.path().join(mode.to_string());
        unpacked(&archive, &to, UnpackOptions { keep_set_id, ..UnpackOptions::default() }).unwrap();
        assert_eq!(fs::metadata(to).unwrap().mode() & 0o7777, mode);
    }
}

#[test]
fn what_is_cut_off_has_no_name() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("whole"), vec![7; 100_000]).unwrap();
    let archive = packed(&dir.path().join("whole"), PackOptions::default()).unwrap();
    for length in [archive.len() - 1024, 50_000, 512, 0] {
        let to = dir.path().join(format!("to-{length}"));
        let error = unpacked(&archive[..length], &to, UnpackOptions::default()).unwrap_err();
        assert!(error.is_cut_off(), "{error}");
        // Without the end mark alone, the file itself is complete.
        assert_eq!(to.exists(), length == archive.len() - 1024, "{length}");
    }
    assert_eq!(files_below(dir.path()), 2, "no draft is left");
}

#[test]
fn what_can_not_be_copied_is_named_and_nothing_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let fifo = std::ffi::CString::new(bytes(&tree.join("fifo"))).unwrap();
    // SAFETY: a C string.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
    let _socket = std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap();
    let archive = packed(&tree, PackOptions::default()).unwrap();
    unpacked(&archive, &dir.path().join("to"), UnpackOptions::default()).unwrap();
    let kind = fs::metadata(dir.path().join("to/fifo")).unwrap().mode() & libc::S_IFMT;
    assert_eq!(kind, libc::S_IFIFO);
    assert!(!dir.path().join("to/socket").exists());

    let refused = packed(Path::new("/dev/null"), PackOptions::default()).unwrap_err();
    assert_eq!(refused.subject(), Some(&b"/dev/null"[..]));
    let missing = packed(Path::new("/no/such"), PackOptions::default()).unwrap_err();
    assert_eq!(missing.errno(), Some(libc::ENOENT));
    let not_recursive = PackOptions { no_directories: true, ..PackOptions::default() };
    assert_eq!(packed(&tree, not_recursive).unwrap_err().kind(), RemoteKind::Refused);
    symlink(".", tree.join("loop")).unwrap();
    let follow = PackOptions { follow_symlinks: true, ..PackOptions::default() };
    assert_eq!(packed(&tree, follow).unwrap_err().errno(), Some(libc::ELOOP));
}

#[test]
fn a_file_that_grows_is_copied_as_it_was() {
    struct Growing<'a>(&'a Path, Vec<u8>);
    impl std::io::Write for Growing<'_> {
        fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
            let mut file = fs::File::options().append(true).open(self.0)?;
            std::io::Write::write_all(&mut file, b"more")?;
            self.1.extend_from_slice(buffer);
            Ok(buffer.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("log");
    fs::write(&source, vec![1; 1_000_000]).unwrap();
    let mut out = Growing(&source, Vec::new());
    pack(bytes(&source), b".", &mut out, PackOptions::default()).unwrap();
    unpacked(&out.1, &dir.path().join("to"), UnpackOptions::default()).unwrap();
    assert_eq!(fs::read(dir.path().join("to")).unwrap(), vec![1; 1_000_000]);
}

#[test]
fn other_programs_read_the_archive() {
    let dir = tempfile::tempdir().unwrap();
    let name = "ä".repeat(120);
    fs::write(dir.path().join(&name), "there").unwrap();
    let archive = packed(dir.path(), PackOptions::default()).unwrap();
    let mut child = std::process::Command::new("tar")
        .args(["-xOf", "-", &format!("./{name}")])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), &archive).unwrap();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(said, "there");
}
