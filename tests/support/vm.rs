//! Opens runtimes and runs commands to their end, for tests that look into boxes.

use std::time::Duration;

use boxlite::litebox::OutputMode;
use boxlite::runtime::options::BoxliteOptions;
use boxlite::{BoxCommand, BoxliteRuntime, ImageRegistry, LiteBox};
use boxlite_test_utils::home::PerTestBoxHome;
use futures::TryStreamExt;

/// No command of a test takes longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(300);

/// A runtime on a test's home.
pub(crate) fn open(home: &PerTestBoxHome, registries: Vec<ImageRegistry>) -> BoxliteRuntime {
    let options = BoxliteOptions { home_dir: home.path.clone(), image_registries: registries };
    BoxliteRuntime::new(options).expect("a runtime opens on a test's home")
}

/// Runs a command: its exit code (negative: the signal) and every byte it wrote to stdout and stderr.
pub(crate) async fn run(sandbox: &LiteBox, command: BoxCommand) -> (i32, Vec<u8>, Vec<u8>) {
    let shown = format!("{command:?}").chars().take(300).collect::<String>();
    // Lossless however slow this reader is.
    let command = command.stdout_mode(OutputMode::Pipe).stderr_mode(OutputMode::Pipe);
    let running = async {
        let mut execution = sandbox.exec(command).await.unwrap_or_else(|error| panic!("{shown}: {error}"));
        let stdout = execution.stdout().expect("stdout").bytes().try_collect::<Vec<_>>();
        let stderr = execution.stderr().expect("stderr").bytes().try_collect::<Vec<_>>();
        let (stdout, stderr) = tokio::join!(stdout, stderr);
        let whole = |chunks: boxlite::BoxliteResult<Vec<_>>| {
            chunks.unwrap_or_else(|error| panic!("{shown}: {error}")).concat()
        };
        let result = execution.wait().await.unwrap_or_else(|error| panic!("{shown}: {error}"));
        (result.exit_code, whole(stdout), whole(stderr))
    };
    tokio::time::timeout(PATIENCE, running).await.unwrap_or_else(|_| panic!("no end of {shown}"))
}
