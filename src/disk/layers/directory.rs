//! Builds a disk from a directory of the host.
//!
//! Owns the walk and what a host's file becomes in the disk. Every file is opened beneath the directory without
//! following symlinks, so that nothing outside is ever read, whatever changes meanwhile.

mod host;

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use self::host::{Found, Host, HostKind};
use super::assemble::assemble;
use super::build::IMPLIED;
use super::entries::steers_overlay;
use super::error::{EntryProblem, LayerError};
use super::inodes::{InodeId, Inodes};
use super::journal::DirectoryId;
use super::path::MAX_PATH;
use super::progress::Meter;
use super::tree::{Node, NodeId, ROOT, Tree};
use super::{BuildLimits, BuildReport, ProgressFn};
use crate::disk::erofs::{
    Attributes, BLOCK_U64, ErofsError, FileType, Kept, MAX_SYMLINK_TARGET, Nid, Timestamp, Writer, Xattrs,
};

const BUFFER_BYTES: usize = 256 * 1024;

/// Builds the disk.
pub(super) fn build(
    dir: &Path,
    out: &File,
    limits: &BuildLimits,
    progress: &mut ProgressFn<'_>,
) -> Result<BuildReport, LayerError> {
    let host = Host::open(dir).map_err(|problem| problem.at(b"."))?;
    let mut walk = Walk {
        host,
        writer: Writer::new(out),
        inodes: Inodes::default(),
        directories: Vec::new(),
        tree: Tree::new(IMPLIED, limits.max_names()),
        linked: HashMap::new(),
        report: BuildReport::default(),
        limits: BuildLimits { max_entries: limits.max_entries.min(u64::from(u32::MAX >> 1)), ..*limits },
        meter: Meter::new(progress, 0),
        buffer: vec![0; BUFFER_BYTES],
        bytes: 0,
    };
    walk.run()?;
    walk.tree.count_links(&mut walk.inodes);
    walk.report.names = assemble(&mut walk.writer, &walk.tree, &walk.directories, &walk.inodes)?;
    walk.report.image_bytes = walk.writer.finish()?;
    Ok(walk.report)
}

struct Walk<'w, 'p> {
    host: Host,
    writer: Writer<'w>,
    inodes: Inodes,
    directories: Vec<Attributes>,
    tree: Tree,
    /// Inodes of files with more than one name, by device and inode number.
    linked: HashMap<(u64, u64), InodeId>,
    report: BuildReport,
    limits: BuildLimits,
    meter: Meter<'w, 'p>,
    buffer: Vec<u8>,
    bytes: u64,
}

impl Walk<'_, '_> {
    /// Depth first, names in the order of their bytes: the same directory gives the same disk.
    fn run(&mut self) -> Result<(), LayerError> {
        let root = self.host.find(b"").map_err(|problem| problem.at(b"."))?;
        let attributes = self.attributes(&root, b".")?;
        // The tree's root has the first attributes; here every directory is described.
        self.directories.push(attributes);
        let mut pending: Vec<(Vec<u8>, NodeId)> = vec![(Vec::new(), ROOT)];
        while let Some((path, node)) = pending.pop() {
            let names = self.host.list(&path).map_err(|problem| problem.at(&path))?;
            let below = pending.len();
            for name in names {
                let mut child = path.clone();
                if !child.is_empty() {
                    child.push(b'/');
                }
                child.extend_from_slice(&name);
                if let Some(directory) = self.add(node, &name, &child)? {
                    pending.push((child, directory));
                }
            }
            pending[below..].reverse();
        }
        Ok(())
    }

