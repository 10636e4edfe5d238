//! Copies into a box and out of it: what is kept, where it goes, what is refused, and what a box can't do by it.
//!
//! One box for all.

#[path = "support/small_box.rs"]
mod small_box;
#[path = "support/vm.rs"]
mod vm;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use boxlite::images::ProgressSink;
use boxlite::{BoxCommand, BoxOptions, BoxliteError, CopyOptions, LiteBox};
use boxlite_test_utils::home::PerTestBoxHome;

struct Bench {
    sandbox: LiteBox,
    dir: tempfile::TempDir,
}

impl Bench {
    /// What a script in the box says; it must not fail.
    async fn say(&self, script: &str) -> String {
        let command = BoxCommand::new("sh").args(["-c", script]).user("root");
        let (code, stdout, stderr) = vm::run(&self.sandbox, command).await;
        let stderr = String::from_utf8_lossy(&stderr);
        assert_eq!((code, &*stderr), (0, ""), "{script}");
        String::from_utf8_lossy(&stdout).trim_end().to_owned()
    }

    fn host(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    async fn copy_in(&self, from: &Path, to: &str, options: CopyOptions) -> Result<(), BoxliteError> {
        self.sandbox.copy_into(from, to, options).await
    }

    async fn copy_out(&self, from: &str, to: &Path, options: CopyOptions) -> Result<(), BoxliteError> {
        self.sandbox.copy_out(from, to, options).await
    }
}

#[tokio::test]
async fn copies() {
    let home = PerTestBoxHome::new();
    let runtime = vm::open(&home, Vec::new());
    let options = BoxOptions { user: Some("1234:4321".into()), ..small_box::small_box() };
    let sandbox = runtime.create(options, None).await.expect("a box");
    let bench = Bench { sandbox, dir: tempfile::tempdir().expect("a directory") };

    // Starts the box.
    a_file_goes_where_it_is_sent(&bench).await;
    a_tree_keeps_what_it_is(&bench).await;
    what_is_in_the_way_is_named_before_anything_is_written(&bench).await;
    a_box_can_not_reach_out(&bench).await;
    bytes_go_without_a_file(&bench).await;
    archives_go_by_descriptor(&bench).await;
    who_leaves_leaves_nothing_half(&bench).await;
    assert!(bench.sandbox.executions().await.expect("a list").iter().all(|one| one.argv[0] == "sh"));

    let stopped = bench.sandbox.clone();
    bench.sandbox.stop().await.expect("a stop");
    let late = stopped.copy_out("/etc/passwd", bench.host("late"), CopyOptions::default()).await;
    assert!(matches!(late, Err(BoxliteError::Stopped(_))), "{late:?}");
    runtime.shutdown(Some(0)).await.expect("the end");
}

async fn a_file_goes_where_it_is_sent(bench: &Bench) {
    let file = bench.host("file.txt");
    fs::write(&file, "hello").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o750)).unwrap();
    let plain = CopyOptions::default;
    bench.copy_in(&file, "/new/dirs/exact", plain()).await.unwrap();
    bench.copy_in(&file, "/new/ended/", plain()).await.unwrap();
    bench.copy_in(&file, "/new/dirs", plain()).await.unwrap();
    let seen = bench
        .say("cd /new; cat dirs/exact ended/file.txt dirs/file.txt; stat -c '%a %u %g' dirs dirs/exact")
        .await;
    assert_eq!(seen, "hellohellohello755 1234 4321\n750 1234 4321");
    // What is mounted over a file, such as /etc/hosts, is reached like everything else.
    bench.copy_in(&file, "/etc/hosts", plain()).await.unwrap();
    bench.copy_in(&file, "/dev/shm/file", plain()).await.unwrap();
    assert_eq!(bench.say("cat /etc/hosts /dev/shm/file").await, "hellohello");
    bench.copy_out("/new/dirs/exact", &bench.host("back/to/exact"), plain()).await.unwrap();
    bench.copy_out("/new/dirs/exact", &bench.host("back"), plain()).await.unwrap();
    assert_eq!(fs::read(bench.host("back/to/exact")).unwrap(), b"hello");
    assert_eq!(fs::metadata(bench.host("back/exact")).unwrap().mode() & 0o777, 0o750);

    let missing = bench.copy_out("/no/such", &bench.host("x"), plain()).await.unwrap_err();
    assert!(
        matches!(&missing, BoxliteError::NotFound(_)) && missing.subject() == Some("/no/such"),
        "{missing}"
    );
    let missing = bench.copy_in(Path::new("/no/such"), "/x", plain()).await.unwrap_err();
    assert!(
        matches!(&missing, BoxliteError::NotFound(_)) && missing.subject() == Some("/no/such"),
        "{missing}"
    );
    let relative = bench.copy_in(&file, "relative", plain()).await.unwrap_err();
    assert!(matches!(relative, BoxliteError::InvalidArgument(_)), "{relative}");
    let through = bench.copy_in(&file, "/new/dirs/exact/below", plain()).await.unwrap_err();
    assert!(matches!(through, BoxliteError::InvalidArgument(_)), "{through}");
}

