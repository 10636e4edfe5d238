//! System calls on names below an open directory, never through a symbolic link unless asked.
//!
//! Owns the `unsafe` of this crate; decides nothing.

use std::ffi::{CStr, CString, c_int};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::Timestamp;

/// `bytes` as the kernel takes names.
pub(crate) fn name(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn descriptor(result: i64) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(result as c_int) })
}

/// Opens `path` from `dir`, or from the working directory.
pub(crate) fn open(dir: Option<BorrowedFd<'_>>, path: &CStr, flags: c_int) -> io::Result<OwnedFd> {
    let dir = dir.map_or(libc::AT_FDCWD, |dir| dir.as_raw_fd());
    // SAFETY: a C string, and plain values.
    descriptor(unsafe { libc::openat(dir, path.as_ptr(), flags | libc::O_CLOEXEC, 0o600) }.into())
}

/// Opens `path` below `dir`: nowhere else, and through no symbolic link.
pub(crate) fn open_beneath(dir: BorrowedFd<'_>, path: &CStr, flags: c_int) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct How {
        flags: u64,
        mode: u64,
        resolve: u64,
    }
    const NO_MAGICLINKS: u64 = 0x02;
    const NO_SYMLINKS: u64 = 0x04;
    const BENEATH: u64 = 0x08;
    let how = How {
        flags: (flags | libc::O_CLOEXEC) as u64,
        mode: 0,
        resolve: NO_MAGICLINKS | NO_SYMLINKS | BENEATH,
    };
    loop {
        // SAFETY: a C string, and a struct of the layout and size stated.
        let result = unsafe {
            libc::syscall(libc::SYS_openat2, dir.as_raw_fd(), path.as_ptr(), &raw const how, size_of::<How>())
        };
        match descriptor(result) {
            // Somebody renamed something on the way meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
            other => return other,
        }
    }
}

/// Turns reads and writes around the page cache on or off for an open file.
pub(crate) fn set_direct(file: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    // SAFETY: plain values.
    let flags = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) };
    check(flags)?;
    let flags = if on { flags | libc::O_DIRECT } else { flags & !libc::O_DIRECT };
    // SAFETY: plain values.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags) })
}

/// What there is to know of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stat(libc::stat);

impl Stat {
    pub(crate) fn of(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let mut stat = std::mem::MaybeUninit::uninit();
        // SAFETY: writes one `stat`, which is read only when that succeeded.
        check(unsafe { libc::fstat(fd.as_raw_fd(), stat.as_mut_ptr()) })?;
        // SAFETY: as above.
        Ok(Self(unsafe { stat.assume_init() }))
    }

    pub(crate) fn at(dir: BorrowedFd<'_>, name: &CStr, follow: bool) -> io::Result<Self> {
        let flags = if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
        let mut stat = std::mem::MaybeUninit::uninit();
        // SAFETY: a C string; writes one `stat`, which is read only when that succeeded.
        check(unsafe { libc::fstatat(dir.as_raw_fd(), name.as_ptr(), stat.as_mut_ptr(), flags) })?;
        // SAFETY: as above.
        Ok(Self(unsafe { stat.assume_init() }))
    }

    pub(crate) fn kind(&self) -> u32 {
        self.0.st_mode & libc::S_IFMT
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.kind() == libc::S_IFDIR
    }

    pub(crate) fn mode(&self) -> u32 {
        self.0.st_mode & 0o7777
    }

    pub(crate) fn size(&self) -> u64 {
        self.0.st_size.unsigned_abs()
    }

    /// Bytes that take room on the disk.
    pub(crate) fn allocated(&self) -> u64 {
        self.0.st_blocks.unsigned_abs() * 512
    }

    pub(crate) fn owner(&self) -> (u32, u32) {
        (self.0.st_uid, self.0.st_gid)
    }

    pub(crate) fn links(&self) -> u64 {
        self.0.st_nlink
    }

    /// What tells it from every other file.
    pub(crate) fn identity(&self) -> (u64, u64) {
        (self.0.st_dev, self.0.st_ino)
    }

    pub(crate) fn mtime(&self) -> Timestamp {
        Timestamp { seconds: self.0.st_mtime, nanoseconds: self.0.st_mtime_nsec as u32 }
    }
}

/// While it lives, SIGTERM does not reach this thread: who is asked to end does not leave a step half done.
pub(crate) struct Uninterrupted(libc::sigset_t);

