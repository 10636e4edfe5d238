//! Copies that are large enough to go by the transfer disk: every byte, many at once, cut off, and where there is no room.
//!
//! One box for all.

#[path = "support/small_box.rs"]
mod small_box;
#[path = "support/vm.rs"]
mod vm;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use boxlite::{BoxCommand, BoxOptions, BoxliteError, CopyOptions, LiteBox};
use boxlite_test_utils::home::PerTestBoxHome;

const MIB: usize = 1 << 20;

struct Bench {
    sandbox: LiteBox,
    /// The box's directory on the host.
    box_dir: PathBuf,
    dir: tempfile::TempDir,
}

impl Bench {
    async fn say(&self, script: &str) -> String {
        let (code, stdout, stderr) = vm::run(&self.sandbox, BoxCommand::new("sh").args(["-c", script])).await;
        assert_eq!((code, &*String::from_utf8_lossy(&stderr)), (0, ""), "{script}");
        String::from_utf8_lossy(&stdout).trim_end().to_owned()
    }

    fn host(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn into(&self, from: &Path, to: &str) -> Result<(), BoxliteError> {
        self.sandbox.copy_into(from, to, CopyOptions::default()).await
    }

    async fn out(&self, from: &str, to: &Path) -> Result<(), BoxliteError> {
        self.sandbox.copy_out(from, to, CopyOptions::default()).await
    }

    /// Bytes of the transfer disk that were ever used.
    fn used(&self) -> u64 {
        fs::metadata(self.box_dir.join("transfer")).expect("the transfer disk").blocks() * 512
    }
}

/// Bytes that tell where they are, and from which file.
fn content(length: usize, seed: u64) -> Vec<u8> {
    let words = (0..length as u64 / 8 + 1)
        .flat_map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed).to_le_bytes());
    words.take(length).collect()
}

#[tokio::test]
async fn large_copies() {
    let home = PerTestBoxHome::new();
    let runtime = vm::open(&home, Vec::new());
    let options = BoxOptions { disk_size_gb: Some(1), ..small_box::small_box() };
    let sandbox = runtime.create(options, None).await.expect("a box");
    sandbox.start().await.expect("it starts");
    let box_dir = home.path.join("boxes").join(sandbox.id().as_str());
    let bench = Bench { sandbox, box_dir, dir: tempfile::tempdir().expect("a directory") };

    every_length_arrives(&bench).await;
    holes_stay_holes(&bench).await;
    many_go_at_once(&bench).await;
    who_leaves_disturbs_nobody(&bench).await;
    a_full_box_is_named(&bench).await;
    assert!(bench.box_dir.join("transfer").exists(), "it is there as long as the machine");
    without_its_disk_it_goes_by_stream(&bench).await;

    bench.sandbox.stop().await.expect("a stop");
    let again = runtime.get(bench.sandbox.id().as_str()).await.expect("the home").expect("the box");
    again.start().await.expect("it starts again");
    assert_eq!(bench.used(), 0, "each start makes it anew");
    again.stop().await.expect("a stop");
    assert!(!bench.box_dir.join("transfer").exists(), "it goes with the machine");
    runtime.shutdown(Some(0)).await.expect("the end");
}

async fn every_length_arrives(bench: &Bench) {
    fs::write(bench.host("small"), content(200_000, 7)).expect("a file");
    bench.into(&bench.host("small"), "/small").await.expect("into the box");
    assert_eq!(bench.used(), 0, "what is small goes by stream");
    let lengths =
        [256 * 1024 - 1, 256 * 1024 + 1, MIB - 1, MIB, 2 * MIB, 2 * MIB + 511, 8 * MIB + 4097, 21 * MIB + 7];
    fs::create_dir(bench.host("lengths")).expect("a directory");
    for length in lengths {
        fs::write(bench.host(&format!("lengths/{length}")), content(length, length as u64)).expect("a file");
    }
    // The second place has no way around its page cache.
    for place in ["/lengths", "/dev/shm/lengths"] {
        bench.into(&bench.host("lengths"), place).await.expect("into the box");
        let sizes = bench.say(&format!("cd {place}; stat -c %s * | sort -n")).await;
        assert_eq!(sizes, lengths.map(|length| length.to_string()).join("\n"));
        let back = bench.host("back");
        bench.out(place, &back).await.expect("out of the box");
        for length in lengths {
            let name = length.to_string();
            assert!(
                fs::read(back.join(&name)).expect("a file") == content(length, length as u64),
                "{place} {name}"
            );
        }
        fs::remove_dir_all(back).expect("it goes");
    }
    assert!(bench.used() > 0, "what is large goes by the transfer disk");
    let sums = bench.say("sha256sum /lengths/* | cut -c1-64").await;
    assert_eq!(sums, bench.say("sha256sum /dev/shm/lengths/* | cut -c1-64").await, "as the box sees them");
    // What the box has only in its page cache.
    bench.say("cat /lengths/* > /fresh").await;
    bench.out("/fresh", &bench.host("fresh")).await.expect("out of the box");
    let total: usize = lengths.iter().sum();
    assert_eq!(fs::metadata(bench.host("fresh")).expect("a file").len(), total as u64);
    bench.say("rm -r /lengths /dev/shm/lengths /fresh").await;
}

