//! A box whose virtual machine the host's kernel kills for want of memory says so. As root, who can make a control group
//! with little of it; on a machine that has none to make, the test says that and shows nothing.

#[path = "support/again.rs"]
mod again;
#[path = "support/processes.rs"]
mod processes;
#[path = "support/small_box.rs"]
mod small_box;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use boxlite::litebox::EndReason;
use boxlite::{BoxCommand, BoxOptions, BoxStatus, BoxliteError, BoxliteRuntime};
use boxlite_test_utils::home::PerTestBoxHome;

use again::{Another, order, say};
use processes::processes_naming;
use small_box::small_box;

/// What the group may have; the box's machine alone takes more when its guest uses all of its own.
const LIMIT: &str = "314572800";
/// What no machine boots with.
const TOO_LITTLE: &str = "67108864";
/// Memory of the box, and what a command in it takes.
const MEMORY_MIB: u32 = 512;
const HOG: &str = "exec dd if=/dev/zero of=/dev/null bs=400M count=1";

/// Where a group's limit is, by the version of control groups.
const LIMITS: [&str; 2] = ["memory.limit_in_bytes", "memory.max"];

/// A control group with little memory; removed at drop.
struct Group(PathBuf);

impl Group {
    fn make() -> io::Result<Self> {
        let name = format!("boxlite-test-{}", std::process::id());
        let old = Path::new("/sys/fs/cgroup/memory");
        let (at, limits) = if old.join(LIMITS[0]).exists() {
            (old.join(name), [(LIMITS[0], LIMIT), ("memory.memsw.limit_in_bytes", LIMIT)])
        } else {
            let all = Path::new("/sys/fs/cgroup");
            fs::write(all.join("cgroup.subtree_control"), "+memory")?;
            (all.join(name), [(LIMITS[1], LIMIT), ("memory.swap.max", "0")])
        };
        fs::create_dir(&at)?;
        let group = Self(at);
        fs::write(group.0.join(limits[0].0), limits[0].1)?;
        // Swap is not counted everywhere.
        let _ = fs::write(group.0.join(limits[1].0), limits[1].1);
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        // The last process of it may not be reaped yet.
        while fs::remove_dir(&self.0).is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A program in the group: its box takes what there is not, then its next box is killed by somebody.
#[tokio::test]
async fn as_a_program_with_little_memory() {
    let Some(order) = order() else { return };
    let (group, home) = order.split_once(' ').unwrap();
    fs::write(Path::new(group).join("cgroup.procs"), "0").unwrap();
    let runtime = BoxliteRuntime::builder().home_dir(home).spares(0).template_space(0).build().unwrap();
    let options = BoxOptions { memory_mib: Some(MEMORY_MIB), ..small_box() };
    let sandbox = runtime.create(options, None).await.unwrap();
    sandbox.start().await.unwrap();
    let hog = sandbox.exec(BoxCommand::new("sh").args(["-c", HOG])).await.unwrap();
    let end = sandbox.wait().await.unwrap();
    assert_eq!(end.reason, EndReason::OutOfMemory, "{}", end.message);
    assert!(
        end.message.contains("want of memory") && end.message.contains("or the box less"),
        "{}",
        end.message
    );
    drop(hog);
    let again = runtime.get(sandbox.id().as_str()).await.unwrap().unwrap();
    let info = again.info();
    assert_eq!((info.status, info.failure.as_deref()), (BoxStatus::Failed, Some(end.message.as_str())));

    // A kill is not taken for that because there was one before the machine.
    again.start().await.unwrap();
    let shim = again.info().pid.unwrap();
    let id = again.id().as_str().to_owned();
    let engine = processes_naming(&id).into_iter().find(|pid| *pid != shim).unwrap();
    // SAFETY: kill takes two integers.
    unsafe { libc::kill(i32::try_from(engine).unwrap(), libc::SIGKILL) };
    let end = again.wait().await.unwrap();
    assert_eq!(end.reason, EndReason::Crashed, "{}", end.message);

    // Killed while it starts.
    let again = runtime.get(&id).await.unwrap().unwrap();
    fs::write(
        LIMITS.iter().map(|file| Path::new(group).join(file)).find(|file| file.exists()).unwrap(),
        TOO_LITTLE,
    )
    .unwrap();
    let error = again.start().await.unwrap_err();
    assert!(matches!(error, BoxliteError::ResourceExhausted(_)), "{error:?}");
    assert!(
        error.to_string().contains("memory") && error.hint().contains("memory"),
        "{error} {}",
        error.hint()
    );
    runtime.remove(&id, true).await.unwrap();
    runtime.shutdown(None).await.unwrap();
    say("told");
}

#[tokio::test]
async fn a_machine_that_the_host_kills_for_want_of_memory_is_told_from_a_crash() {
    let group = match Group::make() {
        Ok(group) => group,
        Err(error) => {
            println!("skipped: no control group with little memory can be made here: {error}");
            return;
        }
    };
    let home = PerTestBoxHome::new();
    let order = format!("{} {}", group.0.display(), home.path.display());
    let mut program = Another::start("as_a_program_with_little_memory", &order);
    assert_eq!(program.hear(), "told");
    let deadline = Instant::now() + Duration::from_secs(60);
    while program.ended().is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(program.ended().is_some_and(|status| status.success()));
    drop(group);
}
