//! Locks: one owner, bounded waits, turns, and no files left; between tasks and between processes.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::*;

/// Of who is to wait in vain. A busy machine may take a second for what takes none.
const PATIENCE: Duration = Duration::from_secs(3);
/// Of who is to have the lock in the end.
const ENOUGH: Duration = Duration::from_secs(60);

fn locks(dir: &Path) -> Locks {
    patient(dir, PATIENCE)
}

fn patient(dir: &Path, patience: Duration) -> Locks {
    Locks::open(dir.join("locks"), patience).expect("locks")
}

fn left(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("locks")).expect("the directory").count()
}

#[tokio::test]
async fn one_owner_at_a_time_and_no_file_after_the_last() {
    let dir = tempfile::tempdir().expect("a directory");
    // Two stores on one directory, as two runtimes in one process have them.
    let (one, two) = (patient(dir.path(), ENOUGH), patient(dir.path(), ENOUGH));
    let guard = one.acquire("a", "testing").await.expect("the lock");
    assert!(two.try_acquire("a", "trying").expect("an answer").is_none());
    assert!(two.try_acquire("b", "trying").expect("an answer").is_some());
    let waiter = tokio::spawn(async move { two.acquire("a", "waiting").await.map(drop) });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiter.is_finished());
    drop(guard);
    waiter.await.expect("no panic").expect("the lock");
    assert_eq!(left(dir.path()), 0);
}

#[tokio::test]
async fn who_stands_still_is_named_and_who_works_is_waited_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let locks = locks(dir.path());
    let guard = locks.acquire("a", "pulling x").await.expect("the lock");
    let error = locks.acquire("a", "waiting").await.expect_err("it is held");
    assert!(matches!(error, BoxliteError::Busy(_)));
    let text = error.to_string();
    assert!(text.contains("pulling x") && text.contains(&std::process::id().to_string()), "{text}");

    let work = async {
        for _ in 0..8 {
            guard.progress();
            tokio::time::sleep(PATIENCE / 5).await;
        }
        drop(guard);
    };
    let ((), taken) = tokio::join!(work, locks.acquire_behind_work("a", "waiting"));
    drop(taken.expect("the owner worked all the time"));
    assert_eq!(left(dir.path()), 0);
}

/// Another process, which ends with the test.
struct Ended(Child);

impl Ended {
    /// Starts it and waits until it says that it is ready.
    fn after_ready(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("another process");
        let mut output = child.stdout.take().expect("its output");
        let (mut said, mut byte) = (Vec::new(), [0]);
        while !said.ends_with(b"ready\n") {
            output.read_exact(&mut byte).expect("its readiness");
            said.extend(byte);
        }
        // What it says later goes nowhere, and must not end it.
        child.stdout = Some(output);
        Self(child)
    }

    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.kill();
    }
}

const ORDER: &str = "BOXLITE_TEST_LOCK";

/// What another process does: this test binary is started again with only this test, and an order in the environment.
/// In a normal run there is no order, and nothing to do.
#[tokio::test]
async fn as_another_process() {
    let Ok(order) = std::env::var(ORDER) else { return };
    let (role, dir) = order.split_once('|').expect("a role and a directory");
    match role {
        "again and again" => again_and_again(Path::new(dir)),
        "random" => random_uses(Path::new(dir)).await,
        role => panic!("{role}"),
    }
}

fn another_process(role: &str, dir: &Path) -> Command {
    let module = module_path!().split_once("::").map_or("", |(_, path)| path);
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", &format!("{module}::as_another_process"), "--nocapture"]);
    command.env(ORDER, format!("{role}|{}", dir.display()));
    command
}

/// Has the lock nearly all the time: takes it at once when it has let go.
fn again_and_again(dir: &Path) {
    let locks = patient(dir, ENOUGH);
    loop {
        let guard = locks.acquire_blocking("a", "hogging").expect("the lock");
        println!("ready");
        std::thread::sleep(Duration::from_millis(20));
        drop(guard);
    }
}

#[tokio::test]
async fn who_waits_has_the_next_turn_before_a_process_that_takes_the_lock_again_and_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let locks = locks(dir.path());
    let mut hog = Ended::after_ready(&mut another_process("again and again", dir.path()));
    for _ in 0..20 {
        drop(locks.acquire("a", "waiting").await.expect("a turn, each time"));
        // The other one has it again by then.
        tokio::time::sleep(POLL * 2).await;
    }
    hog.kill();
    drop(locks.acquire("a", "tidying").await.expect("the lock of the dead is free"));
    assert_eq!(left(dir.path()), 0);
}