async fn a_tree_keeps_what_it_is(bench: &Bench) {
    let tree = bench.host("tree");
    let odd = OsStr::from_bytes(b"odd \n\xff");
    fs::create_dir_all(tree.join(odd)).unwrap();
    fs::write(tree.join(odd).join("one"), "1").unwrap();
    fs::hard_link(tree.join(odd).join("one"), tree.join("two")).unwrap();
    symlink("two", tree.join("link")).unwrap();
    let sparse = fs::File::create(tree.join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    let plain = CopyOptions::default;
    bench.copy_in(&tree, "/t/new", plain()).await.unwrap();
    bench.copy_in(&tree, "/t/new", plain()).await.unwrap();
    bench.copy_in(&tree, "/t/content", plain().include_parent(false)).await.unwrap();
    bench.copy_in(&tree, "/t/followed", plain().follow_symlinks(true)).await.unwrap();
    let seen = bench
        .say(
            "cd /t; readlink new/link; cat new/tree/link content/two; [ -L followed/link ] || echo -n file; \
              stat -c ' %h %s' new/two new/sparse; [ $(du -k new/sparse | cut -f1) -lt 1024 ] && echo holes",
        )
        .await;
    assert_eq!(seen, "two\n11file 2 1\n 1 67108864\nholes");
    bench.copy_out("/t/new", &bench.host("tree-back"), plain()).await.unwrap();
    let back = bench.host("tree-back");
    assert_eq!(fs::read(back.join(odd).join("one")).unwrap(), b"1");
    let (one, two) =
        (fs::metadata(back.join(odd).join("one")).unwrap(), fs::metadata(back.join("two")).unwrap());
    assert_eq!(
        (one.ino(), one.mtime_nsec()),
        (two.ino(), fs::metadata(tree.join("two")).unwrap().mtime_nsec())
    );
    assert!(fs::metadata(back.join("sparse")).unwrap().blocks() < 2048);
    let refused = bench.copy_in(&tree, "/t/x", plain().non_recursive()).await.unwrap_err();
    assert!(matches!(refused, BoxliteError::InvalidArgument(_)), "{refused}");
    assert_eq!(bench.say("ls /t").await, "content\nfollowed\nnew");
}

async fn what_is_in_the_way_is_named_before_anything_is_written(bench: &Bench) {
    let tree = bench.host("way");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("a"), "new").unwrap();
    fs::write(tree.join("z"), "new").unwrap();
    bench.say("mkdir -p /way; echo old > /way/z").await;
    let careful = || CopyOptions::default().include_parent(false).no_overwrite();
    let error = bench.copy_in(&tree, "/way", careful()).await.unwrap_err();
    assert!(matches!(&error, BoxliteError::AlreadyExists(_)) && error.subject() == Some("/way/z"), "{error}");
    assert_eq!(bench.say("ls /way; cat /way/z").await, "z\nold");
    let error = bench.copy_out("/way", &tree, careful()).await.unwrap_err();
    assert!(matches!(&error, BoxliteError::AlreadyExists(_)), "{error}");
    assert_eq!(fs::read(tree.join("z")).unwrap(), b"new");
    bench.copy_in(&tree, "/free", careful()).await.unwrap();
}

async fn a_box_can_not_reach_out(bench: &Bench) {
    fs::write(bench.host("mine"), "mine").unwrap();
    let to = bench.host("jail");
    fs::create_dir(&to).unwrap();
    bench
        .say(
            "mkdir -p /h/d; cd /h; ln -s / d/root; ln -s ../mine d/mine; mkfifo d/fifo; mknod d/null c 1 3; \
              cp /bin/busybox d/suid; chmod 4755 d/suid",
        )
        .await;
    bench.copy_out("/h/d", &to, CopyOptions::default()).await.unwrap();
    assert_eq!(fs::read_link(to.join("d/root")).unwrap(), Path::new("/"));
    assert!(!to.join("d/null").exists());
    assert_eq!(fs::metadata(to.join("d/suid")).unwrap().mode() & 0o7000, 0);
    // The same names again as files: the links are replaced, not followed.
    bench.say("cd /h/d; rm mine root; echo other > mine; mkdir root; echo other > root/mine").await;
    let error = bench.copy_out("/h/d", &to, CopyOptions::default()).await.unwrap_err();
    assert!(matches!(&error, BoxliteError::InvalidArgument(_)), "{error}");
    assert_eq!(fs::read(bench.host("mine")).unwrap(), b"mine");
    assert!(!Path::new("/mine").exists());
    // A whole system, the kernel's own file systems left out.
    bench.copy_out("/", &bench.host("all"), CopyOptions::default()).await.unwrap();
    assert!(bench.host("all/bin/busybox").exists() && !bench.host("all/proc/1").exists());
}

