//! The system calls that no crate of ours wraps, as safe functions, and small helpers over descriptors.
//!
//! Owns all `unsafe` of the agent that is not a child between clone and exec. Decides nothing.

pub(crate) mod eager;
pub(crate) mod mounts;
pub(crate) mod net;
pub(crate) mod process;
pub(crate) mod tty;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, OpenHow, ResolveFlag, openat2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

nix::ioctl_read_bad!(fionread, libc::FIONREAD, libc::c_int);

/// `RNDADDENTROPY` takes a header and the bytes behind it; ours always carries this many.
pub(crate) const ENTROPY_BYTES: usize = 32;

#[repr(C)]
struct RandPoolInfo {
    entropy_count: libc::c_int,
    buf_size: libc::c_int,
    buf: [u8; ENTROPY_BYTES],
}

nix::ioctl_write_ptr!(rnd_add_entropy, b'R', 0x03, [libc::c_int; 2]);
nix::ioctl_none!(rnd_reseed_crng, b'R', 0x07);

/// The guard of a mutex, also when a panic poisoned it (which the agent does not survive anyway).
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Credits the bytes as entropy and reseeds the kernel's generator from them, so that nothing it gives from now
/// on is what another clone of this VM gets.
pub(crate) fn seed_kernel_rng(device: BorrowedFd<'_>, seed: &[u8; ENTROPY_BYTES]) -> nix::Result<()> {
    let info = RandPoolInfo {
        entropy_count: 8 * ENTROPY_BYTES as libc::c_int,
        buf_size: ENTROPY_BYTES as libc::c_int,
        buf: *seed,
    };
    // SAFETY: the kernel reads the two integers and then `buf_size` bytes behind them, all inside `info`.
    unsafe { rnd_add_entropy(device.as_raw_fd(), (&raw const info).cast()) }?;
    // SAFETY: takes no argument.
    unsafe { rnd_reseed_crng(device.as_raw_fd()) }?;
    Ok(())
}

/// Bytes that can be read without waiting.
pub(crate) fn readable_bytes(fd: BorrowedFd<'_>) -> u64 {
    let mut bytes = 0;
    // SAFETY: the kernel writes one int to `bytes`.
    match unsafe { fionread(fd.as_raw_fd(), &mut bytes) } {
        Ok(_) => u64::try_from(bytes).unwrap_or(0),
        Err(_) => 0,
    }
}

/// No writer is left on this pipe or terminal (there may still be bytes to read).
pub(crate) fn is_hung_up(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok()
        && fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP))
}

/// Makes reads and writes on this descriptor return `EAGAIN` instead of waiting.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> nix::Result<()> {
    let flags = OFlag::from_bits_retain(nix::fcntl::fcntl(fd, FcntlArg::F_GETFL)?);
    nix::fcntl::fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Opens `path` as if `root` were `/`: no symbolic link leads out of it.
pub(crate) fn open_in_root(root: BorrowedFd<'_>, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .mode(if flags.contains(OFlag::O_CREAT) { Mode::from_bits_retain(0o644) } else { Mode::empty() })
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    loop {
        match openat2(root, path, how) {
            // A rename raced with the walk; the kernel asks to try again.
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            other => return other,
        }
    }
}

/// Reads from a nonblocking descriptor, waiting for the reactor when there is nothing.
pub(crate) fn poll_read<T: AsRawFd>(
    fd: &AsyncFd<T>,
    cx: &mut Context<'_>,
    buf: &mut [u8],
) -> Poll<io::Result<usize>> {
    loop {
        let mut guard = ready!(fd.poll_read_ready(cx))?;
        // SAFETY: the descriptor lives as long as `fd`.
        let raw = unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) };
        match nix::unistd::read(raw, buf) {
            Err(Errno::EAGAIN) => guard.clear_ready(),
            Err(Errno::EINTR) => {}
            result => return Poll::Ready(result.map_err(io::Error::from)),
        }
    }
}

