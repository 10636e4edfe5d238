//! Walking paths in the tree, through the image's own symlinks.
//!
//! Owns where a path's directory part leads and that it stays in the root; never puts or hides what an entry names.

use std::borrow::Cow;

use super::super::error::EntryProblem;
use super::super::journal::DirectoryId;
use super::{Node, NodeId, ROOT, Tree};

/// Symlinks followed for one path.
const MAX_SYMLINKS: usize = 40;
/// Names looked up for all paths together, beyond which a stack of layers is hostile.
const MAX_STEPS: u64 = 1 << 30;

/// Where a path's directory part leads.
struct Resolved<'p> {
    directory: NodeId,
    /// Directories below it that do not exist yet.
    missing: Vec<Cow<'p, [u8]>>,
    /// Symlinks that the path leads through.
    followed: Vec<NodeId>,
}

impl Tree {
    /// The directory at a path if all of it exists.
    pub(super) fn existing_directory(&mut self, path: &[u8]) -> Result<Option<NodeId>, EntryProblem> {
        match self.resolve(path) {
            Ok(resolved) => Ok(resolved.missing.is_empty().then_some(resolved.directory)),
            Err(EntryProblem::ParentNotDirectory) => Ok(None),
            Err(problem) => Err(problem),
        }
    }

    /// The directory at a path, made where it is missing, and marked as this layer's with all above it.
    pub(super) fn make_parents(&mut self, path: &[u8], implied: DirectoryId) -> Result<NodeId, EntryProblem> {
        let resolved = self.resolve(path)?;
        let mut id = resolved.directory;
        for name in &resolved.missing {
            id = self.new_directory(id, name, implied)?;
        }
        let layer = self.layer;
        for link in resolved.followed {
            if let Node::Symlink { followed, .. } = &mut self.nodes[link.index()] {
                *followed = layer;
            }
        }
        let mut above = resolved.directory;
        while let Some(directory) = self.directory_mut(above)
            && directory.layer != layer
        {
            directory.layer = layer;
            above = directory.parent;
        }
        Ok(id)
    }

    /// Follows a path through symlinks; `..` in their targets must not lead out of the root.
    fn resolve<'p>(&mut self, path: &'p [u8]) -> Result<Resolved<'p>, EntryProblem> {
        let mut directory = ROOT;
        let mut missing: Vec<Cow<'p, [u8]>> = Vec::new();
        let mut followed = Vec::new();
        // What is still to be walked: the path itself below, symlinks' targets on top of it.
        let mut pending: Vec<(Cow<'p, [u8]>, usize)> = vec![(Cow::Borrowed(path), 0)];
        while let Some((text, at)) = pending.pop() {
            let Some((start, end)) = next_name(&text, at) else { continue };
            let name: Cow<'p, [u8]> = match &text {
                Cow::Borrowed(text) => Cow::Borrowed(&text[start..end]),
                Cow::Owned(text) => Cow::Owned(text[start..end].to_vec()),
            };
            pending.push((text, end));
            self.steps += 1;
            if self.steps > MAX_STEPS {
                return Err(EntryProblem::TooManySteps);
            }
            if *name == *b"." {
                continue;
            }
            if *name == *b".." {
                if missing.pop().is_none() {
                    if directory == ROOT {
                        return Err(EntryProblem::SymlinkEscapes);
                    }
                    directory = self.directory(directory).map_or(ROOT, |directory| directory.parent);
                }
                continue;
            }
            if !missing.is_empty() {
                missing.push(name);
                continue;
            }
            match self.child(directory, &name).map(|id| (id, self.node(id))) {
                None => missing.push(name),
                Some((id, Node::Directory(_))) => directory = id,
                Some((_, Node::Leaf { .. })) => return Err(EntryProblem::ParentNotDirectory),
                Some((id, Node::Symlink { target, .. })) => {
                    followed.push(id);
                    if followed.len() > MAX_SYMLINKS {
                        return Err(EntryProblem::SymlinkLoop);
                    }
                    if target.starts_with(b"/") {
                        directory = ROOT;
                    }
                    pending.push((Cow::Owned(target.to_vec()), 0));
                }
            }
        }
        Ok(Resolved { directory, missing, followed })
    }
}

/// The next name of a path from `at` on, as a range.
fn next_name(text: &[u8], at: usize) -> Option<(usize, usize)> {
    let start = at + text[at..].iter().position(|byte| *byte != b'/')?;
    let end = text[start..].iter().position(|byte| *byte == b'/').map_or(text.len(), |slash| start + slash);
    Some((start, end))
}
