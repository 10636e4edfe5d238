//! Packs a file or a tree into an archive while it may change under the reader's hands.
//!
//! Owns the walk: names are looked up from the directory they are in, nothing but regular files and directories is
//! opened, and a file that grows or shrinks can't upset the archive. Devices and sockets are left out.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_int};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::CopyError;
use crate::direct::{Aligned, Reader};
use crate::sys::{self, Stat};
use crate::write::{Header, TarWriter};

/// Deeper trees are refused: each level holds a descriptor.
const MAX_DEPTH: usize = 512;
/// A file with more stretches than this is packed with its holes filled.
const MAX_EXTENTS: usize = 100_000;
const CHUNK: usize = 256 * 1024;

/// How to pack.
#[derive(Clone, Copy, Debug, Default)]
pub struct PackOptions {
    /// What symbolic links lead to is packed, not the links.
    pub follow_symlinks: bool,
    /// A directory is refused.
    pub no_directories: bool,
    /// Files are packed without their content.
    pub names_only: bool,
    /// Large files are read around the page cache, in steps of so many bytes: where copies in memory are dear.
    pub direct: Option<usize>,
}

/// What was packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Bytes of files' content.
    pub bytes: u64,
    /// Files, directories and links.
    pub entries: u64,
}

/// Packs `source`, which is called `root` in the archive, and ends the archive.
///
/// # Errors
/// With the path that can't be read, or `Stream` when the archive can't be written.
pub fn pack<W: Write>(source: &[u8], root: &[u8], out: W, options: PackOptions) -> Result<Packed, CopyError> {
    let open = |error| CopyError::path("open", source, error);
    let name = sys::name(source).map_err(open)?;
    let here = sys::open(None, c".", libc::O_PATH | libc::O_DIRECTORY).map_err(open)?;
    let mut walk = Walk {
        out: TarWriter::new(out),
        options,
        shown: source.to_vec(),
        path: root.to_vec(),
        links: HashMap::new(),
        above: Vec::new(),
        buffer: Aligned::new(options.direct.unwrap_or(CHUNK)),
        packed: Packed::default(),
    };
    // The path's end may name a directory through a link, as for every other program.
    let through = source.ends_with(b"/") || source.ends_with(b"/.") || source.ends_with(b"/..");
    let stat = Stat::at(here.as_fd(), &name, options.follow_symlinks || through).map_err(open)?;
    if matches!(stat.kind(), libc::S_IFBLK | libc::S_IFCHR | libc::S_IFSOCK) {
        return Err(CopyError::refused(source, "is a device or a socket, which can't be copied"));
    }
    if stat.is_dir() && options.no_directories {
        return Err(CopyError::refused(source, "is a directory, and the copy is not recursive"));
    }
    walk.entry(here.as_fd(), &name, &stat, options.follow_symlinks || through)?;
    walk.out.finish()?;
    Ok(walk.packed)
}

struct Walk<W> {
    out: TarWriter<W>,
    options: PackOptions,
    /// The present entry's path for messages.
    shown: Vec<u8>,
    /// Its name in the archive.
    path: Vec<u8>,
    /// The names of files that have several.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// The directories that the walk is in, where links could lead back to them.
    above: Vec<(u64, u64)>,
    buffer: Aligned,
    packed: Packed,
}

impl<W: Write> Walk<W> {
    fn error(&self, action: &'static str) -> impl Fn(io::Error) -> CopyError + use<W> {
        let path = self.shown.clone();
        move |error| CopyError::path(action, &path, error)
    }

    fn entry(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
        follow: bool,
    ) -> Result<(), CopyError> {
        match stat.kind() {
            libc::S_IFREG => self.file(dir, name, stat, follow),
            libc::S_IFDIR => self.directory(dir, name, follow),
            libc::S_IFLNK => {
                let target = sys::read_link(dir, name).map_err(self.error("read the link"))?;
                self.bare(b'2', &target, stat)
            }
            libc::S_IFIFO => self.bare(b'6', b"", stat),
            _ => Ok(()),
        }
    }

    /// An entry without content.
    fn bare(&mut self, flag: u8, link: &[u8], stat: &Stat) -> Result<(), CopyError> {
        self.packed.entries += 1;
        self.out.header(&header(&self.path, flag, link, stat, &[]), 0)
    }

    fn directory(&mut self, dir: BorrowedFd<'_>, name: &CStr, follow: bool) -> Result<(), CopyError> {
        let fd = open(dir, name, libc::O_DIRECTORY, follow).map_err(self.error("open"))?;
        let stat = Stat::of(fd.as_fd()).map_err(self.error("look at"))?;
        if self.above.contains(&stat.identity()) {
            let error = io::Error::from_raw_os_error(libc::ELOOP);
            return Err(CopyError::path("follow", &self.shown, error));
        }
        if self.above.len() == MAX_DEPTH {
            return Err(CopyError::refused(&self.shown, "lies more than 512 directories deep"));
        }
        let xattrs = sys::user_xattrs(fd.as_fd());
        self.packed.entries += 1;
        self.out.header(&header(&self.path, b'5', b"", &stat, &xattrs), 0)?;
        if is_kernels_own(fd.as_fd()) {
            return Ok(());
        }
        self.above.push(stat.identity());
        for child in sys::list(fd.as_fd()).map_err(self.error("list"))? {
            self.child(fd.as_fd(), &child)?;
        }
        self.above.pop();
        Ok(())
    }

