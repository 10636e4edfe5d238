//! The box's user database, `/etc/passwd` and `/etc/group`: read anew only when it may have changed, since opening and
//! reading two files is a good part of starting a process.
//!
//! Owns the copy and the judgement that it still holds. What the text means, `users` says.

use std::ffi::CStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{FileStat, SFlag, fstat};

use crate::exec::users::{User, UserError, resolve};
use crate::sys::{lock, open_in_root};

/// Most bytes of a file that are looked at.
const LIMIT: u64 = 4 * 1024 * 1024;
/// Most bytes of a file that are kept.
const KEPT: usize = 128 * 1024;
/// A file that has changed so recently may change again without another time stamp: these tick coarsely.
const SETTLED: Duration = Duration::from_secs(1);

const FILES: [&CStr; 2] = [c"passwd", c"group"];

/// The database of one box.
#[derive(Debug, Default)]
pub(crate) struct Database(Mutex<Option<Copy>>);

impl Database {
    /// Who `spec` means. A box without a database still has numeric users.
    pub(crate) fn find(&self, root: BorrowedFd<'_>, spec: &str) -> Result<User, UserError> {
        let mut kept = lock(&self.0);
        if let Some(copy) = &*kept
            && copy.holds()
        {
            return resolve(spec, &copy.files[0].text, &copy.files[1].text);
        }
        // One that can't be judged later is not kept.
        *kept = Copy::make(root).ok().flatten();
        match &*kept {
            Some(copy) => resolve(spec, &copy.files[0].text, &copy.files[1].text),
            None => resolve(spec, &read_in(root, "etc/passwd"), &read_in(root, "etc/group")),
        }
    }
}

/// Files with the directory that names them. A file that is replaced, renamed or deleted changes the directory, one
/// that is written to changes itself, and so does a directory that is moved away.
#[derive(Debug)]
struct Copy {
    directory: OwnedFd,
    state: State,
    files: [Text; 2],
}

#[derive(Debug)]
struct Text {
    /// None: there is no such file.
    file: Option<(OwnedFd, State)>,
    text: Vec<u8>,
}

/// What changes with every change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    device: u64,
    inode: u64,
    links: u64,
    size: i64,
    changed: (i64, i64),
}

impl State {
    fn of(fd: &OwnedFd) -> nix::Result<Self> {
        Ok(Self::in_stat(&fstat(fd)?))
    }

