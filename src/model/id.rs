//! Box ids: 12 base62 characters, minted from the kernel's CRNG.

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Serialize};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A box's id. Unique in its home, never reused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BoxID(String);

impl BoxID {
    /// Characters in the short form.
    pub const SHORT_LENGTH: usize = 8;

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first characters, for a person to read.
    pub fn short(&self) -> &str {
        self.0.get(..Self::SHORT_LENGTH).unwrap_or(&self.0)
    }

    /// Whether the id begins with `prefix`.
    pub fn starts_with(&self, prefix: &str) -> bool {
        self.0.starts_with(prefix)
    }

    /// `text` as an id, when it has an id's form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::is_valid(text).then(|| Self(text.to_owned()))
    }

    /// Whether `text` has an id's form.
    pub fn is_valid(text: &str) -> bool {
        text.len() == BoxIDMint::MINT_LENGTH && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
    }
}

impl fmt::Display for BoxID {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for BoxID {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for BoxID {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Makes new ids.
#[derive(Clone, Copy, Debug, Default)]
pub struct BoxIDMint;

impl BoxIDMint {
    /// Characters in an id.
    pub const MINT_LENGTH: usize = 12;

    /// A new id.
    pub fn mint() -> BoxID {
        BoxID(mint_text(Self::MINT_LENGTH))
    }
}

/// `length` base62 characters from the kernel's CRNG, without bias.
pub(crate) fn mint_text(length: usize) -> String {
    let mut text = String::with_capacity(length);
    let mut pool = [0u8; 32];
    while text.len() < length {
        random_bytes(&mut pool);
        for byte in pool {
            // 248 = 4 × 62: larger values would favour the first letters.
            if byte < 248 && text.len() < length {
                text.push(char::from(ALPHABET[usize::from(byte % 62)]));
            }
        }
    }
    text
}

/// Fills `buffer` from getrandom(2).
pub(crate) fn random_bytes(buffer: &mut [u8]) {
    let mut filled = 0;
    while filled < buffer.len() {
        let rest = &mut buffer[filled..];
        // SAFETY: the pointer and length describe `rest`, which outlives the call.
        let got = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        // Below 256 bytes getrandom fails only when interrupted before the CRNG is seeded: ask again.
        filled += usize::try_from(got).unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_distinct_and_well_formed() {
        let ids: std::collections::HashSet<BoxID> = (0..1000).map(|_| BoxIDMint::mint()).collect();
        assert_eq!(ids.len(), 1000);
        for id in &ids {
            assert_eq!(BoxID::parse(id.as_str()).as_ref(), Some(id));
        }
        assert_eq!(BoxID::parse("../../../etc"), None);
        assert_eq!(BoxID::parse("short"), None);
    }
}
