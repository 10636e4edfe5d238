//! A box that isn't detached goes with the process that started it, however that goes; a detached one stays, and has
//! nothing of that process: no session, no terminal, no descriptor.

#[path = "support/again.rs"]
mod again;
#[path = "support/processes.rs"]
mod processes;
#[path = "support/small_box.rs"]
mod small_box;
#[path = "support/waiting.rs"]
mod waiting;

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use again::{Another, order, say};
use boxlite::runtime::options::BoxliteOptions;
use boxlite::{BoxOptions, BoxliteRuntime};
use boxlite_test_utils::home::{PerTestBoxHome, workspace};
use processes::processes_naming;
use small_box::small_box;
use waiting::{PATIENCE, within};

fn open(home: &Path) -> BoxliteRuntime {
    BoxliteRuntime::new(BoxliteOptions { home_dir: home.to_owned(), image_registries: Vec::new() }).unwrap()
}

fn options(detach: bool) -> BoxOptions {
    BoxOptions { detach, ..small_box() }
}

/// An owner: starts a box and goes, as it is ordered to.
#[tokio::test]
async fn as_an_owner() {
    let Some(order) = order() else { return };
    let (how, home) = order.split_once('|').expect("how to go, and a home");
    let runtime = open(Path::new(home));
    let sandbox = runtime.create(options(how == "leave it"), Some(how.replace(' ', "-"))).await.unwrap();
    sandbox.start().await.unwrap();
    let heir = idle_child();
    say(&format!("{} {} {heir}", sandbox.id(), sandbox.info().pid.unwrap()));
    match how {
        // Without a drop of anything.
        "exit" | "leave it" => std::process::exit(0),
        "exec" => panic!("{}", Command::new("sleep").arg("600").exec()),
        "be killed" => std::future::pending().await,
        how => panic!("{how}"),
    }
}

/// A forked child that does nothing, with all the descriptors of this process.
fn idle_child() -> i32 {
    // SAFETY: the child makes only system calls that are async-signal-safe, and never returns.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            loop {
                libc::pause();
            }
        }
        pid
    }
}

/// A process that lives on after its owner; ends with the test.
struct Heir(i32);

impl Drop for Heir {
    fn drop(&mut self) {
        // SAFETY: kill takes two integers; the pid is the child of a process of ours, which was never waited for.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
    }
}

struct Owned {
    id: String,
    shim: u32,
    heir: Heir,
}

fn news_of(owner: &Another) -> Owned {
    let news = owner.hear();
    let [id, shim, heir] = news.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{news}") };
    Owned { id: id.to_owned(), shim: shim.parse().unwrap(), heir: Heir(heir.parse().unwrap()) }
}

#[tokio::test]
async fn a_box_goes_when_its_owner_exits_is_killed_or_becomes_another_program() {
    let home = PerTestBoxHome::new();
    // All at once: each takes its time.
    let owners = ["exit", "be killed", "exec"]
        .map(|how| (how, Another::start("as_an_owner", &format!("{how}|{}", home.path.display()))));
    for (how, mut owner) in owners {
        let owned = news_of(&owner);
        let mut began = Instant::now();
        if how == "be killed" {
            assert!(processes_naming(&owned.id).len() >= 2, "the box of the owner that is to {how} runs");
            owner.signal(libc::SIGKILL);
            began = Instant::now();
        }
        within(PATIENCE, &format!("the box goes when its owner does ({how})"), || {
            processes_naming(&owned.id).is_empty()
        })
        .await;
        eprintln!("{how}: gone after {:?}", began.elapsed());
        assert!(boxlite::util::is_process_alive(owned.heir.0 as u32), "its forked child lives on ({how})");
        if how == "exec" {
            assert!(owner.ended().is_none(), "it is the other program now");
        }
    }
    let runtime = open(&home.path);
    for info in runtime.list_info().await.unwrap() {
        assert_eq!((info.status, info.pid), (boxlite::BoxStatus::Stopped, None), "{info:?}");
    }
}

/// One field of `/proc/PID/stat`, counted as in proc(5).
fn stat_field(pid: u32, number: usize) -> i64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, after_name) = stat.rsplit_once(')').unwrap();
    after_name.split_whitespace().nth(number - 3).unwrap().parse().unwrap()
}

const SESSION: usize = 6;
const TERMINAL: usize = 7;

fn descriptors(pid: u32) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    entries.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok()).collect()
}

