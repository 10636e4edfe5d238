use super::*;
use std::os::unix::ffi::OsStringExt;

fn spec() -> ShimSpec {
    ShimSpec {
        protocol: 1,
        build_id: "b".into(),
        course: Course::Boot,
        box_id: "aB3xYz012345".into(),
        box_dir: "/home/u/boxes/aB3xYz012345".into(),
        engine: EngineKind::QemuTcg,
        engine_program: "/usr/bin/qemu".into(),
        kernel: "/lib/kernel.elf".into(),
        guest_disk: "/lib/guest.erofs".into(),
        image_disk: "/home/u/img".into(),
        image: "sha256:0".into(),
        box_disk: "box.qcow2".into(),
        disk_cache: DiskCache::Writeback,
        cpus: 2,
        memory_mib: 512,
        hostname: "secret-host".into(),
        detach: false,
        tsc_khz: 0,
        boot_deadline_ms: 1,
        stop_grace_ms: 1,
        limits: Default::default(),
        test_hooks: false,
        spare: false,
        rehearse: false,
    }
}

fn line(spec: &ShimSpec, verbosity: Verbosity) -> Vec<OsString> {
    arguments(spec, Boot { verbosity, tsc_khz: 2_100_000 }, Ends { agent: 7, console: 8, monitor: 9 })
}

fn value_of<'a>(line: &'a [OsString], option: &str) -> Vec<&'a str> {
    line.windows(2).filter(|pair| pair[0] == option).filter_map(|pair| pair[1].to_str()).collect()
}

#[test]
fn the_box_and_its_size_are_in_the_command_line() {
    let line = line(&spec(), Verbosity::Quiet);
    assert_eq!(value_of(&line, "-name"), ["aB3xYz012345"]);
    assert_eq!(value_of(&line, "-smp"), ["2"]);
    assert_eq!(value_of(&line, "-m"), ["512M"]);
    assert_eq!(value_of(&line, "-sandbox"), [SANDBOX]);
    assert_eq!(
        value_of(&line, "-chardev"),
        ["socket,id=monitor,fd=9", "socket,id=console,fd=8", "socket,id=agent,fd=7"]
    );
}

#[test]
fn a_template_and_its_clones_have_the_same_machine_and_other_disks() {
    let freeze =
        line(&ShimSpec { course: Course::Freeze { progress: Progress::Booted }, ..spec() }, Verbosity::Quiet);
    let template = "../../templates/k,1".to_owned();
    let course = Course::Clone { template, progress: Progress::Booted };
    let clone = line(&ShimSpec { course, ..spec() }, Verbosity::Quiet);
    assert_eq!(value_of(&freeze, "-object")[0], "memory-backend-file,id=ram,size=512M,mem-path=ram,share=on");
    assert_eq!(
        value_of(&clone, "-object")[0],
        "memory-backend-file,id=ram,size=512M,mem-path=../../templates/k,,1/ram,share=off"
    );
    for option in ["-M", "-cpu", "-accel", "-smp", "-m", "-kernel", "-append", "-device", "-chardev"] {
        assert_eq!(value_of(&freeze, option), value_of(&clone, option), "{option}");
    }
    let placeholders = value_of(&freeze, "-blockdev");
    assert!(placeholders[1].contains("null-co") && placeholders[2].contains("null-co"), "{placeholders:?}");
    for placeholder in &placeholders[1..] {
        serde_json::from_str::<serde_json::Value>(placeholder).unwrap();
    }
    let boot = line(&spec(), Verbosity::Quiet);
    assert_eq!(value_of(&boot, "-blockdev"), value_of(&clone, "-blockdev"));
    assert_eq!(value_of(&clone, "-incoming"), ["defer"]);
    assert!(clone.iter().any(|argument| argument == "-S"));
    assert!(!boot.iter().chain(&freeze).any(|argument| argument == "-S" || argument == "-incoming"));
}

#[test]
fn devices_fit_and_the_guest_disk_is_first() {
    let line = line(&spec(), Verbosity::Quiet);
    let devices = value_of(&line, "-device");
    let on_mmio = devices.iter().filter(|device| device.contains("-device")).count();
    assert!(on_mmio <= 8, "{devices:?}");
    let disks: Vec<_> = devices.iter().filter(|device| device.starts_with("virtio-blk")).collect();
    assert!(disks[0].starts_with("virtio-blk-device,drive=guest,serial=guest,"), "{disks:?}");
    assert_eq!(disks.len(), 4);
}

