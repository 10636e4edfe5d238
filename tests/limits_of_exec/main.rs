//! What executions in a box must bear: how much goes in, how many run at once, how they end, and what they may leave.
//!
//! Every test has a machine of its own.

mod amounts;
mod crowded;
mod ends;
mod inside;
mod many;
mod shares;
mod streams;
mod terminal;
mod users;
#[path = "../support/vm.rs"]
mod vm;

use std::time::Duration;

use boxlite::{BoxCommand, BoxOptions, BoxliteRuntime, Execution, LiteBox, RootfsSpec};
use boxlite_test_utils::home::{PerTestBoxHome, busybox_image};
use futures::StreamExt;
use tokio::sync::{RwLock, RwLockReadGuard};

/// Held for writing by the test that counts this process's descriptors, for reading by all others.
static DESCRIPTORS: RwLock<()> = RwLock::const_new(());

/// A running box. Dropped in this order: the runtime ends its box, then the home checks that nothing is left.
struct Bench {
    sandbox: LiteBox,
    runtime: BoxliteRuntime,
    home: PerTestBoxHome,
    _others_may_run: Option<RwLockReadGuard<'static, ()>>,
}

impl Bench {
    async fn new() -> Self {
        Self::with(BoxOptions::default()).await
    }

    async fn with(options: BoxOptions) -> Self {
        let guard = DESCRIPTORS.read().await;
        let mut bench = Self::alone(options).await;
        bench._others_may_run = Some(guard);
        bench
    }

    /// For who holds [`DESCRIPTORS`] itself.
    async fn alone(options: BoxOptions) -> Self {
        let home = PerTestBoxHome::new();
        let runtime = vm::open(&home, Vec::new());
        let options = BoxOptions { rootfs: RootfsSpec::Image(busybox_image()), ..options };
        let sandbox = runtime.create(options, None).await.expect("a box");
        sandbox.start().await.expect("the box starts");
        Self { sandbox, runtime, home, _others_may_run: None }
    }

    /// Runs a command that must not write to stderr: its exit code and stdout.
    async fn say(&self, command: BoxCommand) -> (i32, String) {
        let (code, stdout, stderr) = vm::run(&self.sandbox, command).await;
        assert_eq!(String::from_utf8_lossy(&stderr), "");
        (code, String::from_utf8(stdout).expect("UTF-8"))
    }

    /// An execution of a script that has said that it is ready.
    async fn ready(&self, script: &str) -> Execution {
        let mut execution = self.sandbox.exec(shell(script)).await.expect("an execution");
        let mut stdout = execution.stdout().expect("stdout");
        let first = within("its readiness", stdout.next()).await.expect("the script says when it is ready");
        assert!(first.starts_with("ready"), "{first:?}");
        execution
    }

    async fn end(self) {
        self.runtime.shutdown(Some(0)).await.expect("the end");
        drop(self.home);
    }
}

fn shell(script: &str) -> BoxCommand {
    BoxCommand::new("sh").args(["-c", script])
}

/// For what a right product does soon, however busy the machine is; less than anything here sleeps.
const PATIENCE: Duration = Duration::from_secs(200);

/// The value of a future that must be there in time.
async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}
