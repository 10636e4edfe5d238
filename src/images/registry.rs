//! One registry, as one pull sees it: requests, credentials, and what its refusals mean.
//!
//! Owns the HTTP client and the translation of its errors; never writes files, never retries.

use std::error::Error;
use std::io;
use std::time::Duration;

use oci_client::RegistryOperation;
use oci_client::client::{BlobResponse, Client, ClientConfig, ClientProtocol, LayerDescriptor};
use oci_client::errors::{DigestError, OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;

use super::authorities::Authorities;
use super::credentials::Known;
use super::identity::{self, Exchanged};
use super::manifest::ACCEPTED;
use super::reference::NamedReference;
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::model::digest::Digest;
use crate::model::registry::{ImageRegistry, ImageRegistryAuth, RegistryTransport};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Of a mirror: the registry itself is still to be asked.
const MIRROR_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const USER_AGENT: &str = concat!("boxlite/", env!("CARGO_PKG_VERSION"));
/// The longest silence within an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// A client for one image at one registry.
pub(super) struct RegistryClient {
    client: Client,
    named: NamedReference,
    entry: ImageRegistry,
    known: Known,
    /// What the identity token is exchanged with; made where there is one.
    http: Option<reqwest::Client>,
}

/// A failed request, and whether the same request may succeed a moment later.
#[derive(Debug)]
pub(super) struct Failure {
    pub error: BoxliteError,
    pub transient: bool,
}

impl From<BoxliteError> for Failure {
    fn from(error: BoxliteError) -> Self {
        Self { error, transient: false }
    }
}

/// What was asked for, as errors name it.
#[derive(Clone, Copy)]
enum Asked<'a> {
    Login,
    Manifest,
    Blob(&'a Digest),
}

impl RegistryClient {
    pub(super) fn new(
        named: NamedReference,
        entry: ImageRegistry,
        known: Known,
        authorities: &Authorities,
        is_mirror: bool,
    ) -> BoxliteResult<Self> {
        // The process may have installed a provider before: that one is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let connect_timeout = if is_mirror { MIRROR_CONNECT_TIMEOUT } else { CONNECT_TIMEOUT };
        let config = ClientConfig {
            protocol: match entry.transport {
                RegistryTransport::Http => ClientProtocol::Http,
                RegistryTransport::Https => ClientProtocol::Https,
            },
            accept_invalid_certificates: entry.skip_verify,
            extra_root_certificates: authorities.for_client(),
            connect_timeout: Some(connect_timeout),
            read_timeout: Some(READ_TIMEOUT),
            user_agent: USER_AGENT,
            platform_resolver: None,
            ..ClientConfig::default()
        };
        let cannot = |error: &(dyn Error + 'static)| {
            BoxliteError::Network(
                Detail::new(format!("cannot set up a client for registry {}: {}", entry.host, chain(error)))
                    .subject(entry.host.clone()),
            )
        };
        let client = Client::try_from(config).map_err(|error| cannot(&error))?;
        let http = known.identity.is_some().then(|| {
            reqwest::Client::builder()
                .tls_danger_accept_invalid_certs(entry.skip_verify)
                .tls_certs_merge(authorities.for_http())
                .connect_timeout(connect_timeout)
                .read_timeout(READ_TIMEOUT)
                .user_agent(USER_AGENT)
                .build()
        });
        let http = http.transpose().map_err(|error| cannot(&error))?;
        Ok(Self { client, named, entry, known, http })
    }

    /// Gets what the registry wants to see with each request.
    pub(super) async fn login(&self) -> Result<(), Failure> {
        let auth = match &self.entry.auth {
            ImageRegistryAuth::Anonymous => match self.exchanged().await? {
                Some(token) => RegistryAuth::Bearer(token),
                None => RegistryAuth::Anonymous,
            },
            ImageRegistryAuth::Basic { username, password } => {
                RegistryAuth::Basic(username.clone(), password.clone())
            }
            ImageRegistryAuth::Bearer { token } => RegistryAuth::Bearer(token.clone()),
        };
        let login = self.client.auth(&self.request(None), &auth, RegistryOperation::Pull).await;
        login.map(drop).map_err(|error| self.failure(error, Asked::Login))
    }

    /// A bearer token for the user's identity token.
    async fn exchanged(&self) -> Result<Option<String>, Failure> {
        let (Some(identity), Some(http)) = (&self.known.identity, &self.http) else { return Ok(None) };
        let base = format!("{}://{}", self.scheme(), self.request(None).resolve_registry());
        match identity::exchange(http, &base, &self.named.repository, identity).await {
            Ok(Exchanged::Token(token)) => Ok(Some(token)),
            Ok(Exchanged::NotAsked) => Ok(None),
            Ok(Exchanged::OfNoUse) => Err(self.refused("it asks for a password").into()),
            Err(error) => Err(self.failure(error, Asked::Login)),
        }
    }

    /// The manifest or index the reference names; its bytes are what its digest is made of.
    pub(super) async fn root(&self) -> Result<Vec<u8>, Failure> {
        self.manifest(self.named.digest.as_ref()).await
    }

    /// A manifest by digest; verified.
    pub(super) async fn manifest(&self, digest: Option<&Digest>) -> Result<Vec<u8>, Failure> {
        let request = self.request(digest);
        // The credentials were stored by `login`; these are not looked at.
        let answer = self.client.pull_manifest_raw(&request, &RegistryAuth::Anonymous, &ACCEPTED).await;
        let (bytes, _) = answer.map_err(|error| self.failure(error, Asked::Manifest))?;
        match digest {
            Some(digest) if Digest::of(&bytes) != *digest => {
                Err(self.wrong_digest(&digest.to_string(), &Digest::of(&bytes).to_string()).into())
            }
            _ => Ok(bytes.into()),
        }
    }

    /// The bytes of a blob from `offset` on, or all of it when the registry has no ranges. Not verified.
    pub(super) async fn blob(&self, digest: &Digest, offset: u64) -> Result<BlobResponse, Failure> {
        let name = digest.to_string();
        // Foreign URLs in a descriptor are not followed: they are somebody else's requests in our name.
        let layer = &LayerDescriptor { digest: &name, urls: &None };
        let answer = self.client.pull_blob_stream_partial(&self.request(None), layer, offset, None).await;
        answer.map_err(|error| self.failure(error, Asked::Blob(digest)))
    }

    /// What a stream that broke off means.
    pub(super) fn broken_stream(&self, digest: &Digest, error: &io::Error) -> Failure {
        let text = format!("registry {} broke off sending blob {digest}: {}", self.entry.host, chain(error));
        Failure {
            error: BoxliteError::Network(Detail::new(text).subject(self.entry.host.clone())),
            transient: true,
        }
    }

    fn request(&self, digest: Option<&Digest>) -> oci_client::Reference {
        let (registry, repository) = (self.named.registry.clone(), self.named.repository.clone());
        match (digest, &self.named.tag) {
            (Some(digest), _) => oci_client::Reference::with_digest(registry, repository, digest.to_string()),
            (None, Some(tag)) => oci_client::Reference::with_tag(registry, repository, tag.clone()),
            (None, None) => oci_client::Reference::with_tag(registry, repository, "latest".into()),
        }
    }

    fn failure(&self, error: OciDistributionError, asked: Asked<'_>) -> Failure {
        let fatal = |error| Failure { error, transient: false };
        match &error {
            OciDistributionError::UnauthorizedError { .. } => fatal(self.refused("401 Unauthorized")),
            OciDistributionError::AuthenticationFailure(reason) => {
                fatal(self.refused(&format!("its token service answered: {}", shorten(reason))))
            }
            OciDistributionError::ServerError { code: 401 | 403, message, .. } => {
                fatal(self.refused(&shorten(message)))
            }
            OciDistributionError::ServerError { code: 404, .. } => fatal(self.not_found(asked)),
            OciDistributionError::ServerError { code, message, .. } => {
                let transient = *code == 429 || *code == 408 || *code >= 500;
                Failure { error: self.answered(&format!("{code} {}", shorten(message))), transient }
            }
            OciDistributionError::RegistryError { envelope, .. } => match envelope.errors.first() {
                Some(first) => match first.code {
                    OciErrorCode::Unauthorized | OciErrorCode::Denied => {
                        fatal(self.refused(&shorten(&first.message)))
                    }
                    OciErrorCode::ManifestUnknown
                    | OciErrorCode::NameUnknown
                    | OciErrorCode::NotFound
                    | OciErrorCode::BlobUnknown
                    | OciErrorCode::ManifestBlobUnknown => fatal(self.not_found(asked)),
                    OciErrorCode::Toomanyrequests => {
                        Failure { error: self.answered("429 too many requests"), transient: true }
                    }
                    _ => fatal(self.answered(&shorten(&envelope.to_string()))),
                },
                None => fatal(self.answered("an error without a reason")),
            },
            OciDistributionError::DigestError(DigestError::VerificationError { expected, actual }) => {
                fatal(self.wrong_digest(expected, actual))
            }
            OciDistributionError::RequestError(request) => self.transport(request),
            OciDistributionError::IoError(io) => {
                Failure { error: self.network(&chain(io), None), transient: true }
            }
            other => fatal(self.answered(&shorten(&chain(other)))),
        }
    }

    fn transport(&self, error: &(impl Error + 'static)) -> Failure {
        if let Some(tls) = tls_cause(error) {
            let plain = matches!(tls, rustls::Error::InvalidMessage(_));
            let hint = if plain {
                "the registry seems to speak plain HTTP: configure it with ImageRegistry::http"
            } else {
                "name the registry's CA with RuntimeBuilder::ca_file or add it to the system's trust store; or use \
                 with_skip_verify(true) on a network you trust"
            };
            return Failure {
                error: self.network(&format!("TLS failed: {tls}"), Some(hint)),
                transient: false,
            };
        }
        let refused = io_kind(error) == Some(io::ErrorKind::ConnectionRefused);
        let hint = match self.entry.transport {
            RegistryTransport::Https if refused => Some(
                "check host and port and that the registry runs; for plain HTTP configure ImageRegistry::http",
            ),
            _ => None,
        };
        Failure { error: self.network(&chain(error), hint), transient: true }
    }

    fn network(&self, what: &str, hint: Option<&'static str>) -> BoxliteError {
        let text = format!("cannot reach registry {}://{}: {what}", self.scheme(), self.entry.host);
        let error = BoxliteError::Network(Detail::new(text).subject(self.entry.host.clone()));
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }

    fn scheme(&self) -> &'static str {
        match self.entry.transport {
            RegistryTransport::Http => "http",
            RegistryTransport::Https => "https",
        }
    }

    fn answered(&self, what: &str) -> BoxliteError {
        let text = format!("registry {} answered for {}: {what}", self.entry.host, self.named);
        BoxliteError::Network(Detail::new(text).subject(self.named.to_string()))
    }

    fn refused(&self, why: &str) -> BoxliteError {
        let given = match &self.entry.auth {
            ImageRegistryAuth::Anonymous if self.known.identity.is_some() => {
                "to the identity token".to_owned()
            }
            ImageRegistryAuth::Anonymous => "without credentials".to_owned(),
            ImageRegistryAuth::Basic { username, .. } => format!("to user `{username}`"),
            ImageRegistryAuth::Bearer { .. } => "to the given bearer token".to_owned(),
        };
        let text = format!("registry {} refuses access to {} {given}: {why}", self.entry.host, self.named);
        let note = self.known.note.as_deref().map(|note| format!("; {note}")).unwrap_or_default();
        BoxliteError::Network(Detail::new(text).subject(self.named.to_string()).hint(format!(
            "give credentials for this registry with ImageRegistry::with_basic_auth or with_bearer_auth, or log in with \
             docker, and check that the repository exists{note}"
        )))
    }

    fn not_found(&self, asked: Asked<'_>) -> BoxliteError {
        let subject = self.named.to_string();
        match asked {
            Asked::Blob(digest) => BoxliteError::Image(
                Detail::new(format!("registry {} lacks blob {digest} of {subject}", self.entry.host))
                    .subject(subject)
                    .hint("push the image again"),
            ),
            Asked::Login | Asked::Manifest => BoxliteError::NotFound(
                Detail::new(format!("registry {} has no image {subject}", self.entry.host))
                    .subject(subject)
                    .hint("check the image's name and tag at the registry"),
            ),
        }
    }

    fn wrong_digest(&self, expected: &str, actual: &str) -> BoxliteError {
        let text = format!(
            "registry {} sent the wrong content for {}: digest {expected} was asked for, {actual} came",
            self.entry.host, self.named
        );
        BoxliteError::Image(
            Detail::new(text)
                .subject(self.named.to_string())
                .hint("the registry is damaged: push the image again"),
        )
    }
}

/// An answer's text in one line of bounded length.
fn shorten(text: &str) -> String {
    let line: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
    if line.is_empty() { "no reason given".into() } else { line }
}

/// The innermost cause, where an HTTP client's outer words say nothing.
fn chain(error: &(dyn Error + 'static)) -> String {
    let innermost = causes(error).last().unwrap_or(error);
    shorten(&innermost.to_string())
}

/// An error and what is inside it. An `io::Error` hides what it wraps from `source`.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => (*error).source(),
        }
    })
}

fn tls_cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

fn io_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).last().map(io::Error::kind)
}
