//! Mirrors: other registries that are asked before the one a reference names.
//!
//! Owns how a mirror is written and which one serves what. A mirror gives bytes, never a name: what it sent is stored and
//! verified as the registry's own, and no credentials of the registry are shown to it.

use super::reference::{NamedReference, canonical_host, check_registry, registry_for};
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::model::registry::{ImageRegistry, RegistryTransport};

/// One mirror of one registry.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mirror {
    /// The registry's host, in its one spelling.
    registry: String,
    /// `host[:port]` of the mirror.
    host: String,
    /// As the mirror's URL says; without one, what is configured for its host.
    transport: Option<RegistryTransport>,
}

/// The mirrors of all registries, in the order in which they are asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mirrors(Vec<Mirror>);

impl Mirrors {
    /// Reads pairs of a registry's host and a mirror, `host[:port]` or a URL without a path.
    pub(crate) fn parse(pairs: &[(String, String)]) -> BoxliteResult<Self> {
        pairs
            .iter()
            .map(|(registry, mirror)| Mirror::parse(registry, mirror))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The image at each mirror of its registry, and how that is reached.
    pub(super) fn of(
        &self,
        named: &NamedReference,
        registries: &[ImageRegistry],
    ) -> Vec<(NamedReference, ImageRegistry)> {
        let serving = self.0.iter().filter(|mirror| mirror.registry == named.registry);
        let at = |mirror: &Mirror| {
            let mut entry = registry_for(&mirror.host, registries);
            if let Some(transport) = mirror.transport {
                entry.transport = transport;
            }
            (NamedReference { registry: mirror.host.clone(), ..named.clone() }, entry)
        };
        serving.map(at).collect()
    }
}

impl Mirror {
    fn parse(registry: &str, mirror: &str) -> BoxliteResult<Self> {
        check_registry(registry)?;
        let (transport, rest) = match mirror.split_once("://") {
            None => (None, mirror),
            Some(("https", rest)) => (Some(RegistryTransport::Https), rest),
            Some(("http", rest)) => (Some(RegistryTransport::Http), rest),
            Some(_) => return Err(no_mirror(mirror, registry)),
        };
        let host = rest.strip_suffix('/').unwrap_or(rest);
        check_registry(host).map_err(|_| no_mirror(mirror, registry))?;
        let registry = canonical_host(&registry.to_ascii_lowercase()).to_owned();
        Ok(Self { registry, host: host.to_ascii_lowercase(), transport })
    }
}

fn no_mirror(mirror: &str, registry: &str) -> BoxliteError {
    let shown: String = mirror.chars().take(200).flat_map(char::escape_default).collect();
    BoxliteError::Config(
        Detail::new(format!("`{shown}` is no mirror of registry {registry}"))
            .subject(shown)
            .hint("write host, host:port, http://host:port or https://host:port, without a path"),
    )
}

#[cfg(test)]
#[path = "tests/mirrors.rs"]
mod tests;