/// Writes to a nonblocking descriptor, waiting for the reactor when there is no room. Tries before it asks: the
/// reactor tells of changes only, so readiness that somebody cleared may be long true.
pub(crate) fn poll_write<T: AsRawFd>(
    fd: &AsyncFd<T>,
    cx: &mut Context<'_>,
    buf: &[u8],
) -> Poll<io::Result<usize>> {
    loop {
        // SAFETY: the descriptor lives as long as `fd`.
        let raw = unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) };
        match nix::unistd::write(raw, buf) {
            Err(Errno::EAGAIN) => ready!(fd.poll_write_ready(cx))?.clear_ready(),
            Err(Errno::EINTR) => {}
            result => return Poll::Ready(result.map_err(io::Error::from)),
        }
    }
}

/// Makes a descriptor known to the reactor.
pub(crate) fn register(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd gives out the one descriptor it owns, until it is dropped, which AsyncFd does last.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(io::Error::from)
}

/// Makes a descriptor nonblocking and known to the reactor.
pub(crate) fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    set_nonblocking(fd.as_fd())?;
    register(fd, interest)
}

/// What the VM as a whole has used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) uptime_ms: u64,
    pub(crate) memory_total: u64,
    pub(crate) memory_used: u64,
    /// Of the agent itself.
    pub(crate) descriptors: u32,
    /// Of the agent itself.
    pub(crate) resident: u64,
}

/// Asks the kernel for uptime and memory; page cache counts as free.
pub(crate) fn usage() -> Usage {
    let uptime = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)
        .unwrap_or_else(|_| Duration::ZERO.into());
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let (total, available) = memory(&text);
    Usage {
        uptime_ms: u64::try_from(Duration::from(uptime).as_millis()).unwrap_or(u64::MAX),
        memory_total: total,
        memory_used: total.saturating_sub(available),
        // One of them is the listing's own.
        descriptors: std::fs::read_dir("/proc/self/fd")
            .map_or(0, |list| u32::try_from(list.count().saturating_sub(1)).unwrap_or(u32::MAX)),
        resident: kilobytes(&std::fs::read_to_string("/proc/self/status").unwrap_or_default(), "VmRSS:"),
    }
}

/// Total and available bytes from the text of /proc/meminfo.
fn memory(text: &str) -> (u64, u64) {
    (kilobytes(text, "MemTotal:"), kilobytes(text, "MemAvailable:"))
}

/// The bytes behind `key` in a text of "key number kB" lines; 0 where it is missing.
fn kilobytes(text: &str, key: &str) -> u64 {
    let value = || {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    };
    value().unwrap_or(0).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_read_in_bytes() {
        let text = "MemTotal:         496124 kB\nMemFree:          1 kB\nMemAvailable:     400000 kB\n";
        assert_eq!(memory(text), (496_124 * 1024, 400_000 * 1024));
        assert_eq!(memory(""), (0, 0));
    }

    #[test]
    fn a_link_never_leads_out_of_the_root() {
        let root = std::env::temp_dir().join(format!("boxlite-guest-root-{}", std::process::id()));
        std::fs::create_dir_all(root.join("etc")).unwrap();
        std::fs::write(root.join("etc/passwd"), "inside").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.join("absolute")).unwrap();
        std::os::unix::fs::symlink("../../../../../../etc/passwd", root.join("upwards")).unwrap();
        let fd = nix::fcntl::open(&root, OFlag::O_PATH, Mode::empty()).unwrap();
        for name in ["etc/passwd", "/etc/passwd", "absolute", "upwards"] {
            let found = open_in_root(fd.as_fd(), Path::new(name), OFlag::O_RDONLY).unwrap();
            assert_eq!(std::io::read_to_string(std::fs::File::from(found)).unwrap(), "inside", "{name}");
        }
        std::fs::remove_dir_all(&root).unwrap();
    }
}
