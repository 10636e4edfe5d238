//! The file tree that the layers make, bottom layer first.
//!
//! Owns the rules: whiteouts hide only what lower layers put there, wherever they stand in their own layer; an entry
//! replaces what lower layers put there, never what its own layer did, and a directory keeps what is in it; the parent
//! part of a path is resolved through symlinks inside the image's root and must not climb out of it, the last name
//! never is resolved (as `umoci unpack` does on a real file system). Holds names and indices only, no attributes, no
//! data. Nothing recurses: depth is bounded by [`MAX_DEPTH`], not by the stack.

mod resolve;

use std::collections::BTreeMap;

use super::error::EntryProblem;
use super::inodes::{InodeId, Inodes};
use super::journal::{Change, DirectoryId, Record};
use super::path;

/// How deep directories may be nested: what a path of 4096 bytes can express.
pub(super) const MAX_DEPTH: usize = 2048;

/// Index of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodeId(u32);

impl NodeId {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// The root directory.
pub(super) const ROOT: NodeId = NodeId(0);

pub(super) type Children = BTreeMap<Box<[u8]>, NodeId>;

/// What a name leads to.
#[derive(Debug)]
pub(super) enum Node {
    /// Boxed: most nodes are no directories, and there may be millions.
    Directory(Box<Directory>),
    Leaf {
        inode: InodeId,
        layer: u32,
    },
    Symlink {
        inode: InodeId,
        layer: u32,
        /// The last layer with an entry whose path leads through it, 0 for none.
        followed: u32,
        target: Box<[u8]>,
    },
}

#[derive(Debug)]
pub(super) struct Directory {
    pub(super) children: Children,
    pub(super) attributes: DirectoryId,
    pub(super) parent: NodeId,
    depth: usize,
    /// The last layer that named it or something in it.
    layer: u32,
    /// The last layer that hid its lower content.
    opaque: Option<u32>,
}

pub(super) struct Tree {
    nodes: Vec<Node>,
    max_nodes: usize,
    layer: u32,
    steps: u64,
}

impl Tree {
    /// An empty root with the attributes that directories nobody described have, and room for `max_nodes` names.
    pub(super) fn new(implied: DirectoryId, max_nodes: usize) -> Self {
        let root = Directory {
            children: Children::new(),
            attributes: implied,
            parent: ROOT,
            depth: 0,
            layer: 0,
            opaque: None,
        };
        Self { nodes: vec![Node::Directory(Box::new(root))], max_nodes, layer: 0, steps: 0 }
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// Nodes ever made, those that were removed included.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn directory(&self, id: NodeId) -> Option<&Directory> {
        match self.node(id) {
            Node::Directory(directory) => Some(directory),
            Node::Leaf { .. } | Node::Symlink { .. } => None,
        }
    }

    fn directory_mut(&mut self, id: NodeId) -> Option<&mut Directory> {
        match &mut self.nodes[id.index()] {
            Node::Directory(directory) => Some(directory),
            Node::Leaf { .. } | Node::Symlink { .. } => None,
        }
    }

    /// What follows belongs to the next layer up.
    pub(super) fn next_layer(&mut self) {
        self.layer += 1;
        let layer = self.layer;
        if let Some(root) = self.directory_mut(ROOT) {
            root.layer = layer;
        }
    }

    /// Applies one entry of the current layer; `implied` are the attributes of parents nobody described.
    pub(super) fn apply(&mut self, record: Record<'_>, implied: DirectoryId) -> Result<(), EntryProblem> {
        match record.change {
            Change::Opaque => {
                if let Some(id) = self.existing_directory(record.path)? {
                    self.hide_lower_content(id);
                }
                return Ok(());
            }
            Change::Whiteout => return self.white_out(record.path),
            Change::Directory(attributes) if record.path.is_empty() => {
                if let Some(root) = self.directory_mut(ROOT) {
                    root.attributes = attributes;
                }
                return Ok(());
            }
            _ if record.path.is_empty() => return Err(EntryProblem::RootType),
            _ => {}
        }
        let (parent_path, name) = path::split(record.path);
        let parent = self.make_parents(parent_path, implied)?;
        if self.is_taken(parent, name, matches!(record.change, Change::Directory(_))) {
            return Err(EntryProblem::Duplicate);
        }
        let node = match record.change {
            Change::Directory(attributes) => return self.put_directory(parent, name, attributes),
            Change::Leaf(inode) => Node::Leaf { inode, layer: self.layer },
            Change::Symlink(inode) => {
                Node::Symlink { inode, layer: self.layer, followed: 0, target: record.target.into() }
            }
            Change::HardLink => {
                self.detach(parent, name);
                self.link_target(record.target)?
            }
            Change::Whiteout | Change::Opaque => return Ok(()),
        };
        self.put(parent, name, node).map(drop)
    }

    /// Puts a node under a name, in place of whatever had it.
    pub(super) fn put(&mut self, parent: NodeId, name: &[u8], node: Node) -> Result<NodeId, EntryProblem> {
        // Each entry may imply as many directories as its path has names.
        if self.nodes.len() > self.max_nodes {
            return Err(EntryProblem::TooManyNames { limit: self.max_nodes });
        }
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(node);
        if let Some(directory) = self.directory_mut(parent) {
            directory.children.insert(name.into(), id);
        }
        Ok(id)
    }

