//! Content digests: `sha256:` and 64 lower-case hexadecimal digits.
//!
//! Owns parsing, printing and computing them; knows of no file.

use std::fmt;
use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

/// Why a text is no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// There is no `algorithm:` in front.
    #[error("a digest looks like sha256:<64 hexadecimal digits>")]
    NoAlgorithm,
    /// Only SHA-256 is understood.
    #[error("digest algorithm `{0}` is not supported, only sha256 is")]
    Algorithm(String),
    /// The digits are too few, too many, or none.
    #[error("a sha256 digest has 64 lower-case hexadecimal digits")]
    Digits,
}

/// The SHA-256 of some content.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `content`.
    pub fn of(content: &[u8]) -> Self {
        Self(Sha256::digest(content).into())
    }

    /// The digest of all there is to read.
    pub(crate) fn of_reader(mut content: impl Read) -> io::Result<Self> {
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 128 * 1024];
        loop {
            match content.read(&mut buffer)? {
                0 => return Ok(hasher.into()),
                length => hasher.update(&buffer[..length]),
            }
        }
    }

    /// Reads `sha256:<hex>`.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let (algorithm, digits) = text.split_once(':').ok_or(DigestError::NoAlgorithm)?;
        if algorithm != "sha256" {
            return Err(DigestError::Algorithm(algorithm.to_owned()));
        }
        Self::from_hex(digits)
    }

    /// Reads the 64 digits alone, as in a blob's file name.
    pub fn from_hex(digits: &str) -> Result<Self, DigestError> {
        let digits = digits.as_bytes();
        if digits.len() != 64 {
            return Err(DigestError::Digits);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self(bytes))
    }

    /// The 64 digits alone.
    pub fn hex(&self) -> String {
        use fmt::Write as _;
        self.0.iter().fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }

    /// The digest as bytes.
    pub fn bytes(&self) -> [u8; 32] {
        self.0
    }
}

fn nibble(digit: u8) -> Result<u8, DigestError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(DigestError::Digits),
    }
}

impl From<Sha256> for Digest {
    fn from(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_what_it_was_parsed_from() {
        let text = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::parse(text).map(|digest| digest.to_string()).as_deref(), Ok(text));
        assert_eq!(Digest::of(b"").to_string(), text);
    }

    #[test]
    fn what_is_no_digest_is_refused_by_reason() {
        assert_eq!(Digest::parse("e3b0"), Err(DigestError::NoAlgorithm));
        assert_eq!(Digest::parse("md5:00"), Err(DigestError::Algorithm("md5".into())));
        assert_eq!(Digest::parse("sha256:../../../etc/passwd"), Err(DigestError::Digits));
        assert_eq!(Digest::parse(&format!("sha256:{}", "E".repeat(64))), Err(DigestError::Digits));
    }
}
