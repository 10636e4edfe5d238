//! podman beside boxes: the same image in a store of its own, and what both ran on.
#![allow(dead_code, reason = "each benchmark uses a part")]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use boxlite_test_utils::home::busybox_image;
use serde_json::{Value, json};

/// What the store calls the image that boxes have, too.
pub(crate) const IMAGE: &str = "localhost/bench:latest";
/// Less than any host's: podman's own defaults are more than some allow to be set.
const NOFILE: &str = "--ulimit=nofile=1024:1024";
const NPROC: &str = "--ulimit=nproc=512:512";

/// podman with a store of its own, which goes with it.
pub(crate) struct Podman {
    dir: PathBuf,
}

impl Podman {
    pub(crate) fn new(dir: PathBuf) -> Self {
        fs::create_dir_all(&dir).expect("a directory for podman");
        let podman = Self { dir };
        podman.pull(&busybox_image(), IMAGE);
        podman
    }

    /// Takes an image into the store, and calls it `tag` there.
    pub(crate) fn pull(&self, reference: &str, tag: &str) {
        let pulled = self.output(&["pull", "-q", reference]);
        let id = pulled.trim().lines().last().unwrap_or_default().to_owned();
        self.output(&["tag", &id, tag]);
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command.arg("--root").arg(self.dir.join("root")).arg("--runroot").arg(self.dir.join("run"));
        // crun refuses hosts that have both versions of control groups.
        command
            .args(["--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "none"])
            .args(words);
        command
    }

    pub(crate) fn output(&self, words: &[&str]) -> String {
        let output = self.command(words).stderr(Stdio::inherit()).output().expect("podman runs");
        assert!(output.status.success(), "podman {words:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    pub(crate) fn run_and_remove(&self) -> Duration {
        self.run_and_remove_of(IMAGE)
    }

    pub(crate) fn run_and_remove_of(&self, tag: &str) -> Duration {
        let began = Instant::now();
        let said = self.output(&["run", "--rm", "--network=none", NOFILE, NPROC, tag, "echo", "hello"]);
        assert_eq!(said, "hello\n");
        began.elapsed()
    }

    pub(crate) fn start(&self) -> String {
        self.output(&["run", "-d", "--network=none", NOFILE, NPROC, IMAGE, "sleep", "100000"])
            .trim()
            .to_owned()
    }

    pub(crate) fn exec(&self, container: &str) -> Duration {
        let began = Instant::now();
        self.output(&["exec", container, "true"]);
        began.elapsed()
    }

    /// A container's stdout through a pipe: how many bytes it has.
    pub(crate) fn piped(&self, words: &[&str]) -> u64 {
        let begun = [&["run", "--rm", "--network=none", NOFILE, NPROC, IMAGE], words].concat();
        let mut child =
            self.command(&begun).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("podman runs");
        let mut stdout = child.stdout.take().expect("a pipe");
        let (mut total, mut buffer) = (0, vec![0; 1 << 16]);
        loop {
            match stdout.read(&mut buffer).expect("its output") {
                0 => break,
                length => total += length as u64,
            }
        }
        assert!(child.wait().expect("its end").success());
        total
    }

    pub(crate) fn remove(&self, container: &str) {
        self.output(&["rm", "-f", "-t", "0", container]);
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = self.command(&["rm", "-a", "-f", "-t", "0"]).output();
        let _ = self.command(&["unshare", "true"]).output();
        // Its layers may be mounted.
        let _ = Command::new("umount").args(["-R", "-q"]).arg(self.dir.join("root/overlay")).output();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// What the figures were taken on.
pub(crate) fn machine() -> Value {
    let first = |path: &str, name: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        line.split_once([':', '=']).map(|(_, value)| value.trim().trim_matches('"').to_owned())
    };
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").output().ok()?;
        String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned)
    };
    json!({
        "cpu": first("/proc/cpuinfo", "model name"),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "system": first("/etc/os-release", "PRETTY_NAME"),
        "kvm": Path::new("/dev/kvm").exists(),
        "qemu": version("qemu-system-x86_64"),
        "podman": version("podman"),
    })
}
