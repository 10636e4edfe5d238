//! Where a local image's files are read from: a directory, or a tar that is never unpacked.
//!
//! Owns finding members by name inside it; nothing outside of it is ever opened. Blocking.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::blobs::{random, remove_if_there};
use super::manifest::{LayerFormat, MAX_DOCUMENT_BYTES};
use crate::errors::{BoxliteError, BoxliteResult, Detail};

const MAX_MEMBERS: usize = 100_000;
const MAX_LINKS: usize = 8;

/// A directory or an archive that holds an image.
#[derive(Clone, Debug)]
pub(super) enum Container {
    Directory(PathBuf),
    Tar(Arc<TarIndex>),
}

/// The members of a tar: where each one's bytes are.
#[derive(Debug)]
pub(super) struct TarIndex {
    path: PathBuf,
    file: Arc<File>,
    members: HashMap<String, Member>,
}

#[derive(Debug)]
enum Member {
    File { offset: u64, size: u64 },
    Link(String),
}

/// A member opened for reading.
pub(super) struct OpenMember {
    pub size: u64,
    pub reader: Box<dyn Read + Send>,
}

impl Container {
    pub(super) fn directory(path: &Path) -> BoxliteResult<Self> {
        let metadata = path.metadata().map_err(|error| missing(path, "OCI layout", &error))?;
        if metadata.is_dir() {
            return Ok(Self::Directory(path.to_owned()));
        }
        Err(bad(path, "is no directory")
            .with_hint("oci: names a directory; for a tar of one write oci-archive:FILE"))
    }

    /// Opens an archive; a compressed one is unpacked into a nameless file in `tmp` of at most `limit` bytes.
    pub(super) fn archive(path: &Path, tmp: &Path, limit: u64) -> BoxliteResult<Self> {
        let mut file = open_file(path).map_err(|error| missing(path, "image archive", &error))?;
        let mut magic = [0; 4];
        let count = file.read_at(&mut magic, 0).map_err(|error| BoxliteError::io("read", path, &error))?;
        let unpacked = match LayerFormat::from_magic(&magic[..count]) {
            LayerFormat::Tar => None,
            LayerFormat::TarGzip => Some(unpack(flate2::read::MultiGzDecoder::new(file), path, tmp, limit)?),
            LayerFormat::TarZstd => {
                let decoder =
                    zstd::Decoder::new(file).map_err(|error| BoxliteError::io("unpack", path, &error))?;
                Some(unpack(decoder, path, tmp, limit)?)
            }
        };
        file = match unpacked {
            Some(unpacked) => unpacked,
            None => open_file(path).map_err(|error| missing(path, "image archive", &error))?,
        };
        Ok(Self::Tar(Arc::new(TarIndex::read(path, file)?)))
    }

    /// The path a person gave.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Directory(path) => path,
            Self::Tar(index) => &index.path,
        }
    }

    /// Opens a member; `None` when there is no such one.
    pub(super) fn open(&self, name: &str) -> BoxliteResult<Option<OpenMember>> {
        let name =
            inside(name).ok_or_else(|| bad(self.path(), &format!("refers to `{name}`, outside of it")))?;
        match self {
            Self::Directory(root) => {
                let path = root.join(&name);
                let file = match open_file(&path) {
                    Ok(file) => file,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                    Err(error) => return Err(BoxliteError::io("open", &path, &error)),
                };
                let size = file.metadata().map_err(|error| BoxliteError::io("read", &path, &error))?.len();
                Ok(Some(OpenMember { size, reader: Box::new(file) }))
            }
            Self::Tar(index) => Ok(index.find(&name)?.map(|(offset, size)| OpenMember {
                size,
                reader: Box::new(Window { file: Arc::clone(&index.file), offset, left: size }),
            })),
        }
    }

    /// A member that must be there.
    pub(super) fn require(&self, name: &str) -> BoxliteResult<OpenMember> {
        self.open(name)?.ok_or_else(|| bad(self.path(), &format!("lacks `{name}`")))
    }

    /// A small member, whole.
    pub(super) fn document(&self, name: &str) -> BoxliteResult<Vec<u8>> {
        let member = self.require(name)?;
        if member.size > MAX_DOCUMENT_BYTES {
            return Err(bad(
                self.path(),
                &format!("has a `{name}` of {} bytes, more than 4 MiB", member.size),
            ));
        }
        let mut content = Vec::new();
        member
            .reader
            .take(MAX_DOCUMENT_BYTES)
            .read_to_end(&mut content)
            .map_err(|error| BoxliteError::io("read", self.path(), &error))?;
        Ok(content)
    }
}

