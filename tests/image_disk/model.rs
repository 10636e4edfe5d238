//! What layers mean, said as simply as possible: a map from paths to files, changed entry by entry.
//!
//! Slow and plain on purpose, and written apart from the code it judges.

use std::collections::BTreeMap;

use boxlite_test_utils::erofs_reader::{Entry, Kind};
use boxlite_test_utils::layers::Item;

use super::support::sha256;

/// Why an entry makes the whole layer invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Refused {
    /// An absolute path or link target.
    Absolute,
    /// A path or a link target that leads out of the root, by itself or through symlinks.
    Climbs,
    /// A path that the layer has already, or has something below.
    Twice,
    /// A path with something in it that is no directory.
    NotDirectory,
    /// A path that leads through too many symlinks.
    Loop,
    /// A hard link to nothing or to a directory.
    BadLink,
    /// The root as something that is no directory.
    Root,
}

#[derive(Clone, Debug)]
struct File {
    item: Item,
    inode: usize,
    /// The last layer that named it or anything below it.
    touched: usize,
    /// Of a symlink: the last layer with an entry whose path leads through it.
    followed: usize,
}

/// The tree so far.
#[derive(Clone, Default)]
pub(super) struct Model {
    files: BTreeMap<String, File>,
    root: Option<Item>,
    inodes: usize,
}

fn kind(item: &Item) -> Kind {
    match item.flag {
        b'2' => Kind::Symlink,
        b'3' => Kind::CharDevice,
        b'4' => Kind::BlockDevice,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        _ => Kind::File,
    }
}

fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

fn below(path: &str, directory: &str) -> bool {
    directory.is_empty() || path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

/// A path without `.`, `..` and doubled slashes, which may be absolute only if it is the root's.
pub(super) fn lexical(path: &[u8]) -> Result<String, Refused> {
    let path = std::str::from_utf8(path).expect("paths of the tests are UTF-8");
    let mut names = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop().ok_or(Refused::Climbs)?),
            _ => names.push(name),
        }
    }
    if path.starts_with('/') && !names.is_empty() { Err(Refused::Absolute) } else { Ok(names.join("/")) }
}

impl Model {
    /// Applies one entry of layer `layer`, or refuses it and stays as it is.
    pub(super) fn apply(&mut self, layer: usize, item: &Item) -> Result<(), Refused> {
        let before = self.clone();
        let done = self.change(layer, item);
        if done.is_err() {
            *self = before;
        }
        done
    }

    /// Paths of everything that is no directory.
    pub(super) fn leaves(&self) -> Vec<String> {
        let leaves = self.files.iter().filter(|(_, file)| kind(&file.item) != Kind::Directory);
        leaves.map(|(path, _)| path.clone()).collect()
    }

    fn change(&mut self, layer: usize, item: &Item) -> Result<(), Refused> {
        let path = lexical(&item.path)?;
        if path.is_empty() {
            if kind(item) != Kind::Directory {
                return Err(Refused::Root);
            }
            self.root = Some(item.clone());
            return Ok(());
        }
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if name == ".wh..wh..opq" {
            return self.hide(layer, directory, true);
        }
        if let Some(name) = name.strip_prefix(".wh.") {
            return self.hide(layer, &join(directory, name), false);
        }
        // The link target's own text is judged before anything is looked up.
        let target = if item.flag == b'1' { Some(lexical(&item.link)?) } else { None };
        let mut symlinks = Vec::new();
        let directory = self.resolve("", directory, &mut symlinks)?;
        for symlink in symlinks {
            self.files.entry(symlink).and_modify(|file| file.followed = layer);
        }
        let mut parent = String::new();
        for part in directory.split('/').filter(|part| !part.is_empty()) {
            parent = join(&parent, part);
            let inode = self.inodes;
            let implied = || {
                let mut item = Item::dir(&parent);
                item.mtime = (0, 0);
                File { item, inode, touched: layer, followed: 0 }
            };
            self.files.entry(parent.clone()).or_insert_with(implied).touched = layer;
            self.inodes += 1;
        }
        let path = join(&directory, name);
        let both_directories = kind(item) == Kind::Directory && self.is_directory(&path);
        if !both_directories {
            if self.files.get(&path).is_some_and(|file| file.touched == layer || file.followed == layer) {
                return Err(Refused::Twice);
            }
            self.files.retain(|key, _| key != &path && !below(key, &path));
        }
        let mut file = File { item: item.clone(), inode: self.inodes, touched: layer, followed: 0 };
        self.inodes += 1;
        if let Some(target) = target {
            let (directory, name) = target.rsplit_once('/').unwrap_or(("", &target));
            let directory = self.resolve_or_nothing(directory)?.ok_or(Refused::BadLink)?;
            let linked = self.files.get(&join(&directory, name)).ok_or(Refused::BadLink)?;
            if kind(&linked.item) == Kind::Directory {
                return Err(Refused::BadLink);
            }
            file = File { touched: layer, followed: 0, ..linked.clone() };
        }
        self.files.insert(path, file);
        Ok(())
    }

