//! References: what a person writes to name an image, and where it can be found.
//!
//! Owns the grammar, docker.io's defaults and the order of search registries; does no I/O.

use std::fmt;
use std::path::PathBuf;

use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::model::digest::Digest;
use crate::model::registry::ImageRegistry;

pub(super) const DOCKER_IO: &str = "docker.io";
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;

/// Where an image comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageSource {
    /// A registry.
    Registry(RegistryReference),
    /// `oci:DIR[:TAG]`, a directory in the OCI image layout.
    OciLayout {
        /// The directory.
        path: PathBuf,
        /// Which of its images.
        tag: Option<String>,
    },
    /// `oci-archive:FILE[:TAG]`, a tar of such a directory.
    OciArchive {
        /// The file.
        path: PathBuf,
        /// Which of its images.
        tag: Option<String>,
    },
    /// `docker-archive:FILE[:TAG]`, what `docker save` writes.
    DockerArchive {
        /// The file.
        path: PathBuf,
        /// Which of its images, as `name:tag` or the tag alone.
        tag: Option<String>,
    },
}

/// A reference to a registry; without a host it is a short name, searched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryReference {
    /// `host[:port]`, where one was written.
    pub registry: Option<String>,
    /// `library/alpine`; as written for short names.
    pub repository: String,
    /// The tag, where one was written.
    pub tag: Option<String>,
    /// The pinned digest, where one was written.
    pub digest: Option<Digest>,
}

/// A reference with nothing left to default.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NamedReference {
    /// `host[:port]`.
    pub registry: String,
    /// The repository at that registry.
    pub repository: String,
    /// The tag; `latest` unless written or pinned by digest.
    pub tag: Option<String>,
    /// The pinned digest.
    pub digest: Option<Digest>,
}