#[test]
fn the_kernel_hears_the_rate_and_how_loud_to_be() {
    let quiet = line(&spec(), Verbosity::Quiet);
    let append = value_of(&quiet, "-append")[0];
    assert!(append.contains(" quiet ") && append.contains("tsc_early_khz=2100000 tsc=reliable"), "{append}");
    let loud = line(&spec(), Verbosity::Full);
    let append = value_of(&loud, "-append")[0];
    assert!(append.contains(" loglevel=7 ") && !append.contains("quiet"), "{append}");
}

#[test]
fn the_accelerator_is_the_engines() {
    let emulated = line(&spec(), Verbosity::Quiet);
    assert_eq!(value_of(&emulated, "-accel"), ["tcg,thread=multi"]);
    assert_eq!(value_of(&emulated, "-cpu"), ["max,-svm,-erms,-fsrm"]);
    assert!(value_of(&emulated, "-append")[0].contains(" mitigations=off "));
    let on_kvm = line(&ShimSpec { engine: EngineKind::QemuKvm, ..spec() }, Verbosity::Quiet);
    assert_eq!(value_of(&on_kvm, "-accel"), ["kvm"]);
    assert_eq!(value_of(&on_kvm, "-cpu"), ["host,-svm,-vmx"]);
    // On a real CPU the guest's kernel guards itself from its users.
    assert!(value_of(&on_kvm, "-append")[0].contains(" mitigations=auto "));
    let rest = |line: &[OsString]| {
        line.iter().filter(|word| !word.to_string_lossy().contains("mitigations")).count()
    };
    assert_eq!(rest(&emulated), rest(&on_kvm), "nothing else differs");
}

#[test]
fn what_the_agent_is_told_is_not_in_the_command_line() {
    assert!(line(&spec(), Verbosity::Quiet).iter().all(|word| !word.to_string_lossy().contains("secret")));
}

fn nodes(line: &[OsString]) -> Vec<serde_json::Value> {
    value_of(line, "-blockdev").iter().map(|node| serde_json::from_str(node).unwrap()).collect()
}

#[test]
fn disks_have_their_format_and_only_the_boxs_own_are_written() {
    let nodes = nodes(&line(&spec(), Verbosity::Quiet));
    let facts: Vec<_> = nodes
        .iter()
        .map(|node| {
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            (text(&node["node-name"]), text(&node["driver"]), node["read-only"].as_bool().unwrap())
        })
        .collect();
    let expected =
        [("guest", "raw", true), ("image", "raw", true), ("box", "qcow2", false), ("transfer", "raw", false)]
            .map(|(a, b, c)| (a.into(), b.into(), c));
    assert_eq!(facts, expected);
    assert_eq!(nodes[2]["file"]["filename"], "box.qcow2");
    assert_eq!(nodes[3]["file"]["filename"], "transfer");
}

#[test]
fn flushes_are_dropped_where_nothing_is_kept_and_for_the_box_disk_when_asked() {
    for (disk_cache, dropped) in
        [(DiskCache::Writeback, [false, false, false, true]), (DiskCache::Unsafe, [false, false, true, true])]
    {
        let spec = ShimSpec { disk_cache, ..spec() };
        let nodes = nodes(&line(&spec, Verbosity::Quiet));
        let caches: Vec<_> = nodes.iter().map(|node| node["cache"]["no-flush"].as_bool()).collect();
        assert_eq!(caches, dropped.map(Some), "{disk_cache:?}");
    }
}

#[test]
fn odd_paths_arrive_unchanged() {
    let name = b"/home/a\"b\\c\x01,d=\xff/img".to_vec();
    let mut spec = spec();
    spec.image_disk = OsString::from_vec(name).into();
    let line = line(&spec, Verbosity::Quiet);
    let node = line.iter().find(|word| word.to_string_lossy().contains("\"image\",\"driver\"")).unwrap();
    let bytes = node.clone().into_vec();
    let wanted = b"\"filename\":\"/home/a\\\"b\\\\c\\u0001,d=\xff/img\"}}";
    assert!(bytes.windows(wanted.len()).any(|window| window == wanted), "{node:?}");
}
