//! A real image registry on loopback for one test, and `skopeo` to fill it.
//!
//! Owns the `docker-registry` process: it dies with the test, even when that is killed.

use std::fs::{self, File};
use std::io::{self, Error, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// What the registry asks of its clients.
#[derive(Clone, Debug, Default)]
pub struct RegistryOptions {
    /// Serve TLS with a certificate of a CA made for this test.
    pub tls: bool,
    /// Ask for this user name and password.
    pub basic_auth: Option<(String, String)>,
    /// Ask for bearer tokens of the service at this URL, signed with the CA's key.
    pub token_realm: Option<String>,
}

/// A running registry.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    port: u16,
    dir: TempDir,
    options: RegistryOptions,
}

/// What a request takes to be logged, however busy the machine is.
const LOGGED: Duration = Duration::from_secs(20);
/// The same, to answer at all.
const UP: Duration = Duration::from_secs(60);

/// The service name and issuer that token services have to use.
pub const TOKEN_SERVICE: &str = "boxlite-test";

impl Registry {
    /// Starts one over plain HTTP that lets everybody in.
    ///
    /// # Errors
    /// When the program is missing or does not come up.
    pub fn start() -> io::Result<Self> {
        Self::start_with(RegistryOptions::default())
    }

    /// Starts one.
    ///
    /// # Errors
    /// When a program is missing or the registry does not come up.
    pub fn start_with(options: RegistryOptions) -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        if options.tls || options.token_realm.is_some() {
            make_certificates(dir.path())?;
        }
        if let Some((user, password)) = &options.basic_auth {
            let made = run(Command::new("htpasswd").args(["-Bbn", user, password]))?;
            fs::write(dir.path().join("htpasswd"), made.stdout)?;
        }
        // The port is free when asked for; another process may be faster, so try again.
        let mut last = None;
        for _ in 0..5 {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
            let mut child = spawn(dir.path(), port, &options)?;
            match wait_until_up(&mut child, port) {
                Ok(()) => return Ok(Self { child, port, dir, options }),
                Err(error) => last = Some(error),
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        let log = fs::read_to_string(dir.path().join("log")).unwrap_or_default();
        let reason = last.map_or_else(String::new, |error| error.to_string());
        Err(Error::other(format!("docker-registry did not come up: {reason}\n{log}")))
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `127.0.0.1:PORT/name`.
    pub fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.host())
    }

    /// The certificate of the test's CA, when TLS or tokens are used.
    pub fn ca_certificate(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// The key that belongs to [`Self::ca_certificate`], for signing tokens.
    pub fn ca_key(&self) -> PathBuf {
        self.dir.path().join("ca-key.pem")
    }

    /// The file in which the registry keeps a blob.
    pub fn blob_path(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        let sub = format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
        self.dir.path().join("storage").join(sub)
    }

    /// Copies an image in with skopeo; `source` and extra arguments are skopeo's.
    ///
    /// # Errors
    /// When skopeo fails.
    pub fn push(&self, source: &str, name: &str, extra: &[&str]) -> io::Result<()> {
        let mut command = Command::new("skopeo");
        command.args(["copy", "--insecure-policy", "--quiet", "--dest-tls-verify=false"]).args(extra);
        if let Some((user, password)) = &self.options.basic_auth {
            command.arg(format!("--dest-creds={user}:{password}"));
        }
        run(command.arg(source).arg(format!("docker://{}", self.image(name)))).map(drop)
    }

    /// The requests served so far, as `METHOD PATH STATUS`.
    pub fn requests(&self) -> Vec<String> {
        let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        log.lines().filter_map(access_line).collect()
    }

    /// How often the content of `digest` was asked for since the start. A request is logged a moment after its answer has
    /// come: waited for until there are `expected`.
    pub fn downloads(&self, digest: &str, expected: usize) -> usize {
        let path = format!("/blobs/{digest} ");
        let count =
            || self.requests().iter().filter(|line| line.starts_with("GET ") && line.contains(&path)).count();
        let deadline = Instant::now() + LOGGED;
        while count() < expected && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        count()
    }

    /// Stops answering without ending: connections are accepted and hang.
    pub fn freeze(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// Answers again.
    pub fn thaw(&self) {
        self.signal(libc::SIGCONT);
    }

    fn signal(&self, signal: libc::c_int) {
        if let Ok(pid) = libc::pid_t::try_from(self.child.id()) {
            // SAFETY: kill has no memory effects; the child is not reaped yet, so the pid is still its.
            unsafe { libc::kill(pid, signal) };
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `127.0.0.1 - - [date] "GET /v2/… HTTP/1.1" 200 123 "" "agent"`
fn access_line(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("] \"")?;
    let (request, rest) = rest.split_once('"')?;
    let mut words = request.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    let status = rest.split_whitespace().next()?;
    path.starts_with("/v2/").then(|| format!("{method} {path} {status}"))
}

fn spawn(dir: &Path, port: u16, options: &RegistryOptions) -> io::Result<Child> {
    let path = |name: &str| dir.join(name).display().to_string();
    let mut config = format!(
        "version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
         http:\n  addr: 127.0.0.1:{port}\n",
        path("storage")
    );
    if options.tls {
        config += &format!("  tls:\n    certificate: {}\n    key: {}\n", path("cert.pem"), path("key.pem"));
    }
    if options.basic_auth.is_some() {
        config += &format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", path("htpasswd"));
    }
    if let Some(realm) = &options.token_realm {
        config += &format!(
            "auth:\n  token:\n    realm: {realm}\n    service: {TOKEN_SERVICE}\n    issuer: {TOKEN_SERVICE}\n    \
             rootcertbundle: {}\n",
            path("ca.pem")
        );
    }
    fs::write(dir.join("config.yml"), config)?;
    let log = File::options().create(true).append(true).open(dir.join("log"))?;
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(dir.join("config.yml"));
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let parent = std::process::id();
    // SAFETY: prctl and getppid are async-signal-safe and touch no memory of ours.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(Error::last_os_error());
            }
            // The parent may have died before the prctl.
            if libc::getppid() as u32 != parent {
                return Err(Error::other("the test is gone"));
            }
            Ok(())
        });
    }
    command
        .spawn()
        .map_err(|error| Error::new(error.kind(), format!("docker-registry: {error}; run `make setup`")))
}

/// Whether the process has the socket that listens on this port: see proc(5), /proc/net/tcp.
fn listens_on(pid: u32, port: u16) -> bool {
    const LISTEN: &str = "0A";
    let end = format!(":{port:04X}");
    let is_its = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let listens = fields.len() > 9 && fields[1].ends_with(&end) && fields[3] == LISTEN;
        listens && has_socket(pid, fields[9])
    };
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .any(|table| fs::read_to_string(table).unwrap_or_default().lines().any(is_its))
}

