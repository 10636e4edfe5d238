//! Spares that had another image than the box that gets them: nothing of it is left, and a swap that is cut off costs
//! nobody anything.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use boxlite::{BoxOptions, BoxStatus, BoxliteRuntime, LiteBox, RootfsSpec};
use boxlite_test_utils::home::{PerTestBoxHome, debian_image, processes_below};

use crate::again::{Another, order, say};
use crate::processes::processes_naming;
use crate::small_box::small_box;
use crate::{PATIENCE, open, output, ready, spares, was_claimed, with_spare, within};

/// What a shim's log says when a swap begins.
const BEGUN: &str = "gets another image";

fn debian_box() -> BoxOptions {
    BoxOptions { rootfs: RootfsSpec::Image(debian_image()), ..small_box() }
}

/// A box that has the runtime's spare, whatever image that had.
async fn claimed(runtime: &BoxliteRuntime, options: BoxOptions, name: &str) -> LiteBox {
    ready(runtime).await;
    let sandbox = runtime.create(options, Some(name.into())).await.unwrap();
    sandbox.start().await.unwrap();
    assert!(was_claimed(&sandbox), "{:?}", sandbox.info().start_stages);
    sandbox
}

/// Everything in the box that comes from its image, or that a process has made, and the mounts.
async fn seen(sandbox: &LiteBox) -> Vec<String> {
    let files = "find / -xdev -exec stat -c '%n %f %s %u %g %Y' {} +; cat /proc/mounts; \
                 find /etc /bin/sh -xdev -type f -exec md5sum {} +";
    let own = ["/proc ", "/sys ", "/dev ", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];
    let told = output(sandbox, files).await;
    let lines =
        told.lines().filter(|line| !own.iter().any(|own| line.contains(own)) || line.contains(" rw,"));
    // Which an overlay tells at its first mount only.
    let mut lines: Vec<String> = lines.map(|line| line.replace(",uuid=on", "")).collect();
    lines.sort();
    lines
}

/// As a box of the same image is that never was a spare.
async fn assert_like_any(home: &PerTestBoxHome, sandbox: &LiteBox, options: BoxOptions) {
    let plain = open(&home.path, 0);
    let other = plain.create(options, None).await.unwrap();
    let (one, other) = (seen(sandbox).await, seen(&other).await);
    let differing: Vec<_> = one.iter().filter(|line| !other.contains(line)).collect();
    let missing: Vec<_> = other.iter().filter(|line| !one.contains(line)).collect();
    assert!(differing.is_empty() && missing.is_empty(), "only here: {differing:?}, only there: {missing:?}");
    plain.shutdown(None).await.unwrap();
}

#[tokio::test]
async fn boxes_of_two_images_take_each_others_spares() {
    let home = PerTestBoxHome::new();
    let runtime = with_spare(&home).await;
    let id = spares(&home);
    let debian = claimed(&runtime, debian_box(), "debian").await;
    assert_eq!(id, [debian.id().to_string()]);
    assert_eq!(runtime.start_counts().swapped, 1);
    let facts = "sed -n 's/^ID=//p' /etc/os-release; hostname; cat /etc/hostname; echo $LANG; pwd; id -u";
    assert_eq!(output(&debian, facts).await, "debian\ndebian\ndebian\nC.UTF-8\n/root\n0\n");
    assert_eq!(debian.executions().await.unwrap().len(), 1, "the warm-up is forgotten");
    assert_eq!(output(&debian, "python3 -c 'print(6 * 7)'").await, "42\n");
    assert_like_any(&home, &debian, debian_box()).await;

    // Back: the spare has the image that was started last.
    let user = BoxOptions { user: Some("app".into()), ..small_box() };
    let busybox = claimed(&runtime, user, "busybox").await;
    assert_eq!(runtime.start_counts().swapped, 2);
    assert_eq!(
        output(&busybox, "ls /etc/os-release 2>&1; true").await,
        "ls: /etc/os-release: No such file or directory\n"
    );
    assert_eq!(output(&busybox, "id -un; id -Gn; cat /etc/hostname").await, "app\napp extra\nbusybox\n");
    let root = claimed(&runtime, small_box(), "of-the-same").await;
    assert_eq!((runtime.start_counts().claimed, runtime.start_counts().swapped), (3, 2));
    assert_like_any(&home, &root, small_box()).await;
    runtime.shutdown(None).await.unwrap();
}

