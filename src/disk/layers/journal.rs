//! What one layer says, entry by entry, without its data.
//!
//! Layers are read from the top down but mean something only from the bottom up: the journal keeps the order. Owns a
//! compact form (a path costs what it does not share with the one before); never interprets it.

use super::inodes::InodeId;
use super::path;

/// Index into the attributes of directories.
pub(super) type DirectoryId = u32;

/// What an entry does to the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Directory(DirectoryId),
    /// A file, device or FIFO.
    Leaf(InodeId),
    /// The target is the record's `target`.
    Symlink(InodeId),
    /// The record's `target` is the clean path of an existing name.
    HardLink,
    /// The path is the name to hide.
    Whiteout,
    /// The path is the directory whose lower content to hide.
    Opaque,
}

/// One entry of a layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) path: &'a [u8],
    pub(super) target: &'a [u8],
    pub(super) change: Change,
}

impl Record<'_> {
    /// The clean path of the entry itself, which is a marker's if it hides something.
    pub(super) fn entry(&self) -> Vec<u8> {
        let (directory, marker, name) = match self.change {
            Change::Whiteout => {
                let (directory, name) = path::split(self.path);
                (directory, path::WHITEOUT, name)
            }
            Change::Opaque => (self.path, path::OPAQUE, &[][..]),
            _ => return self.path.to_vec(),
        };
        let slash: &[u8] = if directory.is_empty() { b"" } else { b"/" };
        [directory, slash, marker, name].concat()
    }
}

struct Step {
    shared: u16,
    suffix: u16,
    target: u16,
    change: Change,
}

/// All entries of one layer in the order of its tar archive.
#[derive(Default)]
pub(super) struct Journal {
    steps: Vec<Step>,
    bytes: Vec<u8>,
    last: Vec<u8>,
}

impl Journal {
    /// Appends an entry; `path` and `target` have at most 4096 bytes.
    pub(super) fn push(&mut self, path: &[u8], target: &[u8], change: Change) {
        let shared = self.last.iter().zip(path).take_while(|(a, b)| a == b).count();
        let suffix = &path[shared..];
        self.bytes.extend_from_slice(suffix);
        self.bytes.extend_from_slice(target);
        self.last.truncate(shared);
        self.last.extend_from_slice(suffix);
        self.steps.push(Step {
            shared: shared as u16,
            suffix: suffix.len() as u16,
            target: target.len() as u16,
            change,
        });
    }

    /// Bytes of memory that paths and targets take.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Gives all entries to `apply`, first to last, until one fails.
    pub(super) fn replay<E>(&self, mut apply: impl FnMut(Record<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut path: Vec<u8> = Vec::new();
        let mut rest = self.bytes.as_slice();
        for step in &self.steps {
            let (suffix, behind) = rest.split_at(usize::from(step.suffix));
            let (target, behind) = behind.split_at(usize::from(step.target));
            path.truncate(usize::from(step.shared));
            path.extend_from_slice(suffix);
            apply(Record { path: &path, target, change: step.change })?;
            rest = behind;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_is_replayed() {
        let entries: [(&[u8], &[u8], Change); 7] = [
            (b"usr/bin/a", b"", Change::Leaf(InodeId::new(1))),
            (b"usr/bin/ab", b"a", Change::HardLink),
            (b"usr", b"", Change::Whiteout),
            (b"a/b", b"", Change::Whiteout),
            (b"", b"", Change::Opaque),
            (b"c", b"", Change::Opaque),
            (b"etc/link", b"/usr", Change::Symlink(InodeId::new(2))),
        ];
        let mut journal = Journal::default();
        for (path, target, change) in entries {
            journal.push(path, target, change);
        }
        let mut seen = Vec::new();
        let end: Result<(), ()> = journal.replay(|record| {
            seen.push((record.path.to_vec(), record.target.to_vec(), record.change));
            Ok(())
        });
        assert!(end.is_ok());
        let named =
            seen.iter().map(|(path, target, change)| Record { path, target, change: *change }.entry());
        let names = named.map(|name| name.escape_ascii().to_string()).collect::<Vec<_>>();
        assert_eq!(
            names,
            ["usr/bin/a", "usr/bin/ab", ".wh.usr", "a/.wh.b", ".wh..wh..opq", "c/.wh..wh..opq", "etc/link"]
        );
        assert_eq!(seen, entries.map(|(path, target, change)| (path.to_vec(), target.to_vec(), change)));
    }
}