impl Uninterrupted {
    pub(crate) fn begin() -> Self {
        let mut term = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        let mut before = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: both sets are written to before they are read, by functions that can't fail with these arguments.
        unsafe {
            libc::sigemptyset(term.as_mut_ptr());
            libc::sigaddset(term.as_mut_ptr(), libc::SIGTERM);
            libc::pthread_sigmask(libc::SIG_BLOCK, term.as_ptr(), before.as_mut_ptr());
            Self(before.assume_init())
        }
    }
}

impl Drop for Uninterrupted {
    fn drop(&mut self) {
        // SAFETY: the mask that this thread had before.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut()) };
    }
}

/// Bytes that may still be written to the file system of `file`.
pub(crate) fn room(file: BorrowedFd<'_>) -> io::Result<u64> {
    let mut found = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `found` is written to by the kernel alone, and is as large as it has to be.
    check(unsafe { libc::fstatvfs(file.as_raw_fd(), found.as_mut_ptr()) })?;
    // SAFETY: filled in, since the call succeeded.
    let found = unsafe { found.assume_init() };
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

pub(crate) fn mkdir(dir: BorrowedFd<'_>, name: &CStr, mode: u32) -> io::Result<()> {
    // SAFETY: a C string, and plain values; so for all of these.
    check(unsafe { libc::mkdirat(dir.as_raw_fd(), name.as_ptr(), mode) })
}

pub(crate) fn mkfifo(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    // SAFETY: see mkdir.
    check(unsafe { libc::mkfifoat(dir.as_raw_fd(), name.as_ptr(), 0o600) })
}

pub(crate) fn symlink(target: &CStr, dir: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    // SAFETY: see mkdir.
    check(unsafe { libc::symlinkat(target.as_ptr(), dir.as_raw_fd(), name.as_ptr()) })
}

pub(crate) fn unlink(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    // SAFETY: see mkdir.
    check(unsafe { libc::unlinkat(dir.as_raw_fd(), name.as_ptr(), 0) })
}

pub(crate) fn rename(dir: BorrowedFd<'_>, from: &CStr, to: &CStr) -> io::Result<()> {
    // SAFETY: see mkdir.
    check(unsafe { libc::renameat(dir.as_raw_fd(), from.as_ptr(), dir.as_raw_fd(), to.as_ptr()) })
}

/// A second name for the file itself, also when that is a symbolic link.
pub(crate) fn link(
    from_dir: BorrowedFd<'_>,
    from: &CStr,
    dir: BorrowedFd<'_>,
    name: &CStr,
) -> io::Result<()> {
    let (from_dir, dir) = (from_dir.as_raw_fd(), dir.as_raw_fd());
    // SAFETY: see mkdir.
    check(unsafe { libc::linkat(from_dir, from.as_ptr(), dir, name.as_ptr(), 0) })
}

/// The first name of a file made without one.
pub(crate) fn link_open(file: BorrowedFd<'_>, dir: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    let path = self::name(format!("/proc/self/fd/{}", file.as_raw_fd()).as_bytes())?;
    let follow = libc::AT_SYMLINK_FOLLOW;
    // SAFETY: see mkdir.
    check(unsafe { libc::linkat(libc::AT_FDCWD, path.as_ptr(), dir.as_raw_fd(), name.as_ptr(), follow) })
}

pub(crate) fn chmod(file: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    // SAFETY: see mkdir.
    check(unsafe { libc::fchmod(file.as_raw_fd(), mode) })
}

/// Of an open file, when `name` is `None`.
pub(crate) fn chown(at: BorrowedFd<'_>, name: Option<&CStr>, owner: (u32, u32)) -> io::Result<()> {
    let flags = libc::AT_SYMLINK_NOFOLLOW | if name.is_none() { libc::AT_EMPTY_PATH } else { 0 };
    let name = name.unwrap_or(c"");
    // SAFETY: see mkdir.
    check(unsafe { libc::fchownat(at.as_raw_fd(), name.as_ptr(), owner.0, owner.1, flags) })
}

/// Of an open file, when `name` is `None`.
pub(crate) fn set_mtime(at: BorrowedFd<'_>, name: Option<&CStr>, time: Timestamp) -> io::Result<()> {
    let times = [
        libc::timespec { tv_sec: 0, tv_nsec: libc::UTIME_OMIT },
        libc::timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() },
    ];
    let Some(name) = name else {
        // SAFETY: two times.
        return check(unsafe { libc::futimens(at.as_raw_fd(), times.as_ptr()) });
    };
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: a C string, and two times.
    check(unsafe { libc::utimensat(at.as_raw_fd(), name.as_ptr(), times.as_ptr(), flags) })
}