fn has_socket(pid: u32, inode: &str) -> bool {
    let name = format!("socket:[{inode}]");
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|link| link.as_os_str() == name.as_str())
}

fn wait_until_up(child: &mut Child, port: u16) -> io::Result<()> {
    let deadline = Instant::now() + UP;
    loop {
        // Somebody else may have taken the port meanwhile, and answer.
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() && listens_on(child.id(), port) {
            return Ok(());
        }
        if let Some(status) = child.try_wait()? {
            return Err(Error::other(format!("it ended: {status}")));
        }
        if Instant::now() > deadline {
            return Err(Error::other(format!("no answer within {UP:?}")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A CA of this test, and a certificate for 127.0.0.1 signed by it.
fn make_certificates(dir: &Path) -> io::Result<()> {
    let path = |name: &str| dir.join(name).display().to_string();
    let request = |arguments: &[&str], subject: &str, key: &str, out: &str| {
        let mut command = Command::new("openssl");
        command.args(["req", "-newkey", "rsa:2048", "-nodes", "-subj", subject]).args(arguments);
        run(command.args(["-keyout", &path(key), "-out", &path(out)])).map(drop)
    };
    request(&["-x509", "-days", "2"], "/CN=boxlite test CA", "ca-key.pem", "ca.pem")?;
    request(&[], "/CN=127.0.0.1", "key.pem", "request.pem")?;
    let names = "basicConstraints=CA:FALSE\nsubjectAltName=IP:127.0.0.1,DNS:localhost\n";
    fs::write(dir.join("names"), names)?;
    let mut command = Command::new("openssl");
    command.args(["x509", "-req", "-days", "2", "-CAcreateserial", "-in", &path("request.pem")]);
    command.args(["-CA", &path("ca.pem"), "-CAkey", &path("ca-key.pem"), "-extfile", &path("names")]);
    run(command.args(["-out", &path("cert.pem")])).map(drop)
}

/// Runs a program to its end; a failure shows what it printed.
///
/// # Errors
/// When it can't be started or fails.
pub fn run(command: &mut Command) -> io::Result<Output> {
    let name = format!("{:?}", command.get_program());
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Error::new(error.kind(), format!("{name}: {error}; run `make setup`")))?;
    if output.status.success() {
        return Ok(output);
    }
    let mut text = Vec::new();
    text.write_all(&output.stdout)?;
    text.write_all(&output.stderr)?;
    Err(Error::other(format!("{name} failed ({}): {}", output.status, String::from_utf8_lossy(&text))))
}
