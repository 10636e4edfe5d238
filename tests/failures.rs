//! What keeps a box from starting is named, says what to do, and leaves nothing behind.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use boxlite::images::ImageLimits;
use boxlite::{BoxOptions, BoxStatus, BoxliteError, BoxliteRuntime, RootfsSpec};
use boxlite_test_utils::home::{PerTestBoxHome, busybox_image, workspace};

/// A copy of the pieces (by links) in which one can be replaced.
struct Pieces {
    dir: tempfile::TempDir,
}

impl Pieces {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for piece in ["boxlite-shim", "kernel.elf", "guest.erofs", "libkrunfw.so.5", "boxlite-guest"] {
            symlink(workspace().join("runtime/libexec/boxlite").join(piece), dir.path().join(piece)).unwrap();
        }
        Self { dir }
    }

    fn without(self, piece: &str) -> Self {
        fs::remove_file(self.dir.path().join(piece)).unwrap();
        self
    }

    fn with(self, piece: &str, content: &[u8]) -> Self {
        let path = self.dir.path().join(piece);
        let this = self.without(piece);
        fs::write(&path, content).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        this
    }

    fn open(&self, home: &Path) -> BoxliteRuntime {
        BoxliteRuntime::builder().home_dir(home).runtime_dir(self.dir.path()).build().unwrap()
    }
}

fn options() -> BoxOptions {
    BoxOptions { rootfs: RootfsSpec::Image(busybox_image()), auto_remove: false, ..BoxOptions::default() }
}

/// Starts a box that can't start; what a failed start may leave is its row and the logs that tell why.
async fn fails(runtime: &BoxliteRuntime, home: &Path, options: BoxOptions) -> BoxliteError {
    let sandbox = runtime.create(options, None).await.unwrap();
    let error = sandbox.start().await.unwrap_err();
    eprintln!("{error}\n  hint: {}", error.hint());
    assert!(!error.hint().is_empty());
    let info = sandbox.info();
    assert_eq!((info.status, info.pid), (BoxStatus::Configured, None));
    let id = sandbox.id().as_str().to_owned();
    let left: Vec<String> = files_below(&home.join("boxes").join(&id))
        .into_iter()
        .filter(|path| {
            !path.contains("/logs") && !["exit", "shim.lock"].iter().any(|name| path.ends_with(name))
        })
        .collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    let processes = Command::new("pgrep").args(["-af", &id]).output().unwrap();
    assert!(processes.stdout.is_empty(), "left running: {}", String::from_utf8_lossy(&processes.stdout));
    assert_eq!(fs::read_dir(home.join("tmp")).unwrap().count(), 0, "temporary files are left");
    runtime.remove(&id, false).await.unwrap();
    assert!(!home.join("boxes").join(&id).exists());
    assert_eq!(fs::read_dir(home.join("locks")).unwrap().count(), 0, "lock files are left");
    error
}

fn files_below(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path.display().to_string());
        }
    }
    files
}

#[tokio::test]
async fn a_missing_piece_is_named_with_places_and_remedy() {
    for piece in ["boxlite-shim", "kernel.elf", "guest.erofs"] {
        let home = PerTestBoxHome::new();
        let pieces = Pieces::new().without(piece);
        let runtime = pieces.open(&home.path);
        let error = fails(&runtime, &home.path, options()).await;
        let text = error.to_string();
        assert!(matches!(error, BoxliteError::Config(_)), "{error:?}");
        assert!(text.contains(piece) && text.contains(&pieces.dir.path().display().to_string()), "{text}");
        let check = runtime.system_check().await;
        let item = check.items.iter().find(|item| item.name == piece).unwrap();
        assert_eq!(item.status, boxlite::runtime::system_check::CheckStatus::Failed);
        assert!(item.remedy.contains("make setup"), "{item:?}");
    }
}

#[tokio::test]
async fn a_kernel_that_is_none_is_told_by_the_engine() {
    let home = PerTestBoxHome::new();
    let pieces = Pieces::new().with("kernel.elf", b"this is no kernel");
    let error = fails(&pieces.open(&home.path), &home.path, options()).await;
    assert!(matches!(error, BoxliteError::Engine(_) | BoxliteError::Config(_)), "{error:?}");
    assert!(error.to_string().contains("kernel"), "{error}");
}

#[tokio::test]
async fn a_guest_that_dies_while_booting_shows_its_console() {
    let home = PerTestBoxHome::new();
    // A disk without an agent: the kernel finds no init and panics.
    let tree = tempfile::tempdir().unwrap();
    fs::create_dir(tree.path().join("dev")).unwrap();
    let out = tempfile::tempdir().unwrap();
    let disk = out.path().join("no-agent.erofs");
    let made = Command::new("mkfs.erofs").arg("-T0").arg(&disk).arg(tree.path()).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let pieces = Pieces::new().with("guest.erofs", &fs::read(&disk).unwrap());
    let error = fails(&pieces.open(&home.path), &home.path, options()).await;
    let text = error.to_string();
    assert!(matches!(error, BoxliteError::Engine(_)), "{error:?}");
    assert!(text.contains("console") && text.contains("init"), "{text}");
}

