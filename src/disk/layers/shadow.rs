//! A guess at which files of a layer the layers above it hide, so that their data need not be written.
//!
//! Knows paths only by hash and as they are spelled, not through symlinks, so it can be wrong both ways. That costs
//! space or a second look at a layer, never data: the tree has the last word.

use std::collections::{HashMap, HashSet};

const DIRECTORY: u8 = 1;
const OTHER: u8 = 2;
const WHITEOUT: u8 = 4;
const OPAQUE: u8 = 8;

/// What an upper layer does at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cover {
    Directory,
    Other,
    Whiteout,
    Opaque,
}

impl Cover {
    fn bit(self) -> u8 {
        match self {
            Self::Directory => DIRECTORY,
            Self::Other => OTHER,
            Self::Whiteout => WHITEOUT,
            Self::Opaque => OPAQUE,
        }
    }
}

#[derive(Default)]
pub(super) struct Shadow {
    covers: HashMap<u64, u8>,
    /// Of the layer being read: they act on the layers below it only.
    pending: Vec<(u64, u8)>,
    wanted: HashSet<u64>,
}

impl Shadow {
    /// Notes what the current layer does at `path`.
    pub(super) fn cover(&mut self, path: &[u8], cover: Cover) {
        self.pending.push((hash(path), cover.bit()));
    }

    /// Notes that a hard link leads to `path`: its file is needed even if the name is hidden.
    pub(super) fn want(&mut self, path: &[u8]) {
        self.wanted.insert(hash(path));
    }

    /// Goes on to the layer below.
    pub(super) fn next_layer(&mut self) {
        for (path, bit) in self.pending.drain(..) {
            *self.covers.entry(path).or_default() |= bit;
        }
    }

    /// Whether a file of the current layer at `path` seems not to be needed.
    pub(super) fn hides(&self, path: &[u8]) -> bool {
        if self.covers.is_empty() {
            return false;
        }
        let mut hidden = false;
        let mut state = SEED;
        for (at, byte) in path.iter().enumerate() {
            // So far an ancestor's path, the root's at first.
            if *byte == b'/' || at == 0 {
                hidden |= self.has(state, OTHER | WHITEOUT | OPAQUE);
            }
            state = step(state, *byte);
        }
        (hidden || self.has(state, DIRECTORY | OTHER | WHITEOUT)) && !self.wanted.contains(&state)
    }

    fn has(&self, path: u64, bits: u8) -> bool {
        self.covers.get(&path).is_some_and(|covers| covers & bits != 0)
    }
}

const SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, which needs only its state to go on: a path's hash passes through those of its ancestors.
fn step(state: u64, byte: u8) -> u64 {
    (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
}

fn hash(path: &[u8]) -> u64 {
    path.iter().fold(SEED, |state, byte| step(state, *byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn under(path: &str, cover: Cover) -> Shadow {
        let mut shadow = Shadow::default();
        shadow.cover(path.as_bytes(), cover);
        assert!(!shadow.hides(path.as_bytes()), "a layer hides nothing of its own");
        shadow.next_layer();
        shadow
    }

    #[test]
    fn upper_layers_hide_names_and_what_is_below_them() {
        for (cover, itself, below) in [
            (Cover::Directory, true, false),
            (Cover::Other, true, true),
            (Cover::Whiteout, true, true),
            (Cover::Opaque, false, true),
        ] {
            let shadow = under("a/b", cover);
            assert_eq!(shadow.hides(b"a/b"), itself, "{cover:?}");
            assert_eq!(shadow.hides(b"a/b/c/d"), below, "{cover:?}");
            for other in [&b"a"[..], b"a/bc", b"a/c", b"b"] {
                assert!(!shadow.hides(other), "{cover:?} {}", other.escape_ascii());
            }
        }
        assert!(under("", Cover::Opaque).hides(b"any/thing"));
    }

    #[test]
    fn what_a_hard_link_needs_is_not_hidden() {
        let mut shadow = under("a", Cover::Whiteout);
        shadow.want(b"a/b");
        assert!(!shadow.hides(b"a/b"));
        assert!(shadow.hides(b"a/c"));
    }
}
