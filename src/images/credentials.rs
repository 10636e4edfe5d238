//! Credentials that the user has for registries already: `docker login` wrote them to a file, or to a helper program that
//! the file names.
//!
//! Owns finding them. A file or helper that gives none is no error: most images need no credentials, and a registry that
//! refuses is told why there were none.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::fetch::Abandon;
use super::helper::{self, Answer};
use super::identity::IdentityToken;
use super::reference::canonical_host;
use crate::executor::blocking;
use crate::model::registry::{ImageRegistry, ImageRegistryAuth};

/// What Docker Hub is called where credentials for it are kept.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";
/// The user name of what is no password, but an identity token.
const IDENTITY_TOKEN: &str = "<token>";

/// Where to look.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    file: Option<PathBuf>,
    /// Where helpers are looked for; `None`: in this process's `PATH`.
    pub(super) helper_path: Option<std::ffi::OsString>,
}

/// The parts of the file that matter here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DockerConfig {
    auths: std::collections::BTreeMap<String, Auth>,
    #[serde(rename = "credHelpers")]
    helpers: std::collections::BTreeMap<String, String>,
    #[serde(rename = "credsStore")]
    store: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
    #[serde(rename = "identitytoken")]
    identity_token: String,
}

/// What to show a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Login {
    Password { user: String, secret: String },
    Identity(IdentityToken),
}

/// What was found for one registry, and what to say when that is not enough.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    login: Option<Login>,
    note: Option<String>,
}

/// What a registry's client is to know of the user beyond the registry's entry.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) identity: Option<IdentityToken>,
    /// For the user, if the registry refuses all the same.
    pub(super) note: Option<String>,
}

impl Found {
    fn nothing() -> Self {
        Self { login: None, note: None }
    }

    fn failed(note: String) -> Self {
        Self { login: None, note: Some(note) }
    }

    fn login(from: &str, login: Login) -> Self {
        Self { note: Some(format!("the credentials are from {from}")), login: Some(login) }
    }
}

impl Login {
    /// Helpers give identity tokens as passwords of a user whose name no user has.
    fn of(user: String, secret: String) -> Self {
        if user == IDENTITY_TOKEN {
            Self::Identity(IdentityToken(secret))
        } else {
            Self::Password { user, secret }
        }
    }
}

impl Credentials {
    /// Of no place.
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// Of this file, which need not exist.
    pub(crate) fn of_file(file: PathBuf) -> Self {
        Self { file: Some(file), helper_path: None }
    }

    /// Of `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`.
    pub(crate) fn of_user() -> Self {
        let dir = std::env::var_os("DOCKER_CONFIG").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let dir = dir.or_else(|| std::env::home_dir().map(|home| home.join(".docker")));
        dir.map_or_else(Self::none, |dir| Self::of_file(dir.join("config.json")))
    }

    /// Gives `entry` the user's credentials where it has none of its own.
    pub(super) async fn fill_in(&self, entry: &mut ImageRegistry) -> Known {
        if entry.auth != ImageRegistryAuth::Anonymous {
            return Known::default();
        }
        let (looking, host) = (self.clone(), canonical_host(&entry.host).to_owned());
        let (_abandon, abandoned) = Abandon::new();
        let Ok(Found { login, note }) = blocking(move || Ok(looking.look_up(&host, &abandoned))).await else {
            return Known::default();
        };
        match login {
            Some(Login::Identity(token)) => Known { identity: Some(token), note },
            Some(Login::Password { user, secret }) => {
                entry.auth = ImageRegistryAuth::Basic { username: user, password: secret };
                Known { identity: None, note }
            }
            None => Known { identity: None, note },
        }
    }

    fn look_up(&self, host: &str, abandoned: &std::sync::atomic::AtomicBool) -> Found {
        let Some(file) = &self.file else { return Found::nothing() };
        let shown = file.display();
        let config: DockerConfig = match read(file) {
            Ok(Some(config)) => config,
            Ok(None) => return Found::nothing(),
            Err(why) => return Found::failed(format!("{shown} can't be read: {why}")),
        };
        let named = |key: &str| canonical_host(host_of(key)).eq_ignore_ascii_case(host);
        let own = config.helpers.iter().find(|(key, _)| named(key)).map(|(_, helper)| helper.as_str());
        let mut note = None;
        if let Some(name) = own.or(Some(config.store.as_str())).filter(|name| !name.is_empty()) {
            let server = if host == super::reference::DOCKER_IO { DOCKER_HUB } else { host };
            let from = format!("docker-credential-{name}, which {shown} names");
            match helper::ask(name, server, self.helper_path.as_deref(), abandoned) {
                Ok(Answer::Login { user, secret }) => return Found::login(&from, Login::of(user, secret)),
                Ok(Answer::Nothing) => {}
                Err(why) => {
                    note = Some(format!(
                        "{from}, gives no credentials ({why}); make it work, or give the runtime credentials for {host}"
                    ));
                }
            }
        }
        match config.auths.iter().find(|(key, _)| named(key)).map(|(_, auth)| auth.login()) {
            Some(Ok(Some(login))) => Found::login(&shown.to_string(), login),
            Some(Err(why)) => Found::failed(format!("the entry for {host} in {shown} {why}")),
            Some(Ok(None)) | None => Found { login: None, note },
        }
    }
}

impl Auth {
    fn login(&self) -> Result<Option<Login>, &'static str> {
        // There is a user beside it, of no use to anybody.
        if !self.identity_token.is_empty() {
            return Ok(Some(Login::Identity(IdentityToken(self.identity_token.clone()))));
        }
        if self.auth.is_empty() {
            let given = !self.username.is_empty();
            return Ok(given.then(|| Login::of(self.username.clone(), self.password.clone())));
        }
        let decoded = STANDARD.decode(self.auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let decoded = decoded.ok_or("is not in base 64")?;
        let (user, password) = decoded.split_once(':').ok_or("has no password")?;
        Ok(Some(Login::of(user.to_owned(), password.trim_end_matches('\0').to_owned())))
    }
}

fn read(file: &Path) -> Result<Option<DockerConfig>, String> {
    match std::fs::read(file) {
        Ok(json) => serde_json::from_slice(&json).map(Some).map_err(|error| error.to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// Keys may be URLs.
fn host_of(key: &str) -> &str {
    let key = key.split_once("://").map_or(key, |(_, rest)| rest);
    key.split('/').next().unwrap_or(key)
}

#[cfg(test)]
#[path = "tests/credentials.rs"]
mod tests;