#[tokio::test]
async fn an_agent_that_stays_silent_is_given_up_after_its_deadline() {
    // The deadline of a host that nobody has called a slow one.
    if std::env::var_os("BOXLITE_BOOT_SECONDS").is_some() {
        let again = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "an_agent_that_stays_silent_is_given_up_after_its_deadline", "--nocapture"])
            .env_remove("BOXLITE_BOOT_SECONDS")
            .status();
        assert!(again.unwrap().success());
        return;
    }
    let home = PerTestBoxHome::new();
    // A disk whose init is alive and says nothing.
    let tree = tempfile::tempdir().unwrap();
    fs::copy("/bin/busybox", tree.path().join("busybox")).unwrap();
    let init = tree.path().join("init");
    fs::write(&init, "#!/busybox sh\nwhile :; do /busybox sleep 60; done\n").unwrap();
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(tree.path().join("dev")).unwrap();
    let out = tempfile::tempdir().unwrap();
    let disk = out.path().join("silent.erofs");
    let made = Command::new("mkfs.erofs").arg("-T0").arg(&disk).arg(tree.path()).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let pieces = Pieces::new().with("guest.erofs", &fs::read(&disk).unwrap());
    let began = std::time::Instant::now();
    let error = fails(&pieces.open(&home.path), &home.path, options()).await;
    assert!(
        matches!(error, BoxliteError::Engine(_)) && error.to_string().contains("did not answer"),
        "{error:?}"
    );
    assert!((29..90).contains(&began.elapsed().as_secs()), "after {:?}", began.elapsed());
}

#[tokio::test]
async fn a_machine_without_qemu_is_told_what_to_install() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not root: QEMU can't be hidden in a mount namespace");
        return;
    }
    let home = PerTestBoxHome::new();
    let run = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/run");
    let hide = "mount --bind /dev/null /usr/bin/qemu-system-x86_64 && exec \"$@\"";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", hide, "sh"])
        .args([run.as_os_str(), home.path.as_os_str(), busybox_image().as_ref(), "true".as_ref()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(text.contains("qemu-system-x86_64 is missing") && text.contains("install"), "{text}");
}

#[tokio::test]
async fn more_memory_than_there_is_says_so() {
    let home = PerTestBoxHome::new();
    let pieces = Pieces::new();
    let runtime = pieces.open(&home.path);
    let error = fails(&runtime, &home.path, BoxOptions { memory_mib: Some(1 << 30), ..options() }).await;
    assert!(error.to_string().contains("memory"), "{error}");
    runtime.shutdown(Some(0)).await.unwrap();
}

#[tokio::test]
async fn an_image_that_is_not_there_is_named() {
    let home = PerTestBoxHome::new();
    let pieces = Pieces::new();
    let runtime = pieces.open(&home.path);
    let missing = BoxOptions { rootfs: RootfsSpec::Image("oci:/nonexistent/layout".into()), ..options() };
    let error = fails(&runtime, &home.path, missing).await;
    assert!(error.to_string().contains("/nonexistent/layout"), "{error}");
    let refused = BoxOptions { rootfs: RootfsSpec::Image("127.0.0.1:1/some/image".into()), ..options() };
    let error = fails(&runtime, &home.path, refused).await;
    assert!(
        matches!(error, BoxliteError::Network(_)) && error.to_string().contains("127.0.0.1:1"),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_image_beyond_the_limits_is_refused_by_name() {
    // Its own image store: the shared one may hold the finished disk.
    let home = PerTestBoxHome::isolated();
    let limits = ImageLimits { max_layer_bytes: 4096, ..ImageLimits::default() };
    let runtime = BoxliteRuntime::builder().home_dir(&home.path).image_limits(limits).build().unwrap();
    let error = fails(&runtime, &home.path, options()).await;
    assert!(
        matches!(error, BoxliteError::ResourceExhausted(_)) && error.to_string().contains("4096"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_full_disk_is_a_named_error() {
    if !nix::unistd::geteuid().is_root() {
        // Only root may mount the small file system this needs; `make test` in CI runs as root.
        eprintln!("not root: a small file system can't be mounted");
        return;
    }
    let small = Mounted::tmpfs("size=3m");
    let home = small.0.path().join("home");
    let pieces = Pieces::new();
    let runtime = pieces.open(&home);
    let error = fails(&runtime, &home, options()).await;
    assert!(matches!(error, BoxliteError::ResourceExhausted(_)), "{error:?}");
    assert!(error.hint().contains("space"), "{}", error.hint());
    drop(runtime);
}

#[test]
fn a_home_that_can_not_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = BoxliteRuntime::builder().home_dir(&file).build().map(|_| ()).unwrap_err();
    assert!(error.to_string().contains(&file.display().to_string()), "{error}");
    assert!(error.hint().contains("directory"), "{}", error.hint());
    let error = BoxliteRuntime::builder().home_dir("").build().map(|_| ()).unwrap_err();
    assert!(matches!(error, BoxliteError::Config(_)));
    if nix::unistd::geteuid().is_root() {
        let read_only = Mounted::tmpfs("size=1m,ro");
        let home = read_only.0.path().join("home");
        let error = BoxliteRuntime::builder().home_dir(&home).build().map(|_| ()).unwrap_err();
        assert!(matches!(error, BoxliteError::Storage(_)) && error.hint().contains("read-only"), "{error:?}");
    }
}

/// A file system mounted for one test.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn tmpfs(options: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "boxlite-test"])
            .arg(dir.path())
            .status();
        assert!(mounted.unwrap().success());
        Self(dir)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: the runtime may still be closing its database.
        let unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(unmounted.unwrap().success());
    }
}
