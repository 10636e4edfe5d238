//! Where credentials come from, on real files, real helper programs and a real registry that asks for a password.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use boxlite_test_utils::registry::{Registry, RegistryOptions};

use super::*;
use crate::errors::BoxliteError;
use crate::images::tests::sample_layout;
use crate::images::{Access, ImageLimits, ImageStore, ProgressSink};

fn look_up(dir: &Path, config: &str, host: &str) -> Found {
    let file = dir.join("config.json");
    fs::write(&file, config).expect("a config");
    let credentials = Credentials { file: Some(file), helper_path: Some(dir.join("bin").into()) };
    credentials.look_up(host, &AtomicBool::new(false))
}

fn login_of(found: Found) -> Option<(String, String)> {
    match found.login? {
        Login::Password { user, secret } => Some((user, secret)),
        Login::Identity(token) => panic!("an identity token: {}", token.0),
    }
}

fn identity_of(found: Found) -> Option<String> {
    match found.login? {
        Login::Identity(token) => Some(token.0),
        Login::Password { user, .. } => panic!("the password of {user}"),
    }
}

/// A helper that runs a script.
fn helper(dir: &Path, name: &str, script: &str) {
    let bin = dir.join("bin");
    fs::create_dir_all(&bin).expect("a directory");
    let path = bin.join(format!("docker-credential-{name}"));
    let text = dir.join("text");
    fs::write(&text, format!("#!/bin/sh\n{script}\n")).expect("a program");
    fs::set_permissions(&text, fs::Permissions::from_mode(0o755)).expect("a mode");
    // Copied by another process: a child that another test forks meanwhile would hold what is written here open, and such
    // a file can't be run.
    let copied = std::process::Command::new("cp").arg(&text).arg(&path).status().expect("cp");
    assert!(copied.success());
}

fn ann() -> Option<(String, String)> {
    Some(("ann".to_owned(), "secret".to_owned()))
}