pub(super) fn bad(path: &Path, what: &str) -> BoxliteError {
    BoxliteError::Image(
        Detail::new(format!("{} {what}", path.display()))
            .subject(path.display().to_string())
            .hint("make it again with `skopeo copy` or `docker save`"),
    )
}

fn missing(path: &Path, kind: &str, error: &io::Error) -> BoxliteError {
    if error.kind() == io::ErrorKind::NotFound {
        let detail = Detail::new(format!("there is no {kind} at {}", path.display()));
        return BoxliteError::NotFound(
            detail.subject(path.display().to_string()).hint("check the path in the reference"),
        );
    }
    BoxliteError::io("open", path, error)
}

/// A FIFO or a device in the place of a file must not block the thread.
fn open_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
    }
}

/// A member's name without `.` and `..`; `None` when it leads outside.
fn inside(name: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.trim_start_matches('/').split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn unpack(mut packed: impl Read, path: &Path, tmp: &Path, limit: u64) -> BoxliteResult<File> {
    let name = tmp.join(format!("archive-{:016x}", random()));
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&name)
        .map_err(|error| BoxliteError::io("create", &name, &error))?;
    // Nameless from here on: it goes with the descriptor, however this ends.
    remove_if_there(&name)?;
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0_u64;
    loop {
        let count =
            packed.read(&mut buffer).map_err(|error| bad(path, &format!("cannot be unpacked: {error}")))?;
        if count == 0 {
            break;
        }
        total += count as u64;
        if total > limit {
            return Err(bad(path, &format!("unpacks to more than the limit of {limit} bytes"))
                .with_hint("raise the limit if the archive is to be trusted"));
        }
        io::Write::write_all(&mut file, &buffer[..count])
            .map_err(|error| BoxliteError::io("write", &name, &error))?;
    }
    Ok(file)
}

impl TarIndex {
    fn read(path: &Path, mut file: File) -> BoxliteResult<Self> {
        let broken = |error: io::Error| bad(path, &format!("is no intact tar: {error}"));
        file.seek(SeekFrom::Start(0)).map_err(broken)?;
        let length = file.metadata().map_err(broken)?.len();
        let mut members = HashMap::new();
        let mut archive = tar::Archive::new(&mut file);
        for entry in archive.entries_with_seek().map_err(broken)? {
            let entry = entry.map_err(broken)?;
            if members.len() >= MAX_MEMBERS {
                return Err(bad(
                    path,
                    &format!("has more than {MAX_MEMBERS} members: it is no image archive"),
                ));
            }
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            // A member that lies outside can't be asked for, see `open`.
            let Some(name) = inside(&name) else { continue };
            let (offset, size) = (entry.raw_file_position(), entry.size());
            let kind = entry.header().entry_type();
            if kind.is_file() || kind.is_contiguous() {
                if offset.checked_add(size).is_none_or(|end| end > length) {
                    return Err(bad(path, &format!("is cut off within `{name}`")));
                }
                members.insert(name, Member::File { offset, size });
            } else if kind.is_symlink() || kind.is_hard_link() {
                let target = entry.link_name_bytes().unwrap_or_default();
                let target = String::from_utf8_lossy(&target).into_owned();
                let base =
                    if kind.is_symlink() { name.rsplit_once('/').map_or("", |(dir, _)| dir) } else { "" };
                members.insert(name.clone(), Member::Link(format!("{base}/{target}")));
            }
        }
        Ok(Self { path: path.to_owned(), file: Arc::new(file), members })
    }

    fn find(&self, name: &str) -> BoxliteResult<Option<(u64, u64)>> {
        let mut name = name.to_owned();
        for _ in 0..MAX_LINKS {
            match self.members.get(&name) {
                None => return Ok(None),
                Some(Member::File { offset, size }) => return Ok(Some((*offset, *size))),
                Some(Member::Link(target)) => {
                    name = inside(target).ok_or_else(|| {
                        bad(&self.path, &format!("links `{name}` to a place outside of it"))
                    })?;
                }
            }
        }
        Err(bad(&self.path, &format!("has a loop of links at `{name}`")))
    }
}

/// A stretch of a shared file.
struct Window {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

impl Read for Window {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(&mut buffer[..most], self.offset)?;
        if count == 0 && most > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive was cut off"));
        }
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside() {
        assert_eq!(inside("./a//b").as_deref(), Some("a/b"));
        assert_eq!(inside("/etc/x").as_deref(), Some("etc/x"));
        assert_eq!(inside("a/../b").as_deref(), Some("b"));
        assert_eq!(inside("a/../../b"), None);
    }
}
