//! Mounts as descriptors: take a piece of the tree along, put it elsewhere.
//!
//! Owns the wrappers of open_tree and move_mount and the plain-mount shorthands. Knows no layout.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::mount::{MsFlags, mount};

const OPEN_TREE_CLONE: libc::c_uint = 1;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: libc::c_uint = 0x40;

/// A detached copy of the mount at `path` (one file or directory, nothing below it).
pub(crate) fn clone_tree(path: &CStr) -> nix::Result<OwnedFd> {
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC as libc::c_uint;
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    let fd = nix::errno::Errno::result(fd)?;
    // SAFETY: the kernel has just given us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Puts a detached mount onto what `target` is open on.
pub(crate) fn attach(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: both paths are empty C strings; the descriptors are open for the length of the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            target.as_raw_fd(),
            c"".as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH,
        )
    };
    nix::errno::Errno::result(result).map(drop)
}

/// Mounts a file system of a kind that needs no device.
pub(crate) fn mount_virtual(kind: &str, at: &Path, flags: MsFlags, options: Option<&str>) -> nix::Result<()> {
    mount(Some(kind), at, Some(kind), flags, options)
}

/// Makes the tree at `path` read-only for everybody below this mount namespace.
pub(crate) fn make_read_only(path: &Path) -> nix::Result<()> {
    const NONE: Option<&str> = None;
    mount(Some(path), path, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)?;
    let flags = MsFlags::MS_BIND
        | MsFlags::MS_REMOUNT
        | MsFlags::MS_RDONLY
        | MsFlags::MS_NOSUID
        | MsFlags::MS_NODEV
        | MsFlags::MS_NOEXEC;
    mount(NONE, path, NONE, flags, NONE)
}

/// Reads a small file of `/proc`, `/sys` or the like, without its last newline.
pub(crate) fn read_line(path: &Path) -> io::Result<String> {
    Ok(std::fs::read_to_string(path)?.trim_end_matches('\n').to_owned())
}
