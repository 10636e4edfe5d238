//! Extended attributes in EROFS's inline form.
//!
//! Owns names' prefixes and the body's encoding; never decides which attributes an image should carry.

use super::ErofsError;

/// The longest body of one inode; the root inode's must fit before the first data block.
pub(super) const MAX_BODY: usize = 60 * 1024;

const HEADER: usize = 12;
const PREFIXES: [(&[u8], u8); 5] = [
    (b"user.", 1),
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"trusted.", 4),
    (b"security.", 6),
];

/// What became of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Yes,
    /// EROFS has no such namespace, or the name is not a valid one in it.
    No,
}

/// The attributes of one inode, encoded; empty when there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Xattrs(Vec<u8>);

impl Xattrs {
    /// Adds one attribute by its full name; the caller adds no name twice.
    pub(crate) fn add(&mut self, name: &[u8], value: &[u8]) -> Result<Kept, ErofsError> {
        let Some((index, suffix)) = split(name) else { return Ok(Kept::No) };
        let Ok(suffix_length) = u8::try_from(suffix.len()) else { return Ok(Kept::No) };
        let value_length = u16::try_from(value.len()).map_err(|_| ErofsError::XattrsTooLarge)?;
        if self.0.is_empty() {
            self.0.resize(HEADER, 0);
        }
        self.0.extend_from_slice(&[suffix_length, index]);
        self.0.extend_from_slice(&value_length.to_le_bytes());
        self.0.extend_from_slice(suffix);
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        if self.0.len() > MAX_BODY { Err(ErofsError::XattrsTooLarge) } else { Ok(Kept::Yes) }
    }

    /// Bytes of memory they take.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The body as it stands behind the inode.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The prefix's index and the rest of the name. ACLs are whole names, all others need a rest.
fn split(name: &[u8]) -> Option<(u8, &[u8])> {
    let (prefix, index) = PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix))?;
    let suffix = &name[prefix.len()..];
    let whole = !prefix.ends_with(b".");
    (whole == suffix.is_empty()).then_some((*index, suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_prefix_index_suffix_value_and_padding() {
        let mut xattrs = Xattrs::default();
        assert!(matches!(xattrs.add(b"user.ab", b"xyz"), Ok(Kept::Yes)));
        assert_eq!(xattrs.bytes()[HEADER..], *b"\x02\x01\x03\x00abxyz\0\0\0");
    }

    #[test]
    fn names_without_a_place_are_dropped_and_leave_no_header() {
        let mut xattrs = Xattrs::default();
        for name in [&b"system.nfs4_acl"[..], b"user.", b"plain", b"system.posix_acl_access2"] {
            assert!(matches!(xattrs.add(name, b"v"), Ok(Kept::No)), "{}", name.escape_ascii());
        }
        assert!(xattrs.bytes().is_empty());
    }

    #[test]
    fn too_much_for_one_inode_is_refused() {
        let mut xattrs = Xattrs::default();
        assert!(matches!(xattrs.add(b"user.a", &[1; 65_536]), Err(ErofsError::XattrsTooLarge)));
        assert!(matches!(xattrs.add(b"user.a", &[1; 40_000]), Ok(Kept::Yes)));
        assert!(matches!(xattrs.add(b"user.b", &[1; 40_000]), Err(ErofsError::XattrsTooLarge)));
    }
}