    fn child(&mut self, dir: BorrowedFd<'_>, name: &CString) -> Result<(), CopyError> {
        let lengths = (self.shown.len(), self.path.len());
        for path in [&mut self.shown, &mut self.path] {
            if !path.ends_with(b"/") {
                path.push(b'/');
            }
            path.extend_from_slice(name.as_bytes());
        }
        let follow = self.options.follow_symlinks;
        match Stat::at(dir, name, follow) {
            Ok(stat) => self.entry(dir, name, &stat, follow)?,
            // It was deleted since it was listed; a link that leads nowhere is still there.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                if Stat::at(dir, name, false).is_ok() {
                    return Err(CopyError::path("follow", &self.shown, error));
                }
            }
            Err(error) => return Err(CopyError::path("look at", &self.shown, error)),
        }
        self.shown.truncate(lengths.0);
        self.path.truncate(lengths.1);
        Ok(())
    }

    fn file(&mut self, dir: BorrowedFd<'_>, name: &CStr, stat: &Stat, follow: bool) -> Result<(), CopyError> {
        if self.options.names_only {
            return self.bare(b'0', b"", stat);
        }
        // Not waiting for a FIFO, should one have taken the file's place.
        let fd = open(dir, name, libc::O_NONBLOCK | libc::O_NOCTTY, follow).map_err(self.error("open"))?;
        let stat = Stat::of(fd.as_fd()).map_err(self.error("look at"))?;
        if stat.kind() != libc::S_IFREG {
            return Err(CopyError::refused(&self.shown, "was replaced while it was being copied"));
        }
        if stat.links() > 1 {
            if let Some(first) = self.links.get(&stat.identity()) {
                let first = first.clone();
                return self.bare(b'1', &first, &stat);
            }
            self.links.insert(stat.identity(), self.path.clone());
        }
        self.packed.entries += 1;
        let xattrs = sys::user_xattrs(fd.as_fd());
        let header = header(&self.path, b'0', b"", &stat, &xattrs);
        let size = stat.size();
        let whole = vec![(0, size)];
        let extents = if stat.allocated() < size { extents(fd.as_fd(), size) } else { None };
        let extents = match extents {
            Some(extents) => {
                self.out.sparse(&header, size, &extents)?;
                extents
            }
            None => {
                self.out.header(&header, size)?;
                whole
            }
        };
        let file = File::from(fd);
        let stored = extents.iter().map(|(_, length)| length).sum();
        let mut reader = Reader::new(&file, self.options.direct.and(Some(stored)));
        for (offset, length) in extents {
            self.stretch(&mut reader, offset, length)?;
        }
        self.packed.bytes += stored;
        self.out.pad(stored)
    }

    /// Exactly so many bytes, since the archive has promised them.
    fn stretch(&mut self, file: &mut Reader<'_>, mut offset: u64, length: u64) -> Result<(), CopyError> {
        let end = offset + length;
        while offset < end {
            let buffer = self.buffer.bytes_mut();
            let room = usize::try_from(end - offset).unwrap_or(usize::MAX).min(buffer.len());
            let read = match file.read_at(buffer, room, offset) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(CopyError::path("read", &self.shown, error)),
            };
            if read == 0 {
                return Err(CopyError::refused(&self.shown, "became shorter while it was being copied"));
            }
            self.out.data(&self.buffer.bytes()[..read])?;
            offset += read as u64;
        }
        Ok(())
    }
}

fn open(dir: BorrowedFd<'_>, name: &CStr, flags: c_int, follow: bool) -> io::Result<OwnedFd> {
    let nofollow = if follow { 0 } else { libc::O_NOFOLLOW };
    sys::open(Some(dir), name, libc::O_RDONLY | nofollow | flags)
}

fn header<'a>(
    path: &'a [u8],
    flag: u8,
    link: &'a [u8],
    stat: &Stat,
    xattrs: &'a [(Vec<u8>, Vec<u8>)],
) -> Header<'a> {
    let (uid, gid) = stat.owner();
    Header { path, flag, link, mode: stat.mode(), uid, gid, mtime: stat.mtime(), xattrs }
}

/// Where the file has data; `None` when nobody can tell, or there is too much of it to tell.
fn extents(file: BorrowedFd<'_>, size: u64) -> Option<Vec<(u64, u64)>> {
    let mut extents = Vec::new();
    let mut at = 0;
    while at < size {
        let Some(data) = sys::seek(file, at, libc::SEEK_DATA).ok()?.filter(|data| *data < size) else {
            break;
        };
        let hole = sys::seek(file, data, libc::SEEK_HOLE).ok()?.unwrap_or(size).min(size);
        if hole <= data || extents.len() == MAX_EXTENTS {
            return None;
        }
        extents.push((data, hole - data));
        at = hole;
    }
    Some(extents)
}

/// File systems whose files are the kernel's talk, not data.
fn is_kernels_own(dir: BorrowedFd<'_>) -> bool {
    const MAGICS: [i64; 6] = [
        0x9fa0,      // proc
        0x6265_6572, // sysfs
        0x6367_7270, // cgroup2
        0x1cd1,      // devpts
        0x1980_0202, // mqueue
        0x6462_6720, // debugfs
    ];
    let mut stat = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: writes one `statfs`, which is read only when that succeeded.
    if unsafe { libc::fstatfs(dir.as_raw_fd(), stat.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: as above.
    let magic = unsafe { stat.assume_init() }.f_type;
    MAGICS.contains(&magic)
}