#[tokio::test]
async fn a_wait_is_bounded_however_often_the_owner_changes() {
    let dir = tempfile::tempdir().expect("a directory");
    let locks = locks(dir.path());
    let path = locks.path("a");
    std::fs::write(&path, "").expect("a lock file");
    // For a waiter it looks as if one process after another had it.
    let script = "open(my $f, '+<', $ARGV[0]) or die; my $l = pack('s s x4 q q i x4', 1, 0, 0, 0, 0); \
                  fcntl($f, 6, $l) or die; $| = 1; print \"ready\\n\"; \
                  for (my $n = 1000; ; $n++) { sysseek($f, 0, 0); syswrite($f, \"$n\\nstopping\\n\"); \
                  select(undef, undef, undef, 0.1) }";
    let _owner = Ended::after_ready(Command::new("perl").args(["-e", script]).arg(&path));
    let began = Instant::now();
    let (error, behind_work) = tokio::join!(locks.acquire("a", "waiting"), async {
        let other = Locks::open(dir.path().join("locks"), PATIENCE).expect("locks");
        tokio::time::timeout(PATIENCE * 3, other.acquire_behind_work("a", "waiting for its work")).await
    });
    let error = error.expect_err("it is held");
    assert!(error.to_string().contains("(stopping)"), "{error}");
    assert!(behind_work.is_err(), "work that goes on is waited for: {behind_work:?}");
    assert!(began.elapsed() >= PATIENCE * 3);

    let began = Instant::now();
    assert!(matches!(locks.acquire("a", "waiting").await, Err(BoxliteError::Busy(_))));
    assert!(began.elapsed() >= PATIENCE && began.elapsed() < PATIENCE * 5, "{:?}", began.elapsed());
    let began = Instant::now();
    let error = locks.acquire_blocking("a", "waiting").expect_err("it is held");
    assert!(error.to_string().contains("(stopping)"), "{error}");
    assert!(began.elapsed() >= PATIENCE && began.elapsed() < PATIENCE * 5, "{:?}", began.elapsed());
}

#[tokio::test]
async fn tasks_of_one_process_are_served_in_order_and_no_wait_is_longer_for_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let locks = locks(dir.path());
    let began = Instant::now();
    let one_after_another = (0..5).map(|number| {
        let locks = locks.clone();
        async move {
            let guard = locks.acquire("a", &format!("task {number}")).await;
            let waited = began.elapsed();
            if guard.is_ok() {
                tokio::time::sleep(PATIENCE * 7 / 20).await;
            }
            (guard.map(drop), waited)
        }
    });
    let outcomes = futures::future::join_all(one_after_another).await;
    for (number, (outcome, waited)) in outcomes.into_iter().enumerate() {
        if number < 3 {
            outcome.unwrap_or_else(|error| panic!("task {number}: {error}"));
        } else {
            let error = outcome.expect_err("its time was over");
            assert!(error.to_string().contains("(task 2)"), "{error}");
            assert!(waited >= PATIENCE && waited < PATIENCE * 2, "task {number}: {waited:?}");
        }
    }
    assert_eq!(left(dir.path()), 0);
}

/// Waits, tries, gives up, at random; whoever has the lock makes sure that nobody else has.
async fn random_uses(dir: &Path) {
    let locks = patient(dir, ENOUGH);
    let until = Instant::now() + Duration::from_secs(2);
    let marker = dir.join("owner");
    println!("ready");
    let mut random = u64::from(std::process::id());
    let mut had = 0;
    let at_last = until + ENOUGH;
    while Instant::now() < until || had <= 10 && Instant::now() < at_last {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (kind, micros) = ((random >> 60) % 3, (random >> 40) % 4000);
        let wait = locks.acquire("a", "using");
        let guard = match kind {
            0 => locks.try_acquire("a", "using").expect("an answer"),
            1 => tokio::time::timeout(Duration::from_micros(micros), wait)
                .await
                .ok()
                .map(|got| got.expect("the lock")),
            _ => Some(wait.await.expect("the lock")),
        };
        if let Some(guard) = guard {
            File::create_new(&marker).expect("nobody else has the lock");
            std::thread::sleep(Duration::from_micros(micros / 4));
            std::fs::remove_file(&marker).expect("it is still ours");
            drop(guard);
            had += 1;
        }
    }
    assert!(had > 10, "had it {had} times only");
}

#[test]
fn processes_that_wait_and_give_up_at_random_exclude_each_other_and_leave_no_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut processes: Vec<Ended> =
        (0..4).map(|_| Ended::after_ready(&mut another_process("random", dir.path()))).collect();
    for process in &mut processes {
        assert!(process.0.wait().expect("its end").success());
    }
    assert_eq!(left(dir.path()), 0);
}

#[tokio::test]
async fn another_process_is_named_by_pid_and_its_death_frees_the_lock() {
    let dir = tempfile::tempdir().expect("a directory");
    let locks = locks(dir.path());
    let path = locks.path("a");
    std::fs::write(&path, "").expect("a lock file");
    // A process that takes the same kind of lock, says who it is, and waits to be killed.
    let script = "open(my $f, '+<', $ARGV[0]) or die; my $l = pack('s s x4 q q i x4', 1, 0, 0, 0, 0); \
                  fcntl($f, 6, $l) or die; syswrite($f, \"$$\\npulling y\\n\"); $| = 1; print \"ready\\n\"; sleep 600";
    let mut owner = Ended::after_ready(Command::new("perl").args(["-e", script]).arg(&path));

    let error = locks.acquire("a", "waiting").await.expect_err("another process has it");
    let text = error.to_string();
    assert!(matches!(error, BoxliteError::Busy(_)), "{text}");
    assert!(text.contains(&format!("process {} (pulling y)", owner.0.id())), "{text}");

    // Two that wait here: both are told of the process, not of each other.
    let (one, two) = tokio::join!(locks.acquire("a", "one"), locks.acquire("a", "two"));
    for error in [one.expect_err("it is held"), two.expect_err("it is held")] {
        assert!(error.to_string().contains("pulling y"), "{error}");
    }
    owner.kill();
    drop(locks.acquire("a", "working").await.expect("the lock of the dead is free"));
    assert_eq!(left(dir.path()), 0);
}
