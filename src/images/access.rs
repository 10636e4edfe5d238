//! How a store reaches registries, beyond what each registry's own entry says.

use super::authorities::Authorities;
use super::credentials::Credentials;
use super::mirrors::Mirrors;
use crate::log::Log;

/// All of it; the default adds nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    /// Shown to registries that were given none.
    pub credentials: Credentials,
    /// Asked first.
    pub mirrors: Mirrors,
    /// Trusted beside the system's.
    pub authorities: Authorities,
    /// Told of mirrors that were of no use.
    pub log: Log,
}
