//! Credential helpers: programs called `docker-credential-NAME` that know a user's passwords.
//!
//! Owns one question to one of them. The program is this process's child for a moment: it is waited for, with whatever a
//! host that reaps all children leaves of that, and killed when it takes too long or nobody wants its answer any more.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;

/// A helper may ask the user to unlock something.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether the answer is still wanted.
const LOOK: Duration = Duration::from_millis(100);
/// No answer is longer.
const LONGEST: usize = 64 * 1024;

/// What a helper says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Login {
        user: String,
        secret: String,
    },
    /// It knows of no credentials for this server.
    Nothing,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Login {
    username: String,
    secret: String,
}

/// Asks the helper `name` for the credentials of `server`. Blocking; only on threads with all signals blocked, since the
/// program may not read what it is told. `path`: where to look for it, else in `PATH`.
pub(super) fn ask(
    name: &str,
    server: &str,
    path: Option<&OsStr>,
    abandoned: &AtomicBool,
) -> Result<Answer, String> {
    if name.contains('/') {
        return Err("its name has a '/' in it".to_owned());
    }
    let mut command = Command::new(format!("docker-credential-{name}"));
    if let Some(path) = path {
        command.env("PATH", path);
    }
    let child = command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = Reaped(child.map_err(|error| format!("it can't be started: {error}"))?);
    if let Some(mut input) = child.0.stdin.take() {
        // One that needs no telling has its answer ready all the same.
        let _ = input.write_all(server.as_bytes());
    }
    let told = read_all(&mut child.0, abandoned)?;
    // A host that reaps its children before us has taken the status; then the answer must do.
    let succeeded = child.0.wait().map_or(true, |status| status.success());
    match serde_json::from_slice::<Login>(&told) {
        Ok(Login { username, secret }) if succeeded => Ok(Answer::Login { user: username, secret }),
        _ => {
            let told = String::from_utf8_lossy(&told);
            let told = told.trim();
            if told.contains("credentials not found") {
                return Ok(Answer::Nothing);
            }
            Err(if succeeded {
                "its answer is no JSON of a login".to_owned()
            } else {
                format!("it says: {}", first_line(told))
            })
        }
    }
}

/// The answer, to its end. What it says never reaches an error whole: it may hold a secret.
fn read_all(child: &mut Child, abandoned: &AtomicBool) -> Result<Vec<u8>, String> {
    let Some(output) = child.stdout.as_mut() else { return Ok(Vec::new()) };
    let deadline = Instant::now() + PATIENCE;
    let mut told = Vec::new();
    let mut part = [0; 4096];
    loop {
        if abandoned.load(Ordering::Relaxed) || Instant::now() >= deadline {
            return Err(format!("it did not answer within {} s", PATIENCE.as_secs()));
        }
        let mut poll = libc::pollfd { fd: output.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd, which outlives the call.
        if unsafe { libc::poll(&mut poll, 1, LOOK.as_millis() as i32) } <= 0 {
            continue;
        }
        match output.read(&mut part) {
            Ok(0) => return Ok(told),
            Ok(count) if told.len() + count <= LONGEST => told.extend_from_slice(&part[..count]),
            Ok(_) => return Err("its answer is too long".to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("its answer can't be read: {error}")),
        }
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or("nothing").chars().filter(|c| !c.is_control()).take(200).collect()
}

/// Killed and waited for at the latest when it is dropped. Killing one that was waited for does nothing.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
