//! Runs one command in a box of its own: `run HOME IMAGE COMMAND [ARGUMENT…]`.
//!
//! What the command reads and writes goes through this program's own stdin, stdout and stderr; its exit code becomes
//! this program's, a signal N becomes 128 + N as in a shell. The box is gone afterwards.
//!
//!     cargo run --release --example run ~/.boxlite oci:target/test-images/busybox echo hello

use std::ffi::OsString;
use std::io::{Read, Write};
use std::process::ExitCode;

use boxlite::litebox::{ExecBytes, ExecStdin, OutputMode};
use boxlite::runtime::options::BoxliteOptions;
use boxlite::{BoxCommand, BoxOptions, BoxliteError, BoxliteResult, BoxliteRuntime, RootfsSpec};
use futures::StreamExt;

/// What shells and `docker run` answer when the command could not be run at all.
const NOT_RUN: u8 = 125;

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(home), Some(image), Some(program)) = (arguments.next(), arguments.next(), arguments.next())
    else {
        eprintln!("usage: run HOME IMAGE COMMAND [ARGUMENT...]");
        return ExitCode::from(NOT_RUN);
    };
    match run(home, image, BoxCommand::new(program).args(arguments)).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("run: {error}\n{}", error.hint());
            ExitCode::from(error.exit_code().and_then(|code| u8::try_from(code).ok()).unwrap_or(NOT_RUN))
        }
    }
}

async fn run(home: OsString, image: OsString, command: BoxCommand) -> BoxliteResult<u8> {
    let runtime =
        BoxliteRuntime::new(BoxliteOptions { home_dir: home.into(), image_registries: Vec::new() })?;
    let rootfs = RootfsSpec::Image(image.to_string_lossy().into_owned());
    let sandbox = runtime.create(BoxOptions { rootfs, ..BoxOptions::default() }, None).await?;
    // `Pipe`: a slow reader of ours slows the command down instead of losing its output.
    let command = command.stdout_mode(OutputMode::Pipe).stderr_mode(OutputMode::Pipe);
    let mut execution = sandbox.exec(command).await?;
    if let Some(stdin) = execution.stdin() {
        feed(stdin);
    }
    let stdout = forward(execution.stdout().map(|stream| stream.bytes()), std::io::stdout());
    let stderr = forward(execution.stderr().map(|stream| stream.bytes()), std::io::stderr());
    let (stdout, stderr, result) = tokio::join!(stdout, stderr, execution.wait());
    // The box goes in any case; what went wrong before is told first.
    let removed = sandbox.stop().await;
    stdout.and(stderr)?;
    let code = result?.exit_code;
    removed?;
    Ok(u8::try_from(if code < 0 { 128 - code } else { code }).unwrap_or(u8::MAX))
}

/// Gives the command what this program is given. A thread of its own, since a read of the real stdin can't be called
/// off: the program ends without waiting for it.
fn feed(mut stdin: ExecStdin) {
    let runtime = tokio::runtime::Handle::current();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = std::io::stdin().read(&mut buffer) {
            // A command that has closed its stdin wants no more.
            if runtime.block_on(stdin.write_all(&buffer[..length])).is_err() {
                return;
            }
        }
        // Nor does one that has ended.
        stdin.close();
    });
}

/// Passes an output on as it comes, where there is one.
async fn forward(from: Option<ExecBytes>, mut to: impl Write) -> BoxliteResult<()> {
    let Some(mut from) = from else { return Ok(()) };
    while let Some(chunk) = from.next().await {
        let written = to.write_all(&chunk?).and_then(|()| to.flush());
        written.map_err(|error| BoxliteError::Storage(format!("cannot pass output on: {error}").into()))?;
    }
    Ok(())
}
