//! Long output: it comes whole, whoever else runs, stops reading, leaves or is killed.
//!
//! Every test has a machine of its own. What is written never repeats within four MiB, so that no byte can go missing, come
//! twice or come from another stream unseen.

#[path = "../support/again.rs"]
#[allow(dead_code)]
mod again;
mod leaving;
mod whole;

use std::time::Duration;

use boxlite::images::ProgressSink;
use boxlite::litebox::{ExecBytes, Execution, OutputMode};
use boxlite::{BoxCommand, BoxOptions, BoxliteRuntime, LiteBox, RootfsSpec};
use boxlite_test_utils::home::{PerTestBoxHome, busybox_image};
use futures::StreamExt;
use sha2::{Digest, Sha256};

const FILE: u64 = 4 << 20;

/// A running box with files of noise in it. Dropped in this order: the runtime ends its box, then the home checks that
/// nothing is left.
struct Bench {
    sandbox: LiteBox,
    runtime: BoxliteRuntime,
    home: PerTestBoxHome,
}

impl Bench {
    async fn new(files: u64) -> Self {
        let home = PerTestBoxHome::new();
        let runtime = BoxliteRuntime::builder().home_dir(&home.path).build().expect("a runtime");
        let options = BoxOptions { rootfs: RootfsSpec::Image(busybox_image()), ..BoxOptions::default() };
        let sandbox = runtime.create(options, None).await.expect("a box");
        put_noise(&sandbox, files).await;
        Self { sandbox, runtime, home }
    }

    async fn start(&self, command: BoxCommand) -> Execution {
        self.sandbox.exec(command.stdout_mode(OutputMode::Pipe)).await.expect("an execution")
    }

    async fn end(self) {
        self.runtime.shutdown(Some(0)).await.expect("the end");
        drop(self.home);
    }
}

/// Makes `/noise0` and so on.
async fn put_noise(sandbox: &LiteBox, files: u64) {
    for number in 0..files {
        let path = format!("/noise{number}").into();
        sandbox.write_file(path, noise(number), 0o644, ProgressSink::none()).await.expect("a file");
    }
}

/// The content of `/noise{number}` (xorshift64*).
fn noise(number: u64) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ (number + 1);
    let words = std::iter::repeat_with(|| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    });
    words.take(FILE as usize / 8).flat_map(u64::to_le_bytes).collect()
}

/// Writes `/noise{number}` so many times.
fn repeated(number: u64, times: u64) -> BoxCommand {
    let names = format!("/noise{number}");
    BoxCommand::new("cat").args(std::iter::repeat_n(names, times as usize))
}

/// What is to come of [`repeated`].
fn expected(number: u64, times: u64) -> (u64, [u8; 32]) {
    let (noise, mut hash) = (noise(number), Sha256::new());
    for _ in 0..times {
        hash.update(&noise);
    }
    (times * FILE, hash.finalize().into())
}

/// Reads a stream to its end: how much it was, and its digest. A cut is a failure.
async fn digest(mut bytes: ExecBytes) -> (u64, [u8; 32]) {
    let (mut hash, mut length) = (Sha256::new(), 0);
    while let Some(piece) = bytes.next().await {
        let piece = piece.expect("no cut");
        length += piece.len() as u64;
        hash.update(&piece);
    }
    (length, hash.finalize().into())
}

/// Reads at least so many bytes.
async fn some(bytes: &mut ExecBytes, least: u64) -> Vec<u8> {
    let mut all = Vec::new();
    while (all.len() as u64) < least {
        all.extend_from_slice(&bytes.next().await.expect("more of it").expect("no cut"));
    }
    all
}

/// The value of a future that must be there in time, however busy the machine is.
async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let deadline = Duration::from_secs(300);
    tokio::time::timeout(deadline, future).await.unwrap_or_else(|_| panic!("{what}: not within {deadline:?}"))
}