#[tokio::test]
async fn what_a_box_keeps_is_what_it_wrote() {
    let home = PerTestBoxHome::new();
    let runtime = with_spare(&home).await;
    let sandbox = claimed(&runtime, debian_box(), "kept").await;
    assert_eq!(output(&sandbox, "echo data > /root/data; rm /etc/issue; cat /root/data").await, "data\n");
    sandbox.stop().await.unwrap();
    let sandbox = runtime.get("kept").await.unwrap().unwrap();
    assert_eq!(output(&sandbox, "cat /root/data; ls /etc/issue || echo none").await, "data\nnone\n");
    runtime.remove("kept", true).await.unwrap();

    // What is synced is there after a crash, and so is the box's own root.
    runtime.create(small_box(), None).await.unwrap().start().await.unwrap();
    let sandbox = claimed(&runtime, debian_box(), "synced").await;
    output(&sandbox, "echo data > /root/data; sync -d /root/data").await;
    let sandbox = crashed(&runtime, sandbox).await;
    assert_eq!(output(&sandbox, "cat /root/data; cat /etc/hostname").await, "data\nsynced\n");

    // What nobody has synced may be gone, but then all of it: the disk may be as the spare had it.
    runtime.create(small_box(), None).await.unwrap().start().await.unwrap();
    let sandbox = claimed(&runtime, debian_box(), "unsynced").await;
    let sandbox = crashed(&runtime, sandbox).await;
    assert_like_any(&home, &sandbox, debian_box()).await;
    runtime.shutdown(None).await.unwrap();
}

/// The box after its machine was killed: at rest.
async fn crashed(runtime: &BoxliteRuntime, sandbox: LiteBox) -> LiteBox {
    let name = sandbox.name().unwrap().to_owned();
    kill(engine(sandbox.id().as_str()), libc::SIGKILL);
    let id = sandbox.id().as_str();
    within(PATIENCE, "its processes are gone", || processes_naming(id).is_empty()).await;
    runtime.get(&name).await.unwrap().unwrap()
}

/// A tree whose shell does all the harm that it can.
fn hostile_tree(at: &Path) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let busybox = std::env::split_paths(&path).map(|place| place.join("busybox")).find(|file| file.exists());
    for place in ["bin", "etc"] {
        fs::create_dir_all(at.join(place)).unwrap();
    }
    fs::copy(busybox.expect("busybox, as make setup installs it"), at.join("bin/busybox")).unwrap();
    for name in ["sleep", "touch", "chmod", "ls"] {
        symlink("busybox", at.join("bin").join(name)).unwrap();
    }
    fs::write(at.join("etc/passwd"), "root:x:0:0:left:/left:/bin/sh\n").unwrap();
    let shell = "#!/bin/busybox sh\n\
        touch /left /dev/shm/left /dev/mqueue/left\n\
        echo 192.0.2.1 left >>/etc/hosts; chmod 0 /etc/hosts\n\
        sleep 1000 </dev/null >/dev/null 2>&1 &\n\
        exec /bin/busybox sh \"$@\"\n";
    fs::write(at.join("bin/sh"), shell).unwrap();
    fs::set_permissions(at.join("bin/sh"), fs::Permissions::from_mode(0o755)).unwrap();
    at.to_owned()
}

#[tokio::test]
async fn nothing_of_a_hostile_image_is_left_in_its_spare() {
    let home = PerTestBoxHome::new();
    let tree = hostile_tree(&home.path.with_file_name("tree"));
    let hostile = BoxOptions { rootfs: RootfsSpec::RootfsPath(tree.display().to_string()), ..small_box() };
    let runtime = open(&home.path, 1);
    let first = runtime.create(hostile, None).await.unwrap();
    assert_eq!(
        output(&first, "ls /left /dev/shm /dev/mqueue").await,
        "/left\n\n/dev/mqueue:\nleft\n\n/dev/shm:\nleft\n"
    );
    let sandbox = claimed(&runtime, small_box(), "clean").await;
    assert_eq!(runtime.start_counts().swapped, 1);
    assert_eq!(
        output(&sandbox, "ls /left /dev/shm /dev/mqueue 2>/dev/null; true").await,
        "/dev/mqueue:\n\n/dev/shm:\n"
    );
    let told = output(&sandbox, "ps -o args; stat -c %a /etc/hosts; cat /etc/hosts").await;
    assert!(!told.contains("sleep") && !told.contains("left"), "{told}");
    assert!(told.contains("\n644\n") && told.contains("127.0.1.1\tclean\n"), "{told}");
    assert_like_any(&home, &sandbox, small_box()).await;
    runtime.shutdown(None).await.unwrap();
}

fn kill(pid: u32, signal: i32) {
    // SAFETY: kill takes two integers.
    unsafe { libc::kill(i32::try_from(pid).unwrap(), signal) };
}

fn engine(id: &str) -> u32 {
    let qemu = |pid: &u32| fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with(b"qemu"));
    processes_naming(id).into_iter().find(qemu).expect("a machine")
}

fn shim(id: &str) -> u32 {
    let engine = engine(id);
    processes_naming(id).into_iter().find(|pid| *pid != engine).expect("a shim")
}

