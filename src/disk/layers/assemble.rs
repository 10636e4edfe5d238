//! From the finished tree to directories on the disk.
//!
//! Owns the order in which directories are placed and written; never changes the tree.

use super::error::LayerError;
use super::inodes::Inodes;
use super::tree::{Directory, Node, NodeId, ROOT, Tree};
use crate::disk::erofs::{Attributes, Dirent, FileType, Placement, Writer};

const BROKEN: LayerError = LayerError::Bug("a name of the image's tree leads nowhere");

/// Writes all directories and final link counts; returns how many names the tree has.
pub(super) fn assemble(
    writer: &mut Writer<'_>,
    tree: &Tree,
    attributes: &[Attributes],
    inodes: &Inodes,
) -> Result<u64, LayerError> {
    let places = place(writer, tree, attributes)?;
    let mut count = 0;
    let mut entries = Vec::new();
    for (id, placement) in places.order.iter().zip(&places.placements) {
        let directory = tree.directory(*id).ok_or(BROKEN)?;
        let parent = places.of(directory.parent).ok_or(BROKEN)?;
        let mut links = 2;
        entries.clear();
        for (name, target) in names(directory) {
            let (nid, file_type) = match target {
                Target::Itself => (placement.nid, FileType::Directory),
                Target::Parent => (parent.nid, FileType::Directory),
                Target::Child(child) => {
                    count += 1;
                    match tree.node(child) {
                        Node::Directory(_) => {
                            links += 1;
                            (places.of(child).ok_or(BROKEN)?.nid, FileType::Directory)
                        }
                        Node::Leaf { inode, .. } | Node::Symlink { inode, .. } => {
                            let inode = inodes.get(*inode);
                            (inode.nid.ok_or(BROKEN)?, inode.file_type)
                        }
                    }
                }
            };
            entries.push(Dirent { name, nid, file_type });
        }
        let attributes = &attributes[directory.attributes as usize];
        writer.write_directory(*placement, attributes, links, entries.iter().copied())?;
    }
    for (nid, links) in inodes.linked_again() {
        writer.set_links(nid, links)?;
    }
    Ok(count)
}

/// Where each directory goes.
struct Places {
    order: Vec<NodeId>,
    placements: Vec<Placement>,
    /// For each node its index in the other two, if it is a directory of the tree.
    index: Vec<u32>,
}

impl Places {
    fn of(&self, id: NodeId) -> Option<&Placement> {
        self.placements.get(*self.index.get(id.index())? as usize)
    }
}

fn place(writer: &mut Writer<'_>, tree: &Tree, attributes: &[Attributes]) -> Result<Places, LayerError> {
    let order = parents_first(tree);
    let mut index = vec![u32::MAX; tree.len()];
    let mut placements = Vec::with_capacity(order.len());
    for id in &order {
        let directory = tree.directory(*id).ok_or(BROKEN)?;
        let lengths = names(directory).map(|(name, _)| name.len());
        index[id.index()] = placements.len() as u32;
        placements.push(if *id == ROOT {
            writer.place_root(lengths)?
        } else {
            writer.place_directory(&attributes[directory.attributes as usize], lengths)?
        });
    }
    Ok(Places { order, placements, index })
}

/// All directories, each after its parent.
fn parents_first(tree: &Tree) -> Vec<NodeId> {
    let mut order = vec![ROOT];
    let mut at = 0;
    while let Some(id) = order.get(at).copied() {
        if let Some(directory) = tree.directory(id) {
            order.extend(directory.children.values().filter(|child| tree.directory(**child).is_some()));
        }
        at += 1;
    }
    order
}

/// What a name in a directory leads to.
#[derive(Clone, Copy)]
enum Target {
    Itself,
    Parent,
    Child(NodeId),
}

/// A directory's names in the order of their bytes, `.` and `..` where that order has them.
fn names(directory: &Directory) -> impl Iterator<Item = (&[u8], Target)> {
    let special: [(&[u8], Target); 2] = [(b".", Target::Itself), (b"..", Target::Parent)];
    let mut special = special.into_iter().peekable();
    let mut children =
        directory.children.iter().map(|(name, child)| (&**name, Target::Child(*child))).peekable();
    std::iter::from_fn(move || match (special.peek(), children.peek()) {
        (Some((first, _)), Some((second, _))) if first > second => children.next(),
        (Some(_), _) => special.next(),
        (None, _) => children.next(),
    })
}