impl fmt::Display for NamedReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Why a text is no reference; positions count characters from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum ReferenceError {
    #[error("it is empty")]
    Empty,
    #[error("`{0}` in front is not part of a reference")]
    Scheme(&'static str),
    #[error("character {position}, {found:?}, is not allowed in a {part}")]
    Character { position: usize, found: char, part: &'static str },
    #[error("its {part} is empty (at character {position})")]
    EmptyPart { position: usize, part: &'static str },
    #[error("its {part} has more than {limit} characters")]
    TooLong { part: &'static str, limit: usize },
    #[error("repository names are lower-case (character {position})")]
    UpperCase { position: usize },
    #[error("the repository component at character {position} starts, ends or is joined with a separator")]
    Separator { position: usize },
    #[error("its digest is bad: {0}")]
    Digest(crate::model::digest::DigestError),
}

/// Checks a reference at create time, without I/O.
pub fn validate(reference: &str) -> BoxliteResult<()> {
    ImageSource::parse(reference).map(drop)
}

impl ImageSource {
    /// Reads a reference.
    pub fn parse(reference: &str) -> BoxliteResult<Self> {
        parse(reference).map_err(|error| {
            BoxliteError::InvalidArgument(
                Detail::new(format!("`{}` is no image reference: {error}", printable(reference)))
                    .subject(printable(reference))
                    .hint(
                        "write [registry[:port]/]name[:tag][@sha256:digest], oci:DIR[:TAG], \
                         oci-archive:FILE[:TAG] or docker-archive:FILE[:TAG]",
                    ),
            )
        })
    }
}

/// What an error shows of an input: at most 200 characters, control characters escaped.
fn printable(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(200)
        .flat_map(|c| {
            let escaped: Vec<char> = if c.is_control() { c.escape_default().collect() } else { vec![c] };
            escaped
        })
        .collect();
    if text.chars().nth(200).is_some() {
        shown.push('…');
    }
    shown
}

fn parse(text: &str) -> Result<ImageSource, ReferenceError> {
    if text.is_empty() {
        return Err(ReferenceError::Empty);
    }
    for scheme in ["docker://", "http://", "https://", "oci://"] {
        if text.starts_with(scheme) {
            return Err(ReferenceError::Scheme(scheme));
        }
    }
    if let Some(rest) = text.strip_prefix("oci:") {
        return local(rest, "oci:".len()).map(|(path, tag)| ImageSource::OciLayout { path, tag });
    }
    if let Some(rest) = text.strip_prefix("oci-archive:") {
        return local(rest, "oci-archive:".len()).map(|(path, tag)| ImageSource::OciArchive { path, tag });
    }
    if let Some(rest) = text.strip_prefix("docker-archive:") {
        let offset = "docker-archive:".len();
        return local(rest, offset).map(|(path, tag)| ImageSource::DockerArchive { path, tag });
    }
    registry_reference(text).map(ImageSource::Registry)
}

/// `PATH[:TAG]`: the path ends at the first colon, so that a tag may itself be `registry:port/name:tag`.
fn local(text: &str, offset: usize) -> Result<(PathBuf, Option<String>), ReferenceError> {
    if let Some((index, found)) = text.char_indices().find(|(_, c)| *c == '\0') {
        let position = position(text, index) + offset;
        return Err(ReferenceError::Character { position, found, part: "path" });
    }
    let (path, tag) = match text.split_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (text, None),
    };
    if path.is_empty() {
        return Err(ReferenceError::EmptyPart { position: offset + 1, part: "path" });
    }
    match tag {
        Some("") => Err(ReferenceError::EmptyPart { position: offset + text.chars().count(), part: "tag" }),
        Some(tag) if tag.len() > MAX_NAME + MAX_TAG => {
            Err(ReferenceError::TooLong { part: "tag", limit: MAX_NAME + MAX_TAG })
        }
        tag => Ok((PathBuf::from(path), tag.map(str::to_owned))),
    }
}

fn position(text: &str, index: usize) -> usize {
    text[..index].chars().count() + 1
}

fn registry_reference(text: &str) -> Result<RegistryReference, ReferenceError> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(Digest::parse(digest).map_err(ReferenceError::Digest)?)),
        None => (text, None),
    };
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    if let Some(tag) = tag {
        check_tag(tag, name.chars().count() + 1)?;
    }
    let (registry, repository) = match name.split_once('/') {
        Some((host, repository)) if is_host(host) => (Some(host), repository),
        _ => (None, name),
    };
    let start = registry.map_or(0, |host| host.chars().count() + 1);
    if let Some(host) = registry {
        check_host(host)?;
    }
    check_repository(repository, start)?;
    if name.len() > MAX_NAME {
        return Err(ReferenceError::TooLong { part: "name", limit: MAX_NAME });
    }
    let registry = registry.map(|host| canonical_host(&host.to_ascii_lowercase()).to_owned());
    let repository = match &registry {
        Some(host) => in_registry(host, repository),
        None => repository.to_owned(),
    };
    Ok(RegistryReference { registry, repository, tag: tag.map(str::to_owned), digest })
}

/// docker.io keeps its own images under `library/`.
fn in_registry(registry: &str, repository: &str) -> String {
    if registry == DOCKER_IO && !repository.contains('/') {
        format!("library/{repository}")
    } else {
        repository.to_owned()
    }
}

/// The names docker.io goes by are one.
pub(super) fn canonical_host(host: &str) -> &str {
    match host {
        "index.docker.io" | "registry-1.docker.io" => DOCKER_IO,
        other => other,
    }
}

fn is_host(text: &str) -> bool {
    text == "localhost" || text.contains(['.', ':']) || text.chars().any(|c| c.is_ascii_uppercase())
}

fn check_host(host: &str) -> Result<(), ReferenceError> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, "")) => (name, None),
            Some((name, rest)) => (name, rest.strip_prefix(':').or(Some("?"))),
            None => (host, None),
        },
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    if name.is_empty() {
        return Err(ReferenceError::EmptyPart { position: 1, part: "registry host" });
    }
    let in_brackets = host.starts_with('[') && host.contains(']');
    let allowed = |c: char| {
        if in_brackets {
            c.is_ascii_hexdigit() || c == ':' || c == '.'
        } else {
            c.is_ascii_alphanumeric() || c == '.' || c == '-'
        }
    };
    if let Some((index, found)) = name.char_indices().find(|(_, c)| !allowed(*c)) {
        let position = position(name, index) + usize::from(in_brackets);
        return Err(ReferenceError::Character { position, found, part: "registry host" });
    }
    match port {
        Some(port) if port.parse::<u16>().is_err() || port.starts_with('+') => {
            let position = host.chars().count() - port.chars().count() + 1;
            let found = port.chars().find(|c| !c.is_ascii_digit()).unwrap_or(':');
            Err(ReferenceError::Character { position, found, part: "registry port" })
        }
        _ => Ok(()),
    }
}