    fn hide(&mut self, layer: usize, path: &str, content_only: bool) -> Result<(), Refused> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let walked = if content_only { path } else { directory };
        let Some(resolved) = self.resolve_or_nothing(walked)? else { return Ok(()) };
        let hidden = if content_only { resolved } else { join(&resolved, name) };
        self.files.retain(|key, file| {
            let inside = below(key, &hidden) || (!content_only && *key == hidden);
            !inside || file.touched == layer
        });
        Ok(())
    }

    fn is_directory(&self, path: &str) -> bool {
        path.is_empty() || self.files.get(path).is_some_and(|file| kind(&file.item) == Kind::Directory)
    }

    /// A file in the middle of a path means there is nothing there; whatever else is wrong with it is an error.
    fn resolve_or_nothing(&self, path: &str) -> Result<Option<String>, Refused> {
        match self.resolve("", path, &mut Vec::new()) {
            Ok(path) => Ok(Some(path)),
            Err(Refused::NotDirectory) => Ok(None),
            Err(refused) => Err(refused),
        }
    }

    /// Where a path leads; the symlinks on the way are added to `symlinks`.
    fn resolve(&self, from: &str, path: &str, symlinks: &mut Vec<String>) -> Result<String, Refused> {
        let mut at = from.to_owned();
        for name in path.split('/') {
            match name {
                "" | "." => continue,
                ".." if at.is_empty() => return Err(Refused::Climbs),
                ".." => {
                    at = at.rsplit_once('/').map_or("", |(parent, _)| parent).to_owned();
                    continue;
                }
                _ => {}
            }
            let next = join(&at, name);
            at = match self.files.get(&next) {
                None => next,
                Some(file) => match kind(&file.item) {
                    Kind::Directory => next,
                    Kind::Symlink => {
                        symlinks.push(next);
                        if symlinks.len() > 40 {
                            return Err(Refused::Loop);
                        }
                        let target = String::from_utf8_lossy(&file.item.link).into_owned();
                        let from = if target.starts_with('/') { "" } else { &at };
                        self.resolve(from, &target, symlinks)?
                    }
                    _ => return Err(Refused::NotDirectory),
                },
            };
        }
        Ok(at)
    }

    /// Compares with what was read from a disk; says what differs.
    pub(super) fn compare(&self, entries: &[Entry]) -> Result<(), String> {
        let paths: Vec<&[u8]> =
            entries.iter().map(|entry| entry.path.as_slice()).filter(|p| !p.is_empty()).collect();
        let mut want: Vec<&[u8]> = self.files.keys().map(String::as_bytes).collect();
        want.sort_unstable();
        if paths != want {
            let text = |paths: &[&[u8]]| String::from_utf8_lossy(&paths.join(&b' ')).into_owned();
            return Err(format!("paths are\n{}\nand should be\n{}", text(&paths), text(&want)));
        }
        let mut inodes = BTreeMap::new();
        let mut back = BTreeMap::new();
        for entry in entries.iter().filter(|entry| !entry.path.is_empty()) {
            let path = String::from_utf8_lossy(&entry.path).into_owned();
            let file = &self.files[&path];
            let wrong = difference(entry, &file.item, self.links(&path, file));
            wrong.map_or(Ok(()), |what| Err(format!("{path}: {what}: {entry:?} for {file:?}")))?;
            let same = *inodes.entry(file.inode).or_insert(entry.inode) == entry.inode
                && *back.entry(entry.inode).or_insert(file.inode) == file.inode;
            if !same {
                return Err(format!("{path} is linked to the wrong names"));
            }
        }
        if let Some(root) = &self.root {
            let directories = self
                .files
                .iter()
                .filter(|(path, file)| !path.contains('/') && kind(&file.item) == Kind::Directory);
            let links = 2 + directories.count();
            difference(&entries[0], root, links).map_or(Ok(()), |what| Err(format!("the root: {what}")))?;
        }
        Ok(())
    }

    fn links(&self, path: &str, file: &File) -> usize {
        if kind(&file.item) != Kind::Directory {
            return self.files.values().filter(|other| other.inode == file.inode).count();
        }
        let children = self.files.iter().filter(|(other, child)| {
            other.rsplit_once('/').is_some_and(|(parent, _)| parent == path)
                && kind(&child.item) == Kind::Directory
        });
        2 + children.count()
    }
}

fn difference(entry: &Entry, item: &Item, links: usize) -> Option<&'static str> {
    let content = (kind(item) == Kind::File).then(|| sha256(&item.data));
    let target: &[u8] = if kind(item) == Kind::Symlink { &item.link } else { b"" };
    let device = if matches!(item.flag, b'3' | b'4') { item.device } else { (0, 0) };
    let xattrs: BTreeMap<Vec<u8>, Vec<u8>> = item.xattrs.iter().cloned().collect();
    let checks = [
        (entry.kind == kind(item), "type"),
        (entry.mode == item.mode, "mode"),
        (u64::from(entry.uid) == item.uid && u64::from(entry.gid) == item.gid, "owner"),
        (entry.mtime == item.mtime, "mtime"),
        (entry.links as usize == links, "number of links"),
        (entry.target == target, "target"),
        (entry.device == device, "device number"),
        (entry.xattrs == xattrs, "xattrs"),
        (entry.content == content, "content"),
        (kind(item) != Kind::File || entry.size == item.data.len() as u64, "size"),
    ];
    checks.into_iter().find(|(right, _)| !right).map(|(_, what)| what)
}
