//! Mirrors, with real registries on both sides, and what a mirror's failures come to.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use boxlite_test_utils::registry::{Registry, RegistryOptions};
use serde_json::Value;

use super::*;
use crate::images::tests::{assert_tidy, sample_layout};
use crate::images::{Access, ImageLimits, ImageStore, ProgressSink, StoredImage};
use crate::log::{Log, LogLevel};

/// A store with these mirrors, and its log.
fn store(
    dir: &Path,
    pairs: &[(&str, &str)],
    registries: Vec<ImageRegistry>,
) -> (ImageStore, std::io::PipeReader) {
    let pairs: Vec<_> = pairs.iter().map(|(of, at)| ((*of).to_owned(), (*at).to_owned())).collect();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let access = Access {
        mirrors: Mirrors::parse(&pairs).expect("mirrors"),
        log: Log::to(LogLevel::Warn, writer.into()),
        ..Access::default()
    };
    let store = ImageStore::open_with(dir.join("images"), registries, ImageLimits::default(), access);
    (store.expect("a store"), reader)
}

async fn pull(store: &ImageStore, reference: &str) -> BoxliteResult<StoredImage> {
    store.pull(reference, &ProgressSink::none()).await
}

fn push(registry: &Registry, dir: &Path, name: &str) {
    let source = format!("oci:{}:v1", dir.join("layout").display());
    registry.push(&source, name, &["--preserve-digests"]).expect("a push");
}

fn first_line(log: std::io::PipeReader) -> Value {
    let mut line = String::new();
    BufReader::new(log).read_line(&mut line).expect("a line");
    serde_json::from_str(&line).expect("JSON")
}

/// A port that nobody listens on.
fn nobody() -> String {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|it| it.local_addr()).expect("a port").to_string()
}

#[test]
fn mirrors_are_hosts_or_urls_and_nothing_else() {
    let parse = |registry: &str, mirror: &str| Mirrors::parse(&[(registry.to_owned(), mirror.to_owned())]);
    let one = |registry: &str, mirror: &str| parse(registry, mirror).expect("a mirror").0.remove(0);
    let (http, https) = (Some(RegistryTransport::Http), Some(RegistryTransport::Https));
    for (text, host, transport) in [
        ("mirror", "mirror", None),
        ("Mirror:5000", "mirror:5000", None),
        ("http://mirror:5000", "mirror:5000", http),
        ("https://mirror/", "mirror", https),
    ] {
        let mirror = one("docker.io", text);
        assert_eq!((mirror.host.as_str(), mirror.transport), (host, transport), "{text}");
    }
    assert_eq!(one("registry-1.docker.io", "mirror").registry, "docker.io");
    for text in
        ["", "ftp://mirror", "https://mirror/path", "mirror/path", "https://", "a b", "http://user@mirror"]
    {
        let error = parse("docker.io", text).expect_err(text);
        assert!(matches!(error, BoxliteError::Config(_)), "{text}: {error}");
        assert!(
            error.to_string().contains("docker.io") && error.hint().contains("host:port"),
            "{text}: {error}"
        );
    }
    assert!(matches!(parse("https://docker.io", "mirror"), Err(BoxliteError::Config(_))));
}

#[tokio::test]
async fn the_mirror_is_asked_first_and_the_registry_not_at_all() {
    let dir = tempfile::tempdir().expect("a directory");
    sample_layout(dir.path());
    let (registry, mirror) = (Registry::start().expect("a registry"), Registry::start().expect("a mirror"));
    push(&registry, dir.path(), "app:v1");
    push(&mirror, dir.path(), "app:v1");
    let (host, reference, repository) = (registry.host(), registry.image("app:v1"), registry.image("app"));
    // Nobody can ask it now.
    drop(registry);

    let url = format!("http://{}", mirror.host());
    let (store, _log) = store(dir.path(), &[(&host, &url)], vec![ImageRegistry::http(host.clone())]);
    let image = pull(&store, &reference).await.expect("a pull");
    assert_eq!(image.reference, reference);
    assert_eq!(image.repository, repository);
    for layer in &image.layers {
        assert_eq!(mirror.downloads(&layer.digest.to_string(), 1), 1);
    }
    // One that is named by another registry is not this mirror's.
    let other = ImageRegistry::http(mirror.host());
    let (plain, _log) = self::store(&dir.path().join("plain"), &[("other.invalid", &nobody())], vec![other]);
    assert!(pull(&plain, &mirror.image("app:v1")).await.is_ok());
    assert_tidy(dir.path());
}