    fn in_stat(stat: &FileStat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            links: stat.st_nlink,
            size: stat.st_size,
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    fn is_settled(&self, now: Duration) -> bool {
        let changed = u64::try_from(self.changed.0).ok().map(Duration::from_secs);
        changed.is_some_and(|changed| changed + Duration::from_secs(1) + SETTLED <= now)
    }
}

impl Copy {
    /// `None`: it has changed a moment ago, or is of a kind that could change unseen.
    fn make(root: BorrowedFd<'_>) -> nix::Result<Option<Self>> {
        let directory = open_plainly(root, c"etc", OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        // Before anything is read, so that no change comes in between.
        let state = State::of(&directory)?;
        let mut files = Vec::with_capacity(FILES.len());
        for name in FILES {
            let Some(text) = Text::read(directory.as_fd(), name)? else { return Ok(None) };
            files.push(text);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut states = files.iter().filter_map(|text| Some(text.file.as_ref()?.1)).chain([state]);
        let are_settled = states.all(|state| state.is_settled(now));
        let files = <[Text; 2]>::try_from(files).ok();
        Ok(files.filter(|_| are_settled).map(|files| Self { directory, state, files }))
    }

    /// Nothing has changed since.
    fn holds(&self) -> bool {
        let is_same = |fd: &OwnedFd, state: &State| State::of(fd).as_ref() == Ok(state);
        is_same(&self.directory, &self.state)
            && self.files.iter().flat_map(|text| &text.file).all(|(fd, state)| is_same(fd, state))
    }
}

impl Text {
    fn read(directory: BorrowedFd<'_>, name: &CStr) -> nix::Result<Option<Self>> {
        let file = match open_plainly(directory, name, OFlag::O_RDONLY | OFlag::O_NONBLOCK) {
            Ok(file) => file,
            Err(Errno::ENOENT) => return Ok(Some(Self { file: None, text: Vec::new() })),
            Err(error) => return Err(error),
        };
        let stat = fstat(&file)?;
        let is_file = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFREG;
        if !is_file || stat.st_size > KEPT as i64 {
            return Ok(None);
        }
        let mut text = vec![0; KEPT + 1];
        let mut length = 0;
        while length < text.len() {
            match nix::unistd::read(&file, &mut text[length..])? {
                0 => break,
                n => length += n,
            }
        }
        if length > KEPT {
            return Ok(None);
        }
        text.truncate(length);
        text.shrink_to_fit();
        Ok(Some(Self { file: Some((file, State::in_stat(&stat))), text }))
    }
}

/// Opens what has this name, unless that is a symbolic link.
fn open_plainly(directory: BorrowedFd<'_>, name: &CStr, flags: OFlag) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    openat2(directory, name, how)
}

fn read_in(root: BorrowedFd<'_>, path: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Not waiting for a FIFO, should the box have put one there.
    if let Ok(fd) = open_in_root(root, Path::new(path), OFlag::O_RDONLY | OFlag::O_NONBLOCK) {
        // What could be read before an error is what there is.
        let _ = File::from(fd).take(LIMIT).read_to_end(&mut bytes);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::fs::{self, create_dir_all, rename, write};
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;
    use std::time::Instant;

    use nix::sys::stat::Mode;

    use super::*;

    struct Root(PathBuf, Database);

    impl Root {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("boxlite-users-{}-{name}", std::process::id()));
            create_dir_all(path.join("etc")).unwrap();
            Self(path, Database::default())
        }

        fn at(&self, path: &str) -> PathBuf {
            self.0.join(path)
        }

        fn uid(&self) -> Option<u32> {
            let root = nix::fcntl::open(&self.0, OFlag::O_PATH, Mode::empty()).unwrap();
            self.1.find(root.as_fd(), "app").ok().map(|user| user.uid)
        }

        fn is_kept(&self) -> bool {
            lock(&self.1.0).is_some()
        }

        /// Until what was done last is old enough to be kept.
        fn settle(&self) -> Option<u32> {
            let deadline = Instant::now() + Duration::from_secs(60);
            while Instant::now() < deadline {
                let uid = self.uid();
                if self.is_kept() {
                    assert_eq!(self.uid(), uid, "read twice");
                    return uid;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            panic!("it is never kept");
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn app(uid: u32) -> String {
        format!("app:x:{uid}:{uid}::/:\n")
    }

    #[test]
    fn a_change_is_seen_at_once_however_it_is_made() {
        let root = Root::new("changes");
        let (passwd, group) = (root.at("etc/passwd"), root.at("etc/group"));
        assert_eq!(root.settle(), None);
        write(&passwd, app(1001)).unwrap();
        assert_eq!(root.uid(), Some(1001));
        assert_eq!(root.settle(), Some(1001));
        write(&passwd, app(1002)).unwrap();
        assert_eq!(root.uid(), Some(1002));
        write(&passwd, app(1003)).unwrap();
        assert_eq!(root.uid(), Some(1003), "within one tick of the file system's clock");
        root.settle();
        write(root.at("etc/new"), app(1004)).unwrap();
        rename(root.at("etc/new"), &passwd).unwrap();
        assert_eq!(root.uid(), Some(1004));
        root.settle();
        rename(root.at("etc"), root.at("old")).unwrap();
        create_dir_all(root.at("etc")).unwrap();
        assert_eq!(root.uid(), None);
        write(&passwd, app(1005)).unwrap();
        write(&group, "").unwrap();
        assert_eq!(root.settle(), Some(1005));
        fs::remove_file(&passwd).unwrap();
        assert_eq!(root.uid(), None);
    }

    #[test]
    fn what_could_change_unseen_is_read_every_time() {
        let root = Root::new("links");
        write(root.at("users"), app(7)).unwrap();
        symlink("/users", root.at("etc/passwd")).unwrap();
        assert_eq!((root.uid(), root.is_kept()), (Some(7), false));
        fs::remove_file(root.at("etc/passwd")).unwrap();
        nix::unistd::mkfifo(&root.at("etc/passwd"), Mode::S_IRWXU).unwrap();
        assert_eq!((root.uid(), root.is_kept()), (None, false));
    }
}
