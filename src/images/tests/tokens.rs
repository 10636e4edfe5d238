//! Bearer tokens: a real token service, real signatures, and the registry that checks them.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use boxlite_test_utils::registry::{Registry, RegistryOptions, TOKEN_SERVICE};

use super::{assert_tidy, sample_layout, store_with};
use crate::errors::BoxliteError;
use crate::images::{Access, Credentials, ImageLimits, ImageStore, ProgressSink};
use crate::model::registry::ImageRegistry;

/// Gives tokens to `ann` with the right password or for her identity token, and to nobody else.
struct TokenService {
    address: SocketAddr,
    signer: Arc<OnceLock<Signer>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Signer {
    key: PathBuf,
    certificate: PathBuf,
}

impl TokenService {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("its address");
        let (signer, stop) = (Arc::new(OnceLock::new()), Arc::new(AtomicBool::new(false)));
        let (shared, stopped) = (Arc::clone(&signer), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                if let Some(signer) = shared.get() {
                    let _ = answer(client, signer);
                }
            }
        });
        Self { address, signer, stop, thread: Some(thread) }
    }
}

impl Drop for TokenService {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(mut client: TcpStream, signer: &Signer) -> io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte)? > 0 {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut form = vec![0; length.unwrap_or(0)];
    client.read_exact(&mut form)?;
    let form = String::from_utf8_lossy(&form);
    // "ann:secret" in base 64.
    let known = head.lines().any(|line| {
        line.to_ascii_lowercase().starts_with("authorization: basic ") && line.ends_with(" YW5uOnNlY3JldA==")
    });
    // RFC 6749, 6: in any order.
    let has = |field: &str| form.split('&').any(|given| given == field);
    let (status, body) = if head.starts_with("POST ") {
        let scope = has("scope=repository%3Aapp%3Apull")
            && has(&format!("service={}", TOKEN_SERVICE.replace(' ', "+")));
        if scope
            && has("grant_type=refresh_token")
            && has("client_id=boxlite")
            && has("refresh_token=ann%26hers")
        {
            ("200 OK", format!(r#"{{"access_token":"{}","expires_in":300}}"#, signer.token(&["pull"])?))
        } else {
            ("401 Unauthorized", r#"{"details":"no such token"}"#.to_owned())
        }
    } else if known {
        let query = head.split_whitespace().nth(1).unwrap_or_default();
        let actions = if query.contains("push") { vec!["pull", "push"] } else { vec!["pull"] };
        ("200 OK", format!(r#"{{"token":"{}"}}"#, signer.token(&actions)?))
    } else {
        ("401 Unauthorized", r#"{"details":"who are you?"}"#.to_owned())
    };
    write!(client, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

impl Signer {
    fn of(registry: &Registry) -> Self {
        Self { key: registry.ca_key(), certificate: registry.ca_certificate() }
    }

    fn token(&self, actions: &[&str]) -> io::Result<String> {
        let pem = std::fs::read_to_string(&self.certificate)?;
        let certificate: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let header = serde_json::json!({ "typ": "JWT", "alg": "RS256", "x5c": [certificate] });
        let now = chrono::Utc::now().timestamp();
        let claims = serde_json::json!({
            "iss": TOKEN_SERVICE, "sub": "ann", "aud": TOKEN_SERVICE, "jti": "1",
            "iat": now - 10, "nbf": now - 10, "exp": now + 300,
            "access": [{ "type": "repository", "name": "app", "actions": actions }],
        });
        let signed = format!(
            "{}.{}",
            base64url(header.to_string().as_bytes())?,
            base64url(claims.to_string().as_bytes())?
        );
        let signature = openssl(&["dgst", "-sha256", "-sign"], Some(&self.key), signed.as_bytes())?;
        Ok(format!("{signed}.{}", base64url(&signature)?))
    }
}

fn base64url(bytes: &[u8]) -> io::Result<String> {
    let text = openssl(&["base64", "-A"], None, bytes)?;
    let text = String::from_utf8_lossy(&text).trim().replace('+', "-").replace('/', "_");
    Ok(text.trim_end_matches('=').to_owned())
}

fn openssl(arguments: &[&str], key: Option<&Path>, input: &[u8]) -> io::Result<Vec<u8>> {
    let mut command = Command::new("openssl");
    command.args(arguments).args(key).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input)?;
    }
    Ok(child.wait_with_output()?.stdout)
}

/// A registry that asks for tokens, and the service that it sends its callers to.
fn with_token_service() -> (TokenService, Registry) {
    let service = TokenService::start();
    let realm = format!("http://{}/token", service.address);
    let options = RegistryOptions { token_realm: Some(realm), ..Default::default() };
    let registry = Registry::start_with(options).expect("a registry");
    service.signer.set(Signer::of(&registry)).expect("the first signer");
    (service, registry)
}

#[tokio::test]
async fn tokens_are_fetched_with_a_password_or_given() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_service, registry) = with_token_service();
    let layout = sample_layout(dir.path());
    let source = format!("oci:{}:v1", layout.dir().display());
    registry.push(&source, "app:v1", &["--dest-creds=ann:secret"]).expect("a push");
    let reference = registry.image("app:v1");
    let entry = || ImageRegistry::http(registry.host());
    let token = Signer::of(&registry).token(&["pull"]).expect("a token");

    for refused in [entry(), entry().with_basic_auth("ann", "no"), entry().with_bearer_auth("no.token.this")]
    {
        let store = store_with(&dir.path().join("refused"), vec![refused]);
        let error = store.pull(&reference, &ProgressSink::none()).await.expect_err("a refusal");
        assert!(matches!(error, BoxliteError::Network(_)), "{error}");
        assert!(error.to_string().contains("refuses access"), "{error}");
    }
    let given = [entry().with_basic_auth("ann", "secret"), entry().with_bearer_auth(token)];
    for (number, entry) in given.into_iter().enumerate() {
        let home = dir.path().join(number.to_string());
        let image = store_with(&home, vec![entry]).pull(&reference, &ProgressSink::none()).await;
        assert_eq!(image.map(|image| image.layers.len()), Ok(3));
        assert_tidy(&home);
    }
}

#[tokio::test]
async fn an_identity_token_is_exchanged_for_one_that_pulls() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_service, registry) = with_token_service();
    let open = Registry::start().expect("a registry that asks for nothing");
    let asking = RegistryOptions { basic_auth: Some(("ann".into(), "secret".into())), ..Default::default() };
    let asking = Registry::start_with(asking).expect("a registry that asks for a password");
    let layout = sample_layout(dir.path());
    let source = format!("oci:{}:v1", layout.dir().display());
    registry.push(&source, "app:v1", &["--dest-creds=ann:secret"]).expect("a push");
    open.push(&source, "app:v1", &[]).expect("a push");

    let pulled = async |registry: &Registry, token: &str| {
        let file = dir.path().join("config.json");
        let config = serde_json::json!({ "auths": { registry.host(): { "auth": "YW5uOg==", "identitytoken": token } } });
        std::fs::write(&file, config.to_string()).expect("a config");
        let access = Access { credentials: Credentials::of_file(file), ..Access::default() };
        let home = tempfile::tempdir().expect("a directory");
        let registries = vec![ImageRegistry::http(registry.host())];
        let store = ImageStore::open_with(home.path().to_owned(), registries, ImageLimits::default(), access);
        let pulled = store.expect("a store").pull(&registry.image("app:v1"), &ProgressSink::none()).await;
        pulled.map(|image| image.layers.len())
    };
    assert_eq!(pulled(&registry, "ann&hers").await, Ok(3));
    assert_eq!(pulled(&open, "ann&hers").await, Ok(3), "nobody has asked for it");
    for (registry, token, word) in
        [(&registry, "another", "no such token"), (&asking, "ann&hers", "asks for a password")]
    {
        let error = pulled(registry, token).await.expect_err("a refusal");
        assert!(matches!(error, BoxliteError::Network(_)), "{error}");
        assert!(
            error.to_string().contains("to the identity token") && error.to_string().contains(word),
            "{error}"
        );
        assert!(error.hint().contains("config.json"), "{}", error.hint());
        assert!(!error.to_string().contains(token) && !error.hint().contains(token), "{error}");
    }
}