pub(crate) fn set_xattr(file: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> io::Result<()> {
    // SAFETY: a C string, and a slice with its length.
    check(unsafe { libc::fsetxattr(file.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) })
}

/// Names and values of the attributes that users give files; none where there are none to be had.
pub(crate) fn user_xattrs(file: BorrowedFd<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let fd = file.as_raw_fd();
    let list = grown(|buffer, size| {
        // SAFETY: writes at most `size` bytes.
        unsafe { libc::flistxattr(fd, buffer.cast(), size) }
    });
    let names = list.split(|byte| *byte == 0).filter(|name| name.starts_with(b"user."));
    let read = |one: &[u8]| {
        let name = name(one).ok()?;
        let value = grown(|buffer, size| {
            // SAFETY: a C string; writes at most `size` bytes.
            unsafe { libc::fgetxattr(fd, name.as_ptr(), buffer, size) }
        });
        Some((one.to_vec(), value))
    };
    names.filter_map(read).collect()
}

/// What a call that tells the size first has to say.
fn grown(call: impl Fn(*mut libc::c_void, usize) -> isize) -> Vec<u8> {
    let mut buffer = vec![0; call(std::ptr::null_mut(), 0).max(0) as usize];
    if buffer.is_empty() {
        return buffer;
    }
    let length = call(buffer.as_mut_ptr().cast(), buffer.len()).max(0) as usize;
    buffer.truncate(length);
    buffer
}

/// Where a link leads.
pub(crate) fn read_link(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<Vec<u8>> {
    let mut target = vec![0; libc::PATH_MAX as usize];
    let room = target.len();
    // SAFETY: a C string; writes at most `room` bytes.
    let length =
        unsafe { libc::readlinkat(dir.as_raw_fd(), name.as_ptr(), target.as_mut_ptr().cast(), room) };
    check(length as c_int)?;
    target.truncate(length.max(0) as usize);
    Ok(target)
}

/// The next data (`SEEK_DATA`) or hole (`SEEK_HOLE`) from `offset` on; `None` behind the last.
pub(crate) fn seek(file: BorrowedFd<'_>, offset: u64, whence: c_int) -> io::Result<Option<u64>> {
    let offset = i64::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))?;
    // SAFETY: plain values.
    let found = unsafe { libc::lseek(file.as_raw_fd(), offset, whence) };
    match u64::try_from(found) {
        Ok(found) => Ok(Some(found)),
        Err(_) => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
            error => Err(error),
        },
    }
}

/// The names in a directory, sorted; `.` and `..` are none.
pub(crate) fn list(dir: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    // The stream takes a descriptor over, and its position with it: so one of its own.
    let own = open(Some(dir), c".", libc::O_RDONLY | libc::O_DIRECTORY)?;
    // SAFETY: a directory's descriptor, which the stream owns once it is made.
    let stream = unsafe { libc::fdopendir(own.as_raw_fd()) };
    if stream.is_null() {
        return Err(io::Error::last_os_error());
    }
    std::mem::forget(own);
    let mut names = Vec::new();
    let outcome = loop {
        // SAFETY: errno is this thread's own; so an end can be told from an error.
        unsafe { *libc::__errno_location() = 0 };
        // SAFETY: a live stream that nobody else uses.
        let entry = unsafe { libc::readdir(stream) };
        if entry.is_null() {
            let error = io::Error::last_os_error();
            break if error.raw_os_error() == Some(0) { Ok(()) } else { Err(error) };
        }
        // SAFETY: readdir gives NUL-terminated names, valid until its next call.
        let found = unsafe { CStr::from_ptr((*entry).d_name.as_ptr()) };
        if !matches!(found.to_bytes(), b"." | b"..") {
            names.push(found.to_owned());
        }
    };
    // SAFETY: made by fdopendir, closed once.
    unsafe { libc::closedir(stream) };
    outcome?;
    names.sort();
    Ok(names)
}
