//! Locks: one owner, patience that counts standing still only, and no files left.

use super::*;

const PATIENCE: Duration = Duration::from_secs(1);

fn locks(dir: &Path) -> Locks {
    Locks::open(dir.join("locks"), PATIENCE).expect("locks")
}

fn left(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("locks")).expect("the directory").count()
}

#[tokio::test]
async fn one_owner_at_a_time_and_no_file_after_the_last() {
    let dir = tempfile::tempdir().expect("a directory");
    // Two stores on one directory, as two runtimes in one process have them.
    let (one, two) = (locks(dir.path()), locks(dir.path()));
    let guard = one.acquire("a", "testing").await.expect("the lock");
    assert!(two.try_acquire("a", "trying").expect("an answer").is_none());
    assert!(two.try_acquire("b", "trying").expect("an answer").is_some());
    let waiter = tokio::spawn(async move { two.acquire("a", "waiting").await.map(drop) });
    tokio::time::sleep(PATIENCE / 3).await;
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
    let ((), taken) = tokio::join!(work, locks.acquire("a", "waiting"));
    drop(taken.expect("the owner worked all the time"));
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
                  fcntl($f, 6, $l) or die; syswrite($f, \"$$\\npulling y\\n\"); $| = 1; print \"ok\\n\"; sleep 60";
    let mut owner = std::process::Command::new("perl")
        .args(["-e", script])
        .arg(&path)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("perl");
    let mut ready = [0; 3];
    io::Read::read_exact(&mut owner.stdout.take().expect("its output"), &mut ready)
        .expect("the lock is taken");

    let error = locks.acquire("a", "waiting").await.expect_err("another process has it");
    let text = error.to_string();
    assert!(matches!(error, BoxliteError::Busy(_)), "{text}");
    assert!(text.contains(&format!("process {} (pulling y)", owner.id())), "{text}");

    // Two that wait here: both are told of the process, not of each other.
    let (one, two) = tokio::join!(locks.acquire("a", "one"), locks.acquire("a", "two"));
    for error in [one.expect_err("it is held"), two.expect_err("it is held")] {
        assert!(error.to_string().contains("pulling y"), "{error}");
    }
    owner.kill().expect("a kill");
    owner.wait().expect("its end");
    drop(locks.acquire("a", "working").await.expect("the lock of the dead is free"));
    assert_eq!(left(dir.path()), 0);
}