/// `[a-z0-9]+` runs joined by `.`, `_`, `__` or dashes, in components joined by `/`.
fn check_repository(repository: &str, start: usize) -> Result<(), ReferenceError> {
    let mut at = start;
    for component in repository.split('/') {
        if component.is_empty() {
            return Err(ReferenceError::EmptyPart { position: at + 1, part: "repository" });
        }
        for (index, found) in component.chars().enumerate() {
            let position = at + index + 1;
            match found {
                'a'..='z' | '0'..='9' | '.' | '_' | '-' => {}
                'A'..='Z' => return Err(ReferenceError::UpperCase { position }),
                _ => return Err(ReferenceError::Character { position, found, part: "repository" }),
            }
        }
        let mut separators = component.split(|c: char| c.is_ascii_alphanumeric()).peekable();
        let first = separators.next().unwrap_or_default();
        let ends_clean = component.ends_with(|c: char| c.is_ascii_alphanumeric());
        let joined = |run: &str| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|b| b == b'-');
        if !first.is_empty() || !ends_clean || !separators.all(joined) {
            return Err(ReferenceError::Separator { position: at + 1 });
        }
        at += component.chars().count() + 1;
    }
    Ok(())
}

fn check_tag(tag: &str, start: usize) -> Result<(), ReferenceError> {
    if tag.is_empty() {
        return Err(ReferenceError::EmptyPart { position: start + 1, part: "tag" });
    }
    for (index, found) in tag.chars().enumerate() {
        let inner = found.is_ascii_alphanumeric() || found == '_';
        if !inner && (index == 0 || !matches!(found, '.' | '-')) {
            return Err(ReferenceError::Character { position: start + index + 1, found, part: "tag" });
        }
    }
    if tag.len() > MAX_TAG {
        return Err(ReferenceError::TooLong { part: "tag", limit: MAX_TAG });
    }
    Ok(())
}

impl RegistryReference {
    /// Where to look, in order: the registry named, or each search registry and then docker.io.
    pub fn candidates(&self, registries: &[ImageRegistry]) -> Vec<NamedReference> {
        let tag = match (&self.tag, &self.digest) {
            (None, None) => Some("latest".to_owned()),
            (tag, _) => tag.clone(),
        };
        let at = |host: &str| NamedReference {
            registry: host.to_owned(),
            repository: in_registry(host, &self.repository),
            tag: tag.clone(),
            digest: self.digest,
        };
        if let Some(host) = &self.registry {
            return vec![at(host)];
        }
        let mut hosts: Vec<&str> =
            registries.iter().filter(|entry| entry.search).map(|entry| canonical_host(&entry.host)).collect();
        if !hosts.contains(&DOCKER_IO) {
            hosts.push(DOCKER_IO);
        }
        hosts.into_iter().map(at).collect()
    }
}

/// Checks the host of a configured registry.
pub(super) fn check_registry(host: &str) -> BoxliteResult<()> {
    check_host(host).map_err(|error| {
        BoxliteError::Config(
            Detail::new(format!("`{}` is no registry host: {error}", printable(host)))
                .subject(printable(host))
                .hint("write host or host:port, without scheme and without a repository"),
        )
    })
}

/// The configured entry for a host, or one with every default.
pub(super) fn registry_for(host: &str, registries: &[ImageRegistry]) -> ImageRegistry {
    registries
        .iter()
        .find(|entry| canonical_host(&entry.host).eq_ignore_ascii_case(host))
        .cloned()
        .unwrap_or_else(|| ImageRegistry::https(host))
}

#[cfg(test)]
#[path = "tests/reference.rs"]
mod tests;
