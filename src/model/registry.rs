//! How a registry is reached: transport, credentials, whether short names are searched there.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The protocol spoken to a registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegistryTransport {
    /// TLS; the default.
    #[default]
    Https,
    /// Plain HTTP, for registries on loopback or a trusted network.
    Http,
}

/// Credentials for one registry. `Debug` never shows them.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ImageRegistryAuth {
    /// No credentials.
    #[default]
    Anonymous,
    /// User name and password.
    Basic {
        /// The user's name.
        username: String,
        /// The user's password or access token.
        password: String,
    },
    /// A ready bearer token.
    Bearer {
        /// The token.
        token: String,
    },
}

impl fmt::Debug for ImageRegistryAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Basic { .. } => "Basic(..)",
            Self::Bearer { .. } => "Bearer(..)",
        })
    }
}

/// One registry and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRegistry {
    /// Host name, with `:port` where it is not the default one.
    pub host: String,
    /// The protocol spoken.
    #[serde(default)]
    pub transport: RegistryTransport,
    /// Don't verify the TLS certificate.
    #[serde(default)]
    pub skip_verify: bool,
    /// Look short names such as `alpine` up here.
    #[serde(default)]
    pub search: bool,
    /// Credentials.
    #[serde(default)]
    pub auth: ImageRegistryAuth,
}

impl ImageRegistry {
    /// A registry reached over TLS.
    pub fn https(host: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            transport: RegistryTransport::Https,
            skip_verify: false,
            search: false,
            auth: ImageRegistryAuth::Anonymous,
        }
    }

    /// A registry reached over plain HTTP.
    pub fn http(host: impl Into<String>) -> Self {
        Self { transport: RegistryTransport::Http, ..Self::https(host) }
    }

    /// Whether short names are looked up here.
    #[must_use]
    pub fn with_search(mut self, search: bool) -> Self {
        self.search = search;
        self
    }

    /// Whether to accept any TLS certificate.
    #[must_use]
    pub fn with_skip_verify(mut self, skip_verify: bool) -> Self {
        self.skip_verify = skip_verify;
        self
    }

    /// Log in with a name and a password.
    #[must_use]
    pub fn with_basic_auth(mut self, username: impl Into<String>, password: impl Into<String>) -> Self {
        self.auth = ImageRegistryAuth::Basic { username: username.into(), password: password.into() };
        self
    }

    /// Present a ready bearer token.
    #[must_use]
    pub fn with_bearer_auth(mut self, token: impl Into<String>) -> Self {
        self.auth = ImageRegistryAuth::Bearer { token: token.into() };
        self
    }
}
