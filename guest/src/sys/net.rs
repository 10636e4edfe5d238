//! The loopback interface.
//!
//! Owns bringing it up, through a Unix socket: no INET socket is opened by the agent, since the kernel makes secrets
//! at the first one and a VM may still be cloned.

use std::os::fd::AsRawFd;

use nix::errno::Errno;

/// Brings `lo` up; the kernel then gives it its addresses.
pub(crate) fn loopback_up() -> std::io::Result<()> {
    let socket = std::os::unix::net::UnixDatagram::unbound()?;
    // SAFETY: an all-zero ifreq is a valid one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    // SAFETY: reads the name and writes the flags of `request`.
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) })?;
    // SAFETY: the kernel has just filled this member of the union.
    unsafe { request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short };
    // SAFETY: reads `request`.
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) })?;
    Ok(())
}
