//! Which engine a box gets: the probe's verdict on every kind of device, and what is chosen from it. On any machine, with
//! or without KVM: what depends on the machine is compared with what the probe says of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use boxlite::runtime::system_check::{CheckItem, CheckStatus};
use boxlite::{BoxOptions, BoxStatus, BoxliteError, BoxliteRuntime, Engine, RootfsSpec};
use boxlite_proto::probe::{KvmVerdict, ProbeReport, ProbeStep};
use boxlite_test_utils::home::{PerTestBoxHome, busybox_image, workspace};

const KVM: &str = "/dev/kvm";
/// `_IO(0xAE, 0x01)`
const KVM_CREATE_VM: u32 = 0xae01;
const NOBODY: u32 = 65534;
/// A boot is given up after half a minute: what takes less has not waited for one, however busy the machine is.
const AT_ONCE: Duration = Duration::from_secs(20);

fn shim() -> PathBuf {
    workspace().join("runtime/libexec/boxlite/boxlite-shim")
}

fn probe_command(device: &Path) -> Command {
    let mut command = Command::new(shim());
    command.args(["probe", "--device"]).arg(device);
    command
}

fn verdict_of(mut command: Command) -> KvmVerdict {
    let output = command.output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let report: ProbeReport = serde_json::from_slice(&output.stdout).unwrap();
    eprintln!("{}\n  {}", report.kvm, report.kvm.remedy());
    report.kvm
}

fn verdict_on(device: impl AsRef<Path>) -> KvmVerdict {
    verdict_of(probe_command(device.as_ref()))
}

/// By another process: a child that another test forks meanwhile has what is written here open, too, and such a file can't
/// be run.
fn copy_program(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn this_machine_gets_a_verdict_at_once() {
    let began = Instant::now();
    let verdict = verdict_on(KVM);
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    match &verdict {
        KvmVerdict::Usable { ns_per_turn } => assert!((1..=100).contains(ns_per_turn), "{verdict}"),
        KvmVerdict::NotAccelerated { seen } => assert!(seen.contains(" ns in a guest's kernel"), "{verdict}"),
        KvmVerdict::NoDevice { .. } => assert!(!Path::new(KVM).exists(), "{verdict}"),
        KvmVerdict::NoPermission { .. } => assert!(!is_root(), "{verdict}"),
        KvmVerdict::Broken { .. } => panic!("{verdict}"),
    }
    assert_eq!(verdict.is_usable(), verdict.remedy().is_empty());
}

#[test]
fn what_is_no_kvm_device_is_told_by_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("file"), b"").unwrap();
    nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    for (device, seen) in [
        (at("nothing"), "does not exist"),
        (at("file").join("below"), "does not exist"),
        (dir.path().to_owned(), "a directory"),
        (at("file"), "a regular file"),
        (at("pipe"), "a pipe"),
    ] {
        let verdict = verdict_on(&device);
        assert!(matches!(verdict, KvmVerdict::NoDevice { .. }), "{verdict:?}");
        assert!(verdict.to_string().contains(&device.display().to_string()), "{verdict}");
        assert!(verdict.to_string().contains(seen), "{verdict}");
    }
    let stranger = verdict_on("/dev/null");
    assert!(matches!(stranger, KvmVerdict::Broken { step: ProbeStep::ApiVersion, .. }), "{stranger:?}");
}

#[test]
fn a_device_without_a_driver_is_none() {
    if !is_root() {
        eprintln!("only root can make a device");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let node = dir.path().join("kvm");
    // Major number 240 is for local use: nothing answers for it.
    let made = Command::new("mknod").arg(&node).args(["c", "240", "77"]).status().unwrap();
    assert!(made.success());
    let verdict = verdict_on(&node);
    assert!(matches!(&verdict, KvmVerdict::NoDevice { seen } if seen.contains("no driver")), "{verdict:?}");
}

#[test]
fn a_device_of_others_is_told_with_the_way_in() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let shut = dir.path().join("shut");
    fs::create_dir(&shut).unwrap();
    fs::set_permissions(&shut, fs::Permissions::from_mode(0o000)).unwrap();
    let shim = dir.path().join("boxlite-shim");
    copy_program(&self::shim(), &shim);
    let ask = |device: &Path| {
        let mut command = Command::new(&shim);
        command.args(["probe", "--device"]).arg(device);
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        verdict_of(command)
    };
    let verdict = ask(&shut.join("kvm"));
    assert!(matches!(verdict, KvmVerdict::NoPermission { .. }), "{verdict:?}");
    // Readable by all, writable by its owner: the device is opened for both.
    let mode = dir.path().join("kvm");
    if is_root() && Command::new("mknod").arg(&mode).args(["c", "1", "3"]).status().unwrap().success() {
        fs::set_permissions(&mode, fs::Permissions::from_mode(0o660)).unwrap();
        let verdict = ask(&mode);
        assert!(
            matches!(&verdict, KvmVerdict::NoPermission { seen, .. }
                if seen.contains("mode 0660, owner 0") && seen.contains("user 65534")),
            "{verdict:?}"
        );
        assert!(verdict.remedy().contains("usermod -aG kvm"), "{verdict:?}");
    }
    fs::set_permissions(&shut, fs::Permissions::from_mode(0o700)).unwrap();
}

