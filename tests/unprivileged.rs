//! A box needs no root: a user without any rights runs one, in a home of its own, and what the box consists of on the
//! host has no more rights than that user, and none of the host program's descriptors.
//!
//! As root the test becomes uid 65534 for this; anybody else is unprivileged already.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use boxlite::util::{PidFileReader, is_process_alive};
use boxlite_test_utils::home::{target_dir, workspace};
use boxlite_test_utils::registry::run;
use nix::unistd::{getegid, geteuid};

const NOBODY: u32 = 65534;

/// The example program, next to this test's own program.
fn example() -> PathBuf {
    let this = std::env::current_exe().expect("this program");
    let example = this.parent().and_then(Path::parent).expect("a target directory").join("examples/run");
    if !example.exists() {
        // Cargo makes examples for `cargo test`, but not for `cargo test --test unprivileged`.
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--release", "-p", "boxlite", "--example", "run"]).current_dir(workspace());
        run(&mut cargo).expect("the example is built");
    }
    example
}

/// A directory that anybody may read, with all that a box needs, and a home in it for one user.
struct Stage {
    dir: tempfile::TempDir,
    user: (u32, u32),
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("boxlite-").tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        // By other processes: what this one writes, a child of another test's has open, too, and it can't be executed then.
        run(Command::new("cp").arg("--preserve=mode").arg(example()).arg(at("run"))).expect("the example");
        fs::create_dir(at("pieces")).expect("a directory");
        for piece in ["boxlite-shim", "kernel.elf", "guest.erofs"] {
            let source = workspace().join("runtime/libexec/boxlite").join(piece);
            run(Command::new("cp").arg("--preserve=mode").arg(&source).arg(at("pieces")))
                .unwrap_or_else(|error| panic!("{error}: run `make build`"));
        }
        let image = target_dir().join("test-images/busybox");
        run(Command::new("cp").args(["-rL"]).arg(image).arg(at("image"))).expect("the image");
        fs::create_dir(at("user")).expect("a directory");
        let user =
            if geteuid().is_root() { (NOBODY, NOBODY) } else { (geteuid().as_raw(), getegid().as_raw()) };
        chown(at("user"), Some(user.0), Some(user.1)).expect("chown");
        Self { dir, user }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `run` with a descriptor of ours left open in it by mistake, as happens in real hosts.
    fn command(&self, script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        let leaking = r#"exec 9<"$1"; shift; exec "$@""#;
        command.args(["-c", leaking, "sh"]).arg(self.at("image/index.json")).arg(self.at("run"));
        command.arg(self.at("user/home")).arg(format!("oci:{}", self.at("image").display()));
        command.args(["sh", "-c", script]);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("BOXLITE_RUNTIME_DIR", self.at("pieces"));
        command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if geteuid().is_root() {
            // Also clears the supplementary groups.
            command.uid(self.user.0).gid(self.user.1);
        }
        command
    }
}

/// A process of the host, as /proc tells of it.
#[derive(Debug)]
struct Process {
    pid: u32,
    parent: u32,
    arguments: String,
}

fn processes() -> Vec<Process> {
    let numbers = fs::read_dir("/proc").expect("/proc").flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter_map(process).collect()
}

fn process(pid: u32) -> Option<Process> {
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
    let parent = status(pid, "PPid")?.parse().ok()?;
    Some(Process { pid, parent, arguments })
}