    /// Adds one name; returns its node if there is more to find below it.
    fn add(&mut self, parent: NodeId, name: &[u8], path: &[u8]) -> Result<Option<NodeId>, LayerError> {
        let at = |problem: EntryProblem| problem.at(path);
        self.report.entries += 1;
        if self.report.entries > self.limits.max_entries {
            return Err(LayerError::TooManyEntries { limit: self.limits.max_entries });
        }
        if path.len() > MAX_PATH {
            return Err(at(EntryProblem::PathTooLong));
        }
        let found = self.host.find(path).map_err(at)?;
        if found.kind == HostKind::Directory {
            let attributes = self.attributes(&found, path)?;
            let id = self.directories.len() as DirectoryId;
            self.directories.push(attributes);
            let node = self.tree.new_directory(parent, name, id).map_err(at)?;
            return Ok(self.host.same_device(&found).then_some(node));
        }
        let key = (found.stat.dev(), found.stat.ino());
        let inode = match self.linked.get(&key) {
            Some(inode) => *inode,
            None => {
                let (nid, file_type) = self.write(&found, path)?;
                let inode = self.inodes.written(nid, file_type);
                if found.stat.nlink() > 1 {
                    self.linked.insert(key, inode);
                }
                inode
            }
        };
        self.tree.put(parent, name, Node::Leaf { inode, layer: 0 }).map_err(at)?;
        if self.writer.blocks() * BLOCK_U64 > self.limits.max_layer_bytes {
            return Err(LayerError::TooLarge { limit: self.limits.max_layer_bytes });
        }
        self.meter.tick(self.bytes, self.report.entries)?;
        Ok(None)
    }

    fn write(&mut self, found: &Found, path: &[u8]) -> Result<(Nid, FileType), LayerError> {
        let attributes = self.attributes(found, path)?;
        match found.kind {
            HostKind::File => Ok((self.write_file(found, path, &attributes)?, FileType::Regular)),
            HostKind::Symlink => {
                let target = self.host.read_link(found).map_err(|problem| problem.at(path))?;
                if target.is_empty() || target.len() > MAX_SYMLINK_TARGET {
                    return Err(EntryProblem::SymlinkTarget.at(path));
                }
                Ok((self.writer.symlink(&attributes, &target)?, FileType::Symlink))
            }
            HostKind::Special(special) => {
                let nid = self
                    .writer
                    .special(&attributes, special)
                    .map_err(|error| EntryProblem::Attributes(error).at(path))?;
                Ok((nid, special.file_type()))
            }
            HostKind::Directory => Err(LayerError::Bug("a directory was taken for a file")),
        }
    }

    fn write_file(&mut self, found: &Found, path: &[u8], attributes: &Attributes) -> Result<Nid, LayerError> {
        let at = |problem: EntryProblem| problem.at(path);
        let size = found.stat.len();
        let input = self.host.open_file(path, found).map_err(at)?;
        let mut file = self.writer.open_file(size).map_err(|error| at(EntryProblem::Attributes(error)))?;
        let mut position = 0;
        while position < size {
            let data = host::data_from(&input, position, size).map_err(at)?;
            self.writer.write_hole(&mut file, data.start - position)?;
            position = data.start;
            while position < data.end {
                let want = self.buffer.len().min(usize::try_from(data.end - position).unwrap_or(usize::MAX));
                let read = input
                    .read_at(&mut self.buffer[..want], position)
                    .map_err(|error| at(EntryProblem::Host { action: "read", error }))?;
                if read == 0 {
                    return Err(at(EntryProblem::Changed));
                }
                self.writer.write(&mut file, &self.buffer[..read])?;
                position += read as u64;
                self.bytes += read as u64;
                self.meter.tick(self.bytes, self.report.entries)?;
            }
        }
        self.report.files_written += 1;
        Ok(self.writer.close_file(file, attributes)?)
    }

    fn attributes(&mut self, found: &Found, path: &[u8]) -> Result<Attributes, LayerError> {
        let mut xattrs = Xattrs::default();
        for (name, value) in self.host.xattrs(found).map_err(|problem| problem.at(path))? {
            let of_host = steers_overlay(&name) || name == b"security.selinux";
            let kept = if of_host {
                Kept::No
            } else {
                xattrs
                    .add(&name, &value)
                    .map_err(|error: ErofsError| EntryProblem::Attributes(error).at(path))?
            };
            self.report.xattrs_dropped += u64::from(kept == Kept::No);
        }
        let (uid, gid) = self.host.owner(found);
        Ok(Attributes {
            mode: (found.stat.mode() & 0o7777) as u16,
            uid,
            gid,
            mtime: Timestamp {
                seconds: found.stat.mtime(),
                nanoseconds: u32::try_from(found.stat.mtime_nsec()).unwrap_or(0),
            },
            xattrs,
        })
    }
}