/// Lets the system call `KVM_CREATE_VM` of this process fail with `errno`.
fn refuse_create_vm(errno: u32) -> std::io::Result<()> {
    let [load, equal, give] = [
        libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
        libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
        libc::BPF_RET | libc::BPF_K,
    ]
    .map(|code| code as u16);
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    // Offsets in seccomp_data: 0 is the call's number, 24 the lower half of its second argument.
    let program = [
        step(load, 0, 0, 0),
        step(equal, 0, 3, libc::SYS_ioctl as u32),
        step(load, 0, 0, 24),
        step(equal, 0, 1, KVM_CREATE_VM),
        step(give, 0, 0, libc::SECCOMP_RET_ERRNO | errno),
        step(give, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    // SAFETY: prctl takes integers and one pointer to a filter that outlives the call and is only read.
    let set = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) == 0
    };
    if set { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

#[test]
fn a_kvm_that_another_hypervisor_has_is_broken_and_who_has_it_is_named() {
    if matches!(verdict_on(KVM), KvmVerdict::NoDevice { .. } | KvmVerdict::NoPermission { .. }) {
        eprintln!("without KVM nobody else can have it");
        return;
    }
    let mut command = probe_command(Path::new(KVM));
    // SAFETY: between fork and exec the closure makes two system calls and allocates nothing.
    unsafe { command.pre_exec(|| refuse_create_vm(libc::EBUSY as u32)) };
    let verdict = verdict_of(command);
    assert!(matches!(verdict, KvmVerdict::Broken { step: ProbeStep::CreateVm, .. }), "{verdict:?}");
    assert!(verdict.remedy().contains("VirtualBox"), "{verdict:?}");
}

fn options(engine: Option<Engine>) -> BoxOptions {
    BoxOptions {
        rootfs: RootfsSpec::Image(busybox_image()),
        auto_remove: false,
        engine,
        ..BoxOptions::default()
    }
}

async fn item(runtime: &BoxliteRuntime, name: &str) -> CheckItem {
    let check = runtime.system_check().await;
    check.items.iter().find(|item| item.name == name).unwrap_or_else(|| panic!("{check:?}")).clone()
}

#[tokio::test]
async fn info_names_the_engine_that_the_system_check_announced() {
    let home = PerTestBoxHome::new();
    let runtime = BoxliteRuntime::builder().home_dir(&home.path).build().unwrap();
    let sandbox = runtime.create(options(None), None).await.unwrap();
    assert_eq!(sandbox.info().engine, None, "no engine has run it yet");
    sandbox.start().await.unwrap();
    let info = sandbox.info();
    eprintln!("stages: {:?}", info.start_stages);
    let announced = item(&runtime, "engine").await.detail;
    assert_eq!(info.engine.as_deref(), announced.split(' ').next(), "{announced}");
    // Where KVM can be used nothing else is chosen, unless somebody asks for it.
    if item(&runtime, "kvm").await.status == CheckStatus::Ok && std::env::var_os("BOXLITE_ENGINE").is_none() {
        assert_eq!(info.engine.as_deref(), Some("libkrun"));
    }
    runtime.shutdown(None).await.unwrap();
}

#[tokio::test]
async fn without_kvm_boxes_run_all_the_same_but_not_on_krun() {
    let home = PerTestBoxHome::new();
    let device = home.path.join("no-kvm");
    let runtime = BoxliteRuntime::builder()
        .home_dir(&home.path)
        .engine(Engine::Auto)
        .kvm_device(&device)
        .build()
        .unwrap();
    let kvm = item(&runtime, "kvm").await;
    assert_eq!(kvm.status, CheckStatus::Warning);
    assert!(kvm.detail.contains(&device.display().to_string()) && !kvm.remedy.is_empty(), "{kvm:?}");
    let engine = item(&runtime, "engine").await;
    assert_eq!(engine.status, CheckStatus::Ok);
    assert!(engine.detail.starts_with("qemu-tcg (accelerator tcg, /"), "{engine:?}");
    assert!(engine.detail.ends_with(&kvm.detail), "{engine:?}");

    let sandbox = runtime.create(options(None), None).await.unwrap();
    sandbox.start().await.unwrap();
    assert_eq!(sandbox.info().engine.as_deref(), Some("qemu-tcg"));
    runtime.remove(sandbox.id().as_str(), true).await.unwrap();

    let sandbox = runtime.create(options(Some(Engine::Krun)), None).await.unwrap();
    let began = Instant::now();
    let error = sandbox.start().await.unwrap_err();
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert!(matches!(error, BoxliteError::Engine(_)), "{error:?}");
    assert!(error.to_string().contains(&kvm.detail) && error.hint().contains(&kvm.remedy), "{error:?}");
    assert_eq!((sandbox.info().status, sandbox.info().engine), (BoxStatus::Configured, None));
    let left = fs::read_dir(home.path.join("boxes").join(sandbox.id().as_str()));
    assert!(left.map_or(0, Iterator::count) == 0, "a refused start leaves something behind");
    runtime.remove(sandbox.id().as_str(), false).await.unwrap();
}

#[tokio::test]
async fn a_box_keeps_what_it_asked_for_and_gets_it_when_the_machine_can() {
    let home = PerTestBoxHome::new();
    let open = || BoxliteRuntime::builder().home_dir(&home.path).engine(Engine::Krun);
    let usable = verdict_on(KVM).is_usable();
    let runtime = open().kvm_device(home.path.join("no-kvm")).build().unwrap();
    let asked = runtime.create(options(Some(Engine::Qemu)), Some("asked".into())).await.unwrap();
    asked.start().await.unwrap();
    assert_eq!(asked.info().engine.as_deref(), Some("qemu-tcg"));
    asked.stop().await.unwrap();
    drop((asked, runtime));

    let runtime = open().build().unwrap();
    let asked = runtime.get("asked").await.unwrap().unwrap();
    asked.start().await.unwrap();
    assert_eq!(asked.info().engine.as_deref(), Some(if usable { "qemu-kvm" } else { "qemu-tcg" }));
    runtime.remove("asked", true).await.unwrap();
}

#[tokio::test]
async fn a_kvm_that_hangs_costs_a_second_and_no_box() {
    let home = PerTestBoxHome::new();
    let pieces = tempfile::tempdir().unwrap();
    let real = shim();
    // Only the probe hangs; what runs boxes is the real one.
    let script =
        format!("#!/bin/sh\ncase $1 in probe) exec /bin/sleep 1000;; esac\nexec {} \"$@\"\n", real.display());
    let text = pieces.path().join("text");
    fs::write(&text, script).unwrap();
    fs::set_permissions(&text, fs::Permissions::from_mode(0o755)).unwrap();
    copy_program(&text, &pieces.path().join("boxlite-shim"));
    for piece in ["kernel.elf", "guest.erofs"] {
        std::os::unix::fs::symlink(real.with_file_name(piece), pieces.path().join(piece)).unwrap();
    }
    // Any file that is there: the probe of this test doesn't look at it.
    let runtime = BoxliteRuntime::builder()
        .home_dir(&home.path)
        .runtime_dir(pieces.path())
        .engine(Engine::Auto)
        .kvm_device("/dev/null")
        .build()
        .unwrap();
    let began = Instant::now();
    let kvm = item(&runtime, "kvm").await;
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(1) && took < AT_ONCE, "{took:?}");
    assert_eq!(kvm.status, CheckStatus::Warning);
    assert!(kvm.detail.contains("killed") && kvm.remedy.contains("reboot"), "{kvm:?}");
    let sandbox = runtime.create(options(None), None).await.unwrap();
    sandbox.start().await.unwrap();
    assert_eq!(sandbox.info().engine.as_deref(), Some("qemu-tcg"));
    runtime.remove(sandbox.id().as_str(), true).await.unwrap();
}