/// A line of /proc/PID/status.
fn status(pid: u32, field: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(line.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// What a process's descriptors lead to.
fn descriptors(pid: u32) -> BTreeSet<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors").flatten();
    let links = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    links.map(|link| link.to_string_lossy().into_owned()).collect()
}

/// Nothing of its user's rights has grown, and none can.
fn assert_powerless(process: &Process, (uid, gid): (u32, u32)) {
    let field = |name| status(process.pid, name).unwrap_or_default();
    let four = |id: u32| [id; 4].map(|id| id.to_string()).join(" ");
    assert_eq!((field("Uid"), field("Gid")), (four(uid), four(gid)), "{process:?}");
    assert_eq!(field("NoNewPrivs"), "1", "{process:?}");
    assert_eq!(field("CapEff"), "0000000000000000", "{process:?}");
    if uid == NOBODY {
        assert_eq!(field("Groups"), "", "{process:?}");
    }
}

/// QEMU has its disks, its sockets and what it makes for itself.
fn assert_own_descriptors(qemu: &Process, stage: &Stage) {
    let home = stage.at("user/home");
    let home = home.to_str().expect("UTF-8");
    let guest_disk = stage.at("pieces/guest.erofs");
    let found = descriptors(qemu.pid);
    let strangers: Vec<&String> = found
        .iter()
        .filter(|link| {
            let disk = link.starts_with(home) || Path::new(link) == guest_disk;
            let own = link.starts_with("socket:") || link.starts_with("anon_inode:") || *link == "/dev/null";
            !disk && !own
        })
        .collect();
    assert!(strangers.is_empty(), "QEMU holds {strangers:?}");
    // Agent, console, monitor, messages.
    assert_eq!(found.iter().filter(|link| link.starts_with("socket:")).count(), 4, "{found:?}");
    assert!(found.iter().any(|link| link.starts_with(home)), "no disk among {found:?}");
}

#[test]
fn a_user_without_rights_runs_a_box_that_has_none_either() {
    let stage = Stage::new();
    let script = "echo ready; id -u; read word; echo got $word; echo trouble >&2; exit 7";
    let mut host = stage.command(script).spawn().expect("run");
    let mut stdout = BufReader::new(host.stdout.take().expect("stdout"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("reading");
    if line != "ready\n" {
        let mut error = String::new();
        host.stderr.take().expect("stderr").read_to_string(&mut error).expect("reading");
        panic!("the box said {line:?}: {error}");
    }

    let boxes = stage.at("user/home/boxes");
    let id = fs::read_dir(&boxes).expect("boxes").next().expect("a box").expect("a box").file_name();
    let id = id.to_str().expect("an id").to_owned();
    let record = PidFileReader::at(boxes.join(&id).join("shim.pid")).read().expect("shim.pid");
    let shim = process(record.pid).expect("the shim");
    let children: Vec<Process> = processes().into_iter().filter(|child| child.parent == shim.pid).collect();
    let [qemu] = children.as_slice() else { panic!("the shim's children: {children:?}") };
    assert!(qemu.arguments.contains("qemu-system"), "{qemu:?}");
    for member in [&shim, qemu] {
        assert_powerless(member, stage.user);
        assert!(member.arguments.contains(&id), "{member:?} does not name its box");
        let environment = fs::read(format!("/proc/{}/environ", member.pid)).expect("environ");
        assert!(environment.is_empty(), "{member:?} has {}", String::from_utf8_lossy(&environment));
    }
    assert_eq!(status(qemu.pid, "Seccomp").as_deref(), Some("2"));

    let of_host = descriptors(host.id());
    let leaked = stage.at("image/index.json").to_string_lossy().into_owned();
    assert!(of_host.contains(&leaked), "nothing was leaked to the host program: {of_host:?}");
    for member in [&shim, qemu] {
        let shared: Vec<String> = descriptors(member.pid).intersection(&of_host).cloned().collect();
        // By its lock on this file the shim is told of its owner's end; the engine has no business with it.
        let presence = |link: &str| member.pid == shim.pid && link.starts_with("/memfd:boxlite-presence");
        let shared: Vec<&String> = shared
            .iter()
            .filter(|link| *link != "/dev/null" && !link.starts_with("anon_inode:") && !presence(link))
            .collect();
        assert!(shared.is_empty(), "{member:?} shares {shared:?} with the program that started it");
    }
    assert_own_descriptors(qemu, &stage);
    for entry in fs::read_dir(boxes.join(&id)).expect("the box's directory") {
        let stat = entry.and_then(|entry| entry.metadata()).expect("an entry");
        assert_eq!((stat.uid(), stat.mode() & 0o077), (stage.user.0, 0));
    }

    let members = [shim.pid, qemu.pid];
    host.stdin.take().expect("stdin").write_all(b"it\n").expect("writing");
    let (mut rest, mut error) = (String::new(), String::new());
    stdout.read_to_string(&mut rest).expect("reading");
    host.stderr.take().expect("stderr").read_to_string(&mut error).expect("reading");
    let code = host.wait().expect("the end").code();
    assert_eq!((code, rest.as_str(), error.as_str()), (Some(7), "0\ngot it\n", "trouble\n"));

    // A zombie is dead: whoever inherited it has yet to notice.
    for pid in members {
        assert!(!is_process_alive(pid), "{:?} is left: {:?}", process(pid), status(pid, "State"));
    }
    let left: Vec<Process> =
        processes().into_iter().filter(|process| process.arguments.contains(&id)).collect();
    assert!(left.is_empty(), "{left:?}");
    for directory in [boxes, stage.at("user/home/tmp")] {
        let left: Vec<_> = fs::read_dir(&directory).into_iter().flatten().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// The program that opened the runtime is killed: the box goes without anybody's help.
#[test]
fn a_killed_host_program_leaves_no_process() {
    let stage = Stage::new();
    let mut host = stage.command("echo ready; sleep 300").spawn().expect("run");
    let mut line = String::new();
    BufReader::new(host.stdout.take().expect("stdout")).read_line(&mut line).expect("reading");
    assert_eq!(line, "ready\n");
    let working_in = |place: &str| -> Vec<u32> {
        let (all, place) = (processes().into_iter().map(|process| process.pid), stage.at(place));
        all.filter(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(&place)))
            .collect()
    };
    // A template may be in the making beside it, which goes as well.
    assert_eq!(working_in("user/home/boxes").len(), 2, "shim and QEMU");
    host.kill().expect("the kill");
    host.wait().expect("the end");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !working_in("user/home").is_empty() {
        let left = working_in("user/home");
        assert!(Instant::now() < deadline, "{left:?} outlive the program that started them");
        std::thread::sleep(Duration::from_millis(50));
    }
}