    /// Puts a directory under a name; one that is there keeps its content.
    fn put_directory(
        &mut self,
        parent: NodeId,
        name: &[u8],
        attributes: DirectoryId,
    ) -> Result<(), EntryProblem> {
        let layer = self.layer;
        if let Some(id) = self.child(parent, name)
            && let Some(directory) = self.directory_mut(id)
        {
            directory.attributes = attributes;
            directory.layer = layer;
            return Ok(());
        }
        self.new_directory(parent, name, attributes).map(drop)
    }

    /// Makes a directory under a name that has none.
    pub(super) fn new_directory(
        &mut self,
        parent: NodeId,
        name: &[u8],
        attributes: DirectoryId,
    ) -> Result<NodeId, EntryProblem> {
        let depth = self.directory(parent).map_or(0, |directory| directory.depth) + 1;
        if depth > MAX_DEPTH {
            return Err(EntryProblem::TooDeep);
        }
        let children = Children::new();
        let layer = self.layer;
        let directory = Directory { children, attributes, parent, depth, layer, opaque: None };
        self.put(parent, name, Node::Directory(Box::new(directory)))
    }

    /// Counts the names of every inode.
    pub(super) fn count_links(&self, inodes: &mut Inodes) {
        let mut pending = vec![ROOT];
        while let Some(id) = pending.pop() {
            match self.node(id) {
                Node::Directory(directory) => pending.extend(directory.children.values()),
                Node::Leaf { inode, .. } | Node::Symlink { inode, .. } => inodes.link(*inode),
            }
        }
    }

    fn child(&self, parent: NodeId, name: &[u8]) -> Option<NodeId> {
        self.directory(parent)?.children.get(name).copied()
    }

    /// Whether an earlier entry of the current layer has this name, or needs what has it as a directory. A directory
    /// may be named again.
    fn is_taken(&self, parent: NodeId, name: &[u8], by_directory: bool) -> bool {
        match self.child(parent, name).map(|id| self.node(id)) {
            None => false,
            Some(Node::Directory(directory)) => !by_directory && directory.layer == self.layer,
            Some(Node::Leaf { layer, .. }) => *layer == self.layer,
            Some(Node::Symlink { layer, followed, .. }) => *layer == self.layer || *followed == self.layer,
        }
    }

    /// Takes a name out of a directory; what it led to stays in the table, unreachable.
    fn detach(&mut self, parent: NodeId, name: &[u8]) {
        if let Some(directory) = self.directory_mut(parent) {
            directory.children.remove(name);
        }
    }

    fn link_target(&mut self, target: &[u8]) -> Result<Node, EntryProblem> {
        if target.is_empty() {
            return Err(EntryProblem::LinkToDirectory(b"/".to_vec()));
        }
        let (directory_path, name) = path::split(target);
        let layer = self.layer;
        let directory = self.existing_directory(directory_path).map_err(|problem| match problem {
            EntryProblem::SymlinkEscapes => EntryProblem::LinkEscapes(target.to_vec()),
            other => other,
        })?;
        let found = directory.and_then(|directory| self.child(directory, name));
        match found.map(|id| self.node(id)) {
            None => Err(EntryProblem::LinkMissing(target.to_vec())),
            Some(Node::Directory(_)) => Err(EntryProblem::LinkToDirectory(target.to_vec())),
            Some(Node::Leaf { inode, .. }) => Ok(Node::Leaf { inode: *inode, layer }),
            Some(Node::Symlink { inode, target, .. }) => {
                Ok(Node::Symlink { inode: *inode, layer, followed: 0, target: target.clone() })
            }
        }
    }

    fn white_out(&mut self, hidden: &[u8]) -> Result<(), EntryProblem> {
        let (parent_path, name) = path::split(hidden);
        let Some(parent) = self.existing_directory(parent_path)? else { return Ok(()) };
        let Some(id) = self.child(parent, name) else { return Ok(()) };
        let of_this_layer = match self.node(id) {
            Node::Directory(directory) => directory.layer == self.layer,
            Node::Leaf { layer, .. } | Node::Symlink { layer, .. } => *layer == self.layer,
        };
        if of_this_layer {
            self.hide_lower_content(id);
        } else {
            self.detach(parent, name);
        }
        Ok(())
    }

    /// Removes what lower layers put into a directory, and into those directories in it that this layer shares.
    fn hide_lower_content(&mut self, id: NodeId) {
        let layer = self.layer;
        let mut pending = vec![id];
        while let Some(id) = pending.pop() {
            let Some(directory) = self.directory_mut(id) else { continue };
            if directory.opaque == Some(layer) {
                continue;
            }
            directory.opaque = Some(layer);
            let mut children = std::mem::take(&mut directory.children);
            children.retain(|_, child| match self.node(*child) {
                Node::Directory(directory) => {
                    pending.extend((directory.layer == layer).then_some(*child));
                    directory.layer == layer
                }
                Node::Leaf { layer: of, .. } | Node::Symlink { layer: of, .. } => *of == layer,
            });
            if let Some(directory) = self.directory_mut(id) {
                directory.children = children;
            }
        }
    }
}