#[tokio::test]
async fn a_detached_box_outlives_its_owner_and_the_owners_terminal() {
    let home = PerTestBoxHome::new();
    // `script` gives the owner a terminal of its own, which is hung up when the owner ends.
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new("script");
    command.args(["-qefc", &format!("{} --exact as_an_owner --nocapture", program.display()), "/dev/null"]);
    let terminal = Another::start_by(&mut command, &format!("leave it|{}", home.path.display()));
    let owned = news_of(&terminal);
    let mut terminal = terminal;
    drop(owned.heir);
    within(PATIENCE, "the owner ends", || terminal.ended().is_some()).await;
    // What a hang-up sets off has had its time when a command has run.
    let runtime = open(&home.path);
    let sandbox = runtime.get(&owned.id).await.unwrap().unwrap();
    let execution = sandbox.exec(boxlite::BoxCommand::new("true")).await.unwrap();
    assert_eq!(execution.wait().await.unwrap().exit_code, 0);
    assert_eq!(sandbox.info().pid, Some(owned.shim), "the same shim");
    for pid in processes_naming(&owned.id) {
        assert_eq!(stat_field(pid, SESSION), i64::from(owned.shim), "{pid} is in the shim's session");
        assert_eq!(stat_field(pid, TERMINAL), 0, "{pid} has no terminal");
    }
    runtime.remove(&owned.id, true).await.unwrap();
}

/// Descriptors that every program started by this process inherits, unless it closes them.
fn inheritable(home: &Path) -> (Vec<RawFd>, Vec<PathBuf>) {
    let file = fs::File::create(home.join("not-for-boxes")).unwrap();
    let (one, other) = UnixStream::pair().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let originals =
        [file.as_raw_fd(), one.as_raw_fd(), other.as_raw_fd(), reader.as_raw_fd(), writer.as_raw_fd()];
    let copies: Vec<RawFd> = originals
        .iter()
        // SAFETY: the descriptor is open; F_DUPFD makes a copy without close-on-exec, at 300 or above.
        .map(|fd| unsafe { libc::fcntl(*fd, libc::F_DUPFD, 300) })
        .collect();
    let links = copies.iter().map(|fd| fs::read_link(format!("/proc/self/fd/{fd}")).unwrap()).collect();
    (copies, links)
}

#[tokio::test]
async fn no_process_of_a_box_has_a_descriptor_of_its_maker_and_each_carries_the_boxs_id() {
    let home = PerTestBoxHome::new();
    let (copies, links) = inheritable(home.path.parent().unwrap());
    // The copies can be inherited: a plain program has them.
    let plain = Command::new("readlink").arg(format!("/proc/self/fd/{}", copies[0])).output().unwrap();
    assert_eq!(String::from_utf8(plain.stdout).unwrap().trim_end(), links[0].display().to_string());

    let runtime = open(&home.path);
    for detach in [true, false] {
        let sandbox = runtime.create(options(detach), None).await.unwrap();
        sandbox.start().await.unwrap();
        let (id, shim) = (sandbox.id().as_str(), sandbox.info().pid.unwrap());
        let named = processes_naming(id);
        assert!(named.len() >= 2 && named.contains(&shim), "{named:?}");
        // All of its session, which nobody can leave unnoticed, and all that work in its directory.
        let directory = fs::canonicalize(&home.path).unwrap().join("boxes").join(id);
        let of_box = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let session: u32 = stat.rsplit_once(')')?.1.split_whitespace().nth(SESSION - 3)?.parse().ok()?;
            let cwd = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
            (session == shim || cwd == directory).then_some(pid)
        });
        let of_box: BTreeSet<u32> = of_box.collect();
        assert_eq!(of_box, named.iter().copied().collect(), "each process of the box has its id in argv");
        for pid in named {
            let open = descriptors(pid);
            let inherited: Vec<_> = open.iter().filter(|link| links.contains(link)).collect();
            assert!(inherited.is_empty(), "{pid} has {inherited:?}");
            let foreign: Vec<_> = open
                .iter()
                .filter(|link| link.is_absolute() && !link.starts_with("/dev"))
                // What tells the shim of the owner's end; the engine has no business with it, nor has a box without owner.
                .filter(|link| detach || pid != shim || !link.to_string_lossy().contains("boxlite-presence"))
                .filter(|link| {
                    let roots = [fs::canonicalize(&home.path).unwrap(), workspace()];
                    !roots.iter().any(|root| link.starts_with(root))
                })
                .collect();
            assert!(foreign.is_empty(), "{pid} has open: {foreign:?}");
        }
        runtime.remove(id, true).await.unwrap();
    }
    for fd in copies {
        // SAFETY: closes a copy that this test made and nobody else knows.
        unsafe { libc::close(fd) };
    }
}
