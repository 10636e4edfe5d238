//! Paths as they stand in layers, made safe: relative to the root, no `.`, no `..`.
//!
//! Purely lexical. A `..` that leads out of the root is refused, and so is an absolute path: tools differ in what it
//! means. Only the root itself may be spelled `/`, as some builders do. Symlinks are the tree's business.

use super::error::EntryProblem;
use crate::disk::erofs::MAX_NAME;

/// The longest path of an entry.
pub(super) const MAX_PATH: usize = 4096;

pub(super) const WHITEOUT: &[u8] = b".wh.";
const WHITEOUT_META: &[u8] = b".wh..wh.";
pub(super) const OPAQUE: &[u8] = b".wh..wh..opq";

/// Writes the clean form of `raw` into `clean`: names joined by single slashes, empty for the root.
pub(super) fn clean(raw: &[u8], clean: &mut Vec<u8>) -> Result<(), EntryProblem> {
    clean.clear();
    if raw.len() > MAX_PATH {
        return Err(EntryProblem::PathTooLong);
    }
    if raw.contains(&0) {
        return Err(EntryProblem::Nul);
    }
    for name in raw.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." if clean.is_empty() => return Err(EntryProblem::Escapes),
            b".." => clean.truncate(split(clean).0.len()),
            _ if name.len() > MAX_NAME => return Err(EntryProblem::NameTooLong),
            _ => {
                if !clean.is_empty() {
                    clean.push(b'/');
                }
                clean.extend_from_slice(name);
            }
        }
    }
    if raw.starts_with(b"/") && !clean.is_empty() {
        return Err(EntryProblem::Absolute);
    }
    Ok(())
}

/// Directory part and last name of a clean path.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// What a name means by the OCI image specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker<'a> {
    /// Nothing special.
    Plain,
    /// The named sibling of lower layers is gone.
    Whiteout(&'a [u8]),
    /// All siblings of lower layers are gone.
    Opaque,
    /// Bookkeeping of AUFS: no file of the image.
    Ignored,
}

/// Tells markers from files by the last name of a path.
pub(super) fn marker(name: &[u8]) -> Result<Marker<'_>, EntryProblem> {
    if name == OPAQUE {
        return Ok(Marker::Opaque);
    }
    if name.starts_with(WHITEOUT_META) {
        return Ok(Marker::Ignored);
    }
    match name.strip_prefix(WHITEOUT) {
        Some(b"" | b"." | b"..") => Err(EntryProblem::EmptyWhiteout),
        Some(hidden) => Ok(Marker::Whiteout(hidden)),
        None => Ok(Marker::Plain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(raw: &[u8]) -> Result<Vec<u8>, EntryProblem> {
        let mut path = Vec::new();
        clean(raw, &mut path).map(|()| path)
    }

    #[test]
    fn paths_are_made_relative_to_the_root() {
        for (raw, want) in [
            (&b"./a//b/./c/"[..], &b"a/b/c"[..]),
            (b"a/../b", b"b"),
            (b"a/b/../../c", b"c"),
            (b"./", b""),
            (b"/", b""),
            (b"//.", b""),
            (b"\xff/\n", b"\xff/\n"),
        ] {
            assert_eq!(cleaned(raw).ok().as_deref(), Some(want), "{}", raw.escape_ascii());
        }
    }

    #[test]
    fn paths_that_leave_the_root_or_do_not_fit_are_refused() {
        assert!(matches!(cleaned(b"../x"), Err(EntryProblem::Escapes)));
        assert!(matches!(cleaned(b"a/../../x"), Err(EntryProblem::Escapes)));
        assert!(matches!(cleaned(b"/.."), Err(EntryProblem::Escapes)));
        assert!(matches!(cleaned(b"/etc/passwd"), Err(EntryProblem::Absolute)));
        assert!(matches!(cleaned(b"//x"), Err(EntryProblem::Absolute)));
        assert!(matches!(cleaned(&[b'n'; 256]), Err(EntryProblem::NameTooLong)));
        assert!(matches!(cleaned(&b"d/".repeat(2049)), Err(EntryProblem::PathTooLong)));
        assert!(matches!(cleaned(b"a\0b"), Err(EntryProblem::Nul)));
    }

    #[test]
    fn markers_are_told_by_name() {
        assert!(matches!(marker(b".wh.a"), Ok(Marker::Whiteout(b"a"))));
        assert!(matches!(marker(b".wh..wh..opq"), Ok(Marker::Opaque)));
        assert!(matches!(marker(b".wh..wh.plnk"), Ok(Marker::Ignored)));
        assert!(matches!(marker(b".wh"), Ok(Marker::Plain)));
        assert!(matches!(marker(b".wh...x"), Ok(Marker::Whiteout(b"..x"))));
        for bad in [&b".wh."[..], b".wh..", b".wh..."] {
            assert!(marker(bad).is_err(), "{}", bad.escape_ascii());
        }
    }
}