async fn bytes_go_without_a_file(bench: &Bench) {
    let none = ProgressSink::none;
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let path = OsString::from_vec(b"/bytes/\xff file".to_vec());
    bench.sandbox.write_file(path.clone(), content.clone(), 0o600, none()).await.unwrap();
    assert!(bench.sandbox.read_file(path.clone(), 3_000_000, none()).await.unwrap() == content);
    assert_eq!(bench.say("stat -c '%a %u' /bytes/*").await, "600 1234");
    let large = bench.sandbox.read_file(path, 2_999_999, none()).await.unwrap_err();
    assert!(matches!(large, BoxliteError::ResourceExhausted(_)), "{large}");
    let cpus = bench.sandbox.read_file("/proc/cpuinfo".into(), 1 << 20, none()).await.unwrap();
    assert!(String::from_utf8_lossy(&cpus).contains("processor"));
    bench.say("mkfifo /bytes/fifo").await;
    for path in ["/bytes", "/bytes/fifo", "/dev/zero"] {
        let error = bench.sandbox.read_file(path.into(), 100, none()).await.unwrap_err();
        assert!(matches!(error, BoxliteError::InvalidArgument(_)), "{error}");
    }
    let full = bench.sandbox.write_file("/bytes/".into(), Vec::new(), 0o600, none()).await.unwrap_err();
    assert!(matches!(full, BoxliteError::InvalidArgument(_)), "{full}");
    bench.sandbox.write_file("/bytes/empty".into(), Vec::new(), 0o600, none()).await.unwrap();
    assert_eq!(bench.sandbox.read_file("/bytes/empty".into(), 0, none()).await.unwrap(), b"");
}

async fn archives_go_by_descriptor(bench: &Bench) {
    let (mut out, into) = std::os::unix::net::UnixStream::pair().unwrap();
    let reading = std::thread::spawn(move || {
        let mut archive = Vec::new();
        out.read_to_end(&mut archive).map(|_| archive)
    });
    bench
        .sandbox
        .copy_out_tar("/new".into(), into.into(), CopyOptions::default(), ProgressSink::none())
        .await
        .unwrap();
    let archive = reading.join().unwrap().unwrap();
    let (from, mut feed) = std::os::unix::net::UnixStream::pair().unwrap();
    let whole = archive.clone();
    let feeding = std::thread::spawn(move || feed.write_all(&whole));
    let plain = CopyOptions::default;
    bench.sandbox.copy_in_tar(from.into(), "/tar".into(), plain(), ProgressSink::none()).await.unwrap();
    feeding.join().unwrap().unwrap();
    assert_eq!(bench.say("cat /tar/new/dirs/exact").await, "hello");
    let (from, mut feed) = std::os::unix::net::UnixStream::pair().unwrap();
    feed.write_all(&archive[..1000]).unwrap();
    drop(feed);
    let cut = bench
        .sandbox
        .copy_in_tar(from.into(), "/cut".into(), plain(), ProgressSink::none())
        .await
        .unwrap_err();
    assert!(matches!(cut, BoxliteError::InvalidArgument(_)), "{cut}");
}

async fn who_leaves_leaves_nothing_half(bench: &Bench) {
    // A source that never comes to its end.
    let (from, _kept) = std::os::unix::net::UnixStream::pair().unwrap();
    let endless =
        bench.sandbox.copy_in_tar(from.into(), "/left".into(), CopyOptions::default(), ProgressSink::none());
    assert!(tokio::time::timeout(Duration::from_millis(500), endless).await.is_err());
    let large = bench.host("large");
    let file = fs::File::create(&large).unwrap();
    for _ in 0..64 {
        (&file).write_all(&vec![7; 1 << 20]).unwrap();
    }
    let copy = bench.copy_in(&large, "/left/large", CopyOptions::default());
    let cut = tokio::time::timeout(Duration::from_millis(40), copy).await;
    // Whoever was killed is gone by the time that nothing of the name is to be seen. It may have been done just then.
    let script = "for i in $(seq 600); do pidof boxlite-copy > /dev/null || break; sleep 0.1; done; \
                  cd /left 2>/dev/null && ls -A | xargs -r stat -c '%n %s'; true";
    let left = bench.say(script).await;
    assert!(left == "large 67108864" || (left.is_empty() && cut.is_err()), "{left}");
    let threads = || {
        fs::read_dir("/proc/self/task").unwrap().filter(|task| {
            let comm = task.as_ref().unwrap().path().join("comm");
            fs::read_to_string(comm).is_ok_and(|name| name.trim_end() == "boxlite-copy")
        })
    };
    for _ in 0..600 {
        if threads().count() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{} threads of copies are left", threads().count());
}