#[tokio::test]
async fn a_mirror_that_is_away_or_lacks_the_image_is_left_and_logged() {
    let dir = tempfile::tempdir().expect("a directory");
    sample_layout(dir.path());
    let (registry, empty) = (Registry::start().expect("a registry"), Registry::start().expect("a mirror"));
    push(&registry, dir.path(), "app:v1");
    let (away, empty_url) = (nobody(), format!("http://{}", empty.host()));
    let host = registry.host();
    let entry = || vec![ImageRegistry::http(registry.host())];

    let (store, log) = store(dir.path(), &[(&host, &away), (&host, &empty_url)], entry());
    let image = pull(&store, &registry.image("app:v1")).await.expect("a pull from the registry itself");
    assert_eq!(image.layers.len(), 3);
    let line = first_line(log);
    assert_eq!((&line["level"], &line["mirror"]), (&"warn".into(), &Value::from(away.clone())), "{line}");
    assert_eq!(line["subject"], registry.image("app:v1"), "{line}");
    // Logged a moment after its answer.
    let asked = || empty.requests().iter().any(|line| line.contains("/v2/app/manifests/v1 404"));
    let deadline = Instant::now() + Duration::from_secs(20);
    while !asked() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(asked(), "{:?}", empty.requests());

    // Where the registry has no answer either, its own is the error, and the mirror's is not lost.
    let error = pull(&store, &registry.image("none:v1")).await.expect_err("no such image");
    assert!(matches!(error, BoxliteError::NotFound(_)) && error.to_string().contains(&host), "{error}");
    assert!(error.hint().contains(&away) && error.hint().contains(&empty.host()), "{}", error.hint());
    assert_tidy(dir.path());
}

#[tokio::test]
async fn a_mirror_that_sends_the_wrong_bytes_is_found_out_and_left() {
    let dir = tempfile::tempdir().expect("a directory");
    sample_layout(dir.path());
    let (registry, mirror) = (Registry::start().expect("a registry"), Registry::start().expect("a mirror"));
    push(&registry, dir.path(), "app:v1");
    push(&mirror, dir.path(), "app:v1");
    let known =
        ImageStore::open(dir.path().join("known"), Vec::new(), ImageLimits::default()).expect("a store");
    let local = format!("oci:{}:v1", dir.path().join("layout").display());
    let digest = pull(&known, &local).await.expect("the image").layers[2].digest;
    let path = mirror.blob_path(&digest.to_string());
    let mut bytes = std::fs::read(&path).expect("the mirror's blob");
    bytes[100] ^= 1;
    std::fs::write(&path, bytes).expect("a change");

    let url = format!("http://{}", mirror.host());
    let (store, log) =
        store(dir.path(), &[(&registry.host(), &url)], vec![ImageRegistry::http(registry.host())]);
    let image = pull(&store, &registry.image("app:v1")).await.expect("a pull");
    assert_eq!(image.layers[2].digest, digest);
    assert_eq!(registry.downloads(&digest.to_string(), 1), 1, "the bad layer came from the registry");
    assert!(first_line(log)["error"].as_str().is_some_and(|error| error.contains("digest")));
    assert_tidy(dir.path());
}

#[tokio::test]
async fn the_registrys_password_is_not_the_mirrors() {
    let dir = tempfile::tempdir().expect("a directory");
    sample_layout(dir.path());
    let options =
        || RegistryOptions { basic_auth: Some(("ann".into(), "secret".into())), ..Default::default() };
    let registry = Registry::start_with(options()).expect("a registry");
    let mirror = Registry::start_with(options()).expect("a mirror");
    push(&registry, dir.path(), "app:v1");
    push(&mirror, dir.path(), "app:v1");
    let url = format!("http://{}", mirror.host());
    let entry = |host: String| ImageRegistry::http(host).with_basic_auth("ann", "secret");

    let (without, _log) =
        store(&dir.path().join("a"), &[(&registry.host(), &url)], vec![entry(registry.host())]);
    pull(&without, &registry.image("app:v1")).await.expect("from the registry");
    let asked: Vec<String> =
        mirror.requests().into_iter().filter(|line| line.starts_with("GET /v2/app/")).collect();
    assert!(asked.iter().all(|line| line.ends_with("401")), "{asked:?}");

    let (host, reference) = (registry.host(), registry.image("app:v1"));
    // Nobody can ask it now.
    drop(registry);
    let entries = vec![entry(host.clone()), entry(mirror.host())];
    let (with, _log) = store(&dir.path().join("b"), &[(&host, &url)], entries);
    pull(&with, &reference).await.expect("from the mirror");
}