fn has_begun(home: &Path, id: &str) -> bool {
    let log = home.join("boxes").join(id).join("logs/shim.log");
    fs::read_to_string(log).is_ok_and(|log| log.contains(BEGUN))
}

#[tokio::test]
async fn a_swap_that_is_cut_off_costs_nothing_but_its_speed() {
    let home = PerTestBoxHome::new();
    let runtime = with_spare(&home).await;
    // A machine that stands still is met in the middle, and the one that nobody kills is given up.
    for (round, victim) in [Some(engine as fn(&str) -> u32), Some(shim), None].into_iter().enumerate() {
        ready(&runtime).await;
        let options = if round % 2 == 0 { debian_box() } else { small_box() };
        let sandbox = runtime.create(options.clone(), Some(format!("cut-{round}"))).await.unwrap();
        let id = sandbox.id().to_string();
        kill(engine(&id), libc::SIGSTOP);
        let starting = sandbox.clone();
        let start = tokio::spawn(async move { starting.start().await });
        within(PATIENCE, "the swap has begun", || has_begun(&home.path, &id)).await;
        if let Some(victim) = victim {
            kill(victim(&id), libc::SIGKILL);
        }
        start.await.unwrap().unwrap();
        assert!(!was_claimed(&sandbox));
        assert_eq!(runtime.start_counts().spares_refused, round as u64 + 1);
        assert_eq!(processes_naming(&id).len(), 2);
        assert_like_any(&home, &sandbox, options).await;
    }
    assert_eq!(runtime.start_counts().swapped, 0);
    runtime.shutdown(None).await.unwrap();
}

#[tokio::test]
async fn killed_at_any_moment_of_a_swap_a_machine_is_replaced() {
    let home = PerTestBoxHome::new();
    let runtime = with_spare(&home).await;
    for round in 0..12_u32 {
        ready(&runtime).await;
        let options = if round % 2 == 0 { debian_box() } else { small_box() };
        let name = format!("moment-{round}");
        let sandbox = runtime.create(options, Some(name.clone())).await.unwrap();
        let id = sandbox.id().to_string();
        let victim = if round % 4 < 2 { engine(&id) } else { shim(&id) };
        let (place, after) =
            (home.path.join("boxes").join(&id), Duration::from_millis(u64::from(round / 2) * 8));
        let killer = std::thread::spawn(move || {
            while !place.exists() {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(after);
            kill(victim, libc::SIGKILL);
        });
        let claimed = runtime.start_counts().claimed;
        sandbox.start().await.unwrap();
        killer.join().unwrap();
        if runtime.start_counts().claimed > claimed {
            // It had been the box by then, and has crashed.
            within(PATIENCE, "its processes are gone", || processes_naming(&id).is_empty()).await;
        }
        let sandbox = runtime.get(&name).await.unwrap().unwrap();
        assert_eq!(output(&sandbox, "cat /etc/hostname").await, format!("{name}\n"));
        runtime.remove(&id, true).await.unwrap();
        assert_eq!(processes_naming(&id), [0; 0]);
    }
    runtime.shutdown(None).await.unwrap();
}

/// A program that begins a swap, and can't end it.
#[tokio::test]
async fn as_an_owner_in_a_swap() {
    let Some(order) = order() else { return };
    let runtime = open(Path::new(&order), 1);
    let first = runtime.create(small_box(), None).await.unwrap();
    first.start().await.unwrap();
    runtime.remove(first.id().as_str(), true).await.unwrap();
    ready(&runtime).await;
    let detached = BoxOptions { detach: true, ..debian_box() };
    let sandbox = runtime.create(detached, Some("swapped".into())).await.unwrap();
    kill(engine(sandbox.id().as_str()), libc::SIGSTOP);
    say(sandbox.id().as_str());
    let _ = sandbox.start().await;
}

#[tokio::test]
async fn an_owner_that_is_killed_in_a_swap_leaves_nothing_and_loses_nothing() {
    let home = PerTestBoxHome::new();
    let mut owner = Another::start("swapping::as_an_owner_in_a_swap", &home.path.display().to_string());
    let id = owner.hear();
    within(PATIENCE, "the swap has begun", || has_begun(&home.path, &id)).await;
    owner.signal(libc::SIGKILL);
    within(PATIENCE, "the owner is gone", || owner.ended().is_some()).await;
    within(PATIENCE, "no process is left", || processes_below(&home.path).is_empty()).await;
    within(PATIENCE, "no directory is left", || spares(&home).is_empty()).await;
    let runtime = open(&home.path, 0);
    let sandbox = runtime.get("swapped").await.unwrap().unwrap();
    assert_eq!(sandbox.info().status, BoxStatus::Configured);
    assert_like_any(&home, &sandbox, debian_box()).await;
    runtime.remove("swapped", true).await.unwrap();
    runtime.shutdown(None).await.unwrap();
}