async fn holes_stay_holes(bench: &Bench) {
    let sparse = bench.host("sparse");
    let file = File::create(&sparse).expect("a file");
    file.set_len(200 * MIB as u64 + 3).expect("its length");
    for (at, seed) in [(0, 1), (50 * MIB + 4096, 2), (150 * MIB, 3)] {
        file.write_all_at(&content(3 * MIB + 5, seed), at as u64).expect("its content");
    }
    bench.into(&sparse, "/sparse").await.expect("into the box");
    let kib: u64 = bench.say("du -k /sparse | cut -f1").await.parse().expect("a number");
    assert!(kib < 20 * 1024, "{kib} KiB");
    let back = bench.host("sparse-back");
    bench.out("/sparse", &back).await.expect("out of the box");
    assert!(fs::metadata(&back).expect("a file").blocks() * 512 < 20 * MIB as u64);
    assert!(fs::read(&back).expect("its bytes") == fs::read(&sparse).expect("its bytes"));
    bench.say("rm /sparse").await;
}

async fn many_go_at_once(bench: &Bench) {
    const COPIES: u64 = 12;
    let each = |number: u64| async move {
        let (from, back) = (bench.host(&format!("many-{number}")), bench.host(&format!("back-{number}")));
        let bytes = content(5 * MIB + number as usize, number);
        fs::write(&from, &bytes).expect("a file");
        let place = format!("/many/{number}");
        bench.into(&from, &place).await.expect("into the box");
        bench.out(&place, &back).await.expect("out of the box");
        assert!(fs::read(&back).expect("a file") == bytes, "copy {number}");
    };
    futures::future::join_all((0..COPIES).map(each)).await;
    bench.say("rm -r /many").await;
}

/// The lane of a copy that was cut off is another's at once.
async fn who_leaves_disturbs_nobody(bench: &Bench) {
    let large = bench.host("large");
    fs::write(&large, content(64 * MIB, 99)).expect("a file");
    bench.into(&large, "/large").await.expect("into the box");
    for round in 0..8_u64 {
        let patience = Duration::from_millis(5 + round * 12);
        let cut_in = tokio::time::timeout(patience, bench.into(&large, "/cut")).await;
        let bytes = content(6 * MIB, round);
        let (from, back) = (bench.host("after"), bench.host("after-back"));
        fs::write(&from, &bytes).expect("a file");
        bench.into(&from, "/after").await.expect("into the box");
        let cut_out = tokio::time::timeout(patience, bench.out("/large", &bench.host("cut"))).await;
        bench.out("/after", &back).await.expect("out of the box");
        assert!(fs::read(&back).expect("a file") == bytes, "round {round}");
        // Whole or not there at all; it may have been done when its caller left.
        let whole = 64 * MIB as u64;
        let there = bench.say("[ ! -e /cut ] || stat -c %s /cut").await;
        assert!(
            there == whole.to_string() || (there.is_empty() && cut_in.is_err()),
            "round {round}: {there}"
        );
        match fs::metadata(bench.host("cut")) {
            Ok(found) => assert_eq!(found.len(), whole, "round {round}"),
            Err(_) => assert!(cut_out.is_err(), "round {round}"),
        }
        bench.say("rm -f /cut").await;
        let _ = fs::remove_file(bench.host("cut"));
    }
    bench.say("rm /large /after").await;
}

async fn a_full_box_is_named(bench: &Bench) {
    let free = "df -k / | tail -1 | awk '{print $4}'";
    bench.say("sync").await;
    let before: u64 = bench.say(free).await.parse().expect("a number");
    bench.say(&format!("fallocate -l {}k /ballast", before - 24 * 1024)).await;
    let error = bench.into(&bench.host("large"), "/too-large").await.expect_err("there is no room");
    assert!(matches!(&error, BoxliteError::ResourceExhausted(_)), "{error}");
    assert!(error.to_string().contains("/too-large"), "{error}");
    assert_eq!(bench.say("rm /ballast; ls -a / | grep -e too-large -e boxlite || true").await, "");
    bench.into(&bench.host("large"), "/fits").await.expect("there is room again");
}

/// As on a host that has no room for it.
async fn without_its_disk_it_goes_by_stream(bench: &Bench) {
    fs::remove_file(bench.box_dir.join("transfer")).expect("its file");
    let (from, back) = (bench.host("by-stream"), bench.host("by-stream-back"));
    let bytes = content(9 * MIB + 5, 5);
    fs::write(&from, &bytes).expect("a file");
    bench.into(&from, "/by-stream").await.expect("into the box");
    bench.out("/by-stream", &back).await.expect("out of the box");
    assert!(fs::read(&back).expect("a file") == bytes);
}
