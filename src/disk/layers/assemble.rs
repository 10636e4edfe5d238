//! From the finished tree to directories on the disk.
//!
//! Owns the order in which directories are placed and written; never changes the tree.

use super::error::LayerError;
use super::inodes::Inodes;
use super::tree::{Directory, Node, NodeId, ROOT, Tree};
use crate::disk::erofs::{Attributes, Dirent, FileType, Nid, Placement, Writer};

const BROKEN: LayerError = LayerError::Bug("a name of the image's tree leads nowhere");

/// Writes all directories and final link counts; returns how many names the tree has.
pub(super) fn assemble(
    writer: &mut Writer<'_>,
    tree: &Tree,
    attributes: &[Attributes],
    inodes: &Inodes,
) -> Result<u64, LayerError> {
    let order = parents_first(tree);
    let mut placements: Vec<Option<Placement>> = vec![None; tree.len()];
    for id in &order {
        let directory = tree.directory(*id).ok_or(BROKEN)?;
        let lengths = names(directory).map(<[u8]>::len);
        let placement = if *id == ROOT {
            writer.place_root(lengths)?
        } else {
            writer.place_directory(&attributes[directory.attributes as usize], lengths)?
        };
        placements[id.index()] = Some(placement);
    }
    let mut count = 0;
    for id in &order {
        let directory = tree.directory(*id).ok_or(BROKEN)?;
        let placement = placements[id.index()].ok_or(BROKEN)?;
        let parent = placements[directory.parent.index()].ok_or(BROKEN)?;
        let mut links = 2;
        let mut broken = false;
        let entries = names(directory).filter_map(|name| {
            let found = match name {
                b"." => Some((placement.nid, FileType::Directory)),
                b".." => Some((parent.nid, FileType::Directory)),
                _ => {
                    let found = lead(tree, directory, name, &placements, inodes);
                    count += 1;
                    links += u32::from(matches!(found, Some((_, FileType::Directory))));
                    found
                }
            };
            broken |= found.is_none();
            found.map(|(nid, file_type)| Dirent { name, nid, file_type })
        });
        let entries: Vec<Dirent<'_>> = entries.collect();
        if broken {
            return Err(BROKEN);
        }
        let attributes = &attributes[directory.attributes as usize];
        writer.write_directory(placement, attributes, links, entries.into_iter())?;
    }
    for (nid, links) in inodes.linked_again() {
        writer.set_links(nid, links)?;
    }
    Ok(count)
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

/// A directory's names in the order of their bytes, `.` and `..` where that order has them.
fn names(directory: &Directory) -> impl Iterator<Item = &[u8]> {
    let mut special: [&[u8]; 2] = [b".", b".."];
    let mut special = std::mem::take(&mut special).into_iter().peekable();
    let mut plain = directory.children.keys().map(|name| &**name).peekable();
    std::iter::from_fn(move || match (special.peek(), plain.peek()) {
        (Some(first), Some(second)) if first > second => plain.next(),
        (Some(_), _) => special.next(),
        (None, _) => plain.next(),
    })
}

fn lead(
    tree: &Tree,
    directory: &Directory,
    name: &[u8],
    placements: &[Option<Placement>],
    inodes: &Inodes,
) -> Option<(Nid, FileType)> {
    let id = directory.children.get(name)?;
    match tree.node(*id) {
        Node::Directory(_) => placements[id.index()].map(|placement| (placement.nid, FileType::Directory)),
        Node::Leaf { inode, .. } | Node::Symlink { inode, .. } => {
            let inode = inodes.get(*inode);
            inode.nid.map(|nid| (nid, inode.file_type))
        }
    }
}
