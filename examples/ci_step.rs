//! A step of continuous integration: `ci_step IMAGE SCRIPT [ARTIFACT DESTINATION]`.
//!
//! Copies the current directory into a box of the image, runs the script there with `sh -e`, passes its output on as it
//! comes, and brings ARTIFACT, a path below that directory, back to DESTINATION if the script succeeded. Its exit code is
//! this program's; a step that can't be run or takes more than half an hour is 125. The checkout of the host is never
//! written to, and nothing of the box is left.
//!
//!     cargo run --release --example ci_step rust:1-slim 'cargo test && cargo build --release' target/release/app app

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use boxlite::litebox::{ExecBytes, OutputMode};
use boxlite::{
    BoxCommand, BoxOptions, BoxliteError, BoxliteOptions, BoxliteResult, BoxliteRuntime, CopyOptions,
    LiteBox, RootfsSpec,
};
use futures::StreamExt;

/// Where the checkout lies in the box.
const WORKSPACE: &str = "/workspace";
const LONGEST: Duration = Duration::from_secs(30 * 60);
const NOT_RUN: u8 = 125;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (image, script, artifact) = match arguments.as_slice() {
        [image, script] => (image, script, None),
        [image, script, artifact, destination] => (image, script, Some((artifact, destination))),
        _ => {
            eprintln!("usage: ci_step IMAGE SCRIPT [ARTIFACT DESTINATION]");
            return ExitCode::from(NOT_RUN);
        }
    };
    match step(image, script, artifact).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("ci_step: {error}\n{}", error.hint());
            ExitCode::from(NOT_RUN)
        }
    }
}

async fn step(image: &str, script: &str, artifact: Option<(&String, &String)>) -> BoxliteResult<u8> {
    let runtime = BoxliteRuntime::new(BoxliteOptions::default())?;
    let rootfs = RootfsSpec::Image(image.to_owned());
    let sandbox =
        runtime.create(BoxOptions { rootfs, auto_remove: true, ..BoxOptions::default() }, None).await?;
    let outcome = inside(&sandbox, script, artifact).await;
    // The box goes in any case; what went wrong before is told first.
    let removed = sandbox.stop().await;
    let code = outcome?;
    removed?;
    Ok(code)
}

async fn inside(sandbox: &LiteBox, script: &str, artifact: Option<(&String, &String)>) -> BoxliteResult<u8> {
    sandbox.copy_into(".", WORKSPACE, CopyOptions::default()).await?;
    let command = BoxCommand::new("sh")
        .args(["-ec", script])
        .working_dir(WORKSPACE)
        .env("CI", "true")
        .timeout(LONGEST)
        .stdout_mode(OutputMode::Pipe)
        .stderr_mode(OutputMode::Pipe);
    let mut execution = sandbox.exec(command).await?;
    let stdout = forward(execution.stdout().map(|stream| stream.bytes()), std::io::stdout());
    let stderr = forward(execution.stderr().map(|stream| stream.bytes()), std::io::stderr());
    let (stdout, stderr, result) = tokio::join!(stdout, stderr, execution.wait());
    stdout.and(stderr)?;
    // Negative: a signal, which a shell would tell as 128 and its number.
    let code = match result?.exit_code {
        code @ 0.. => code,
        signal => 128 - signal,
    };
    if let (0, Some((artifact, destination))) = (code, artifact) {
        let artifact = format!("{WORKSPACE}/{artifact}");
        sandbox.copy_out(artifact, Path::new(destination), CopyOptions::default()).await?;
    }
    Ok(u8::try_from(code).unwrap_or(NOT_RUN))
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