#[test]
fn logins_are_found_by_host_however_it_is_written() {
    let dir = tempfile::tempdir().expect("a directory");
    for key in ["host:5000", "https://host:5000", "https://host:5000/v2/", "HOST:5000"] {
        let config = format!(r#"{{"auths": {{"{key}": {{"auth": "YW5uOnNlY3JldA=="}}}}, "other": 1}}"#);
        assert_eq!(login_of(look_up(dir.path(), &config, "host:5000")), ann(), "{key}");
        assert_eq!(look_up(dir.path(), &config, "host"), Found::nothing());
    }
    let hub = r#"{"auths": {"https://index.docker.io/v1/": {"username": "ann", "password": "secret"}}}"#;
    assert_eq!(login_of(look_up(dir.path(), hub, "docker.io")), ann());
    assert_eq!(Credentials::none().look_up("host", &AtomicBool::new(false)), Found::nothing());
    let absent = Credentials::of_file(dir.path().join("none"));
    assert_eq!(absent.look_up("host", &AtomicBool::new(false)), Found::nothing());
}

#[test]
fn what_can_not_be_used_is_no_login_and_says_why() {
    let dir = tempfile::tempdir().expect("a directory");
    for (config, word) in [
        ("{", "config.json can't be read"),
        (r#"{"auths": {"host": {"auth": "?"}}}"#, "base 64"),
        (r#"{"auths": {"host": {"auth": "YW5u"}}}"#, "no password"),
        (r#"{"credsStore": "missing"}"#, "docker-credential-missing"),
        (r#"{"credHelpers": {"host": "../x"}}"#, "'/'"),
    ] {
        let found = look_up(dir.path(), config, "host");
        let note = found.note.expect(config);
        assert!(found.login.is_none() && note.contains(word), "{config}: {note}");
    }
    assert_eq!(look_up(dir.path(), r#"{"auths": {"host": {}}}"#, "host"), Found::nothing());
}

#[test]
fn helpers_are_asked_for_the_server() {
    let dir = tempfile::tempdir().expect("a directory");
    let login = r#"echo "{\"ServerURL\":\"$server\",\"Username\":\"$server\",\"Secret\":\"secret\"}""#;
    helper(dir.path(), "echo", &format!("[ $1 = get ] && read server; {login}"));
    let user = |config: &str, host: &str| login_of(look_up(dir.path(), config, host)).map(|login| login.0);
    let own = r#"{"credHelpers": {"host:5000": "echo"}, "credsStore": "missing"}"#;
    assert_eq!(user(own, "host:5000").as_deref(), Some("host:5000"));
    let hub = r#"{"credsStore": "echo"}"#;
    assert_eq!(user(hub, "docker.io").as_deref(), Some(DOCKER_HUB));

    helper(dir.path(), "empty", "echo credentials not found in native keychain; exit 1");
    let both = r#"{"credsStore": "empty", "auths": {"host": {"auth": "YW5uOnNlY3JldA=="}}}"#;
    assert_eq!(login_of(look_up(dir.path(), both, "host")), ann());
    assert_eq!(look_up(dir.path(), r#"{"credsStore": "empty"}"#, "host"), Found::nothing());
    helper(dir.path(), "locked", "echo the keychain is locked; exit 1");
    let note = look_up(dir.path(), r#"{"credsStore": "locked"}"#, "host").note.expect("a note");
    assert!(note.contains("the keychain is locked"), "{note}");
}

#[test]
fn identity_tokens_are_told_from_passwords_and_never_shown() {
    let dir = tempfile::tempdir().expect("a directory");
    helper(dir.path(), "token", r#"echo '{"Username": "<token>", "Secret": "tok"}'"#);
    for config in [
        r#"{"credsStore": "token"}"#,
        r#"{"auths": {"host": {"identitytoken": "tok"}}}"#,
        // What `docker login` writes beside it: a user without a password.
        r#"{"auths": {"host": {"auth": "YW5uOg==", "identitytoken": "tok"}}}"#,
        // "<token>:tok"
        r#"{"auths": {"host": {"auth": "PHRva2VuPjp0b2s="}}}"#,
    ] {
        let found = look_up(dir.path(), config, "host");
        assert!(!format!("{found:?}").contains("tok\""), "{found:?}");
        assert_eq!(identity_of(found).as_deref(), Some("tok"), "{config}");
    }
}

#[test]
fn a_helper_that_nobody_waits_for_is_killed() {
    let dir = tempfile::tempdir().expect("a directory");
    helper(dir.path(), "slow", "exec sleep 600");
    let bin = dir.path().join("bin");
    let gone = AtomicBool::new(true);
    helper::ask("slow", "host", Some(bin.as_os_str()), &gone).expect_err("nobody waits");
}

#[tokio::test]
async fn a_registry_that_asks_for_a_password_gets_the_users() {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = sample_layout(dir.path());
    let options = RegistryOptions { basic_auth: Some(("ann".into(), "secret".into())), ..Default::default() };
    let registry = Registry::start_with(options).expect("a registry");
    let source = format!("oci:{}:v1", layout.dir().display());
    registry.push(&source, "test/image:v1", &[]).expect("a push");
    let file = dir.path().join("config.json");
    let store = |name: &str| {
        let registries = vec![ImageRegistry::http(registry.host())];
        let credentials = Credentials::of_file(file.clone());
        ImageStore::open_with(
            dir.path().join(name),
            registries,
            ImageLimits::default(),
            Access { credentials, ..Access::default() },
        )
        .expect("a store")
    };
    let reference = registry.image("test/image:v1");
    fs::write(&file, r#"{"credsStore": "missing"}"#).expect("a config");
    let error = store("one").pull(&reference, &ProgressSink::none()).await.expect_err("it refuses");
    assert!(matches!(error, BoxliteError::Network(_)), "{error}");
    assert!(error.hint().contains("docker-credential-missing"), "{}", error.hint());

    let config = format!(r#"{{"auths": {{"{}": {{"auth": "YW5uOnNlY3JldA=="}}}}}}"#, registry.host());
    fs::write(&file, config).expect("a config");
    store("two").pull(&reference, &ProgressSink::none()).await.expect("an image");
}
