//! What the library, the shim and the guest agent say to each other.
//!
//! Three boundaries live here: the agent's calls ([`agent`], over ttrpc), the byte streams ([`stream`]) and
//! the shim's JSON messages ([`shim`], [`probe`]). Owns formats only: no I/O, no policy.

pub mod copy;
pub mod event;
pub mod stream;
pub mod transfer;

#[cfg(feature = "shim-spec")]
pub mod machine;
#[cfg(feature = "shim-spec")]
pub mod probe;
#[cfg(feature = "shim-spec")]
pub mod shim;

mod generated {
    include!(concat!(env!("OUT_DIR"), "/mod.rs"));
}

/// The agent's messages, as generated from `agent.proto`.
pub use generated::agent;
/// The agent's service and its client, as generated from `agent.proto`.
pub use generated::agent_ttrpc;

/// Identity of this build: the version and a hash of the wire's definitions. Pieces refuse strangers by it.
pub const BUILD_ID: &str = env!("BOXLITE_BUILD_ID");

/// Version of the wire between host and guest; a difference is an error that names both.
pub const PROTOCOL_VERSION: u32 = 1;

/// Name of the virtio-serial port that carries the channel on QEMU.
pub const AGENT_PORT: &str = "agent";

/// Port of the host (CID 2) to which the agent connects for the channel on libkrun.
pub const AGENT_VSOCK_PORT: u32 = 1024;

/// What the agent says on the console once, when it is ready and no host is there; its clock source follows.
pub const WAITING: &str = "waits for its host; clock source";

/// virtio-blk serials by which the agent tells its disks apart.
pub mod serial {
    /// The agent's own root (QEMU only).
    pub const GUEST: &str = "guest";
    /// The image, read-only EROFS.
    pub const IMAGE: &str = "image";
    /// The box's writable disk, ext4.
    pub const BOX: &str = "box";
    /// Room for the bytes of copies, see [`transfer`](crate::transfer).
    pub const TRANSFER: &str = "transfer";
}

/// yamux settings that both ends must share.
pub mod channel {
    /// Streams at once on one connection: one more ends the whole connection. Far above what clients get, since
    /// streams that one end has closed count until the other end has, too.
    pub const STREAM_TABLE: usize = 4096;
    /// Streams the shim hands out to clients; it refuses more by name.
    pub const MAX_CLIENT_STREAMS: usize = 496;
    /// Fixed receive window of each stream in bytes (the default grows with a round-trip time that a stopped VM poisons).
    pub const STREAM_WINDOW: usize = 256 * 1024;
    /// Largest frame body in bytes, so that header and body fill 32 KiB.
    pub const SPLIT_SEND: usize = 32 * 1024 - 12;
    /// Buffer in front of the port for reads, in bytes.
    pub const READ_BUFFER: usize = 64 * 1024;
    /// Buffer in front of the port for writes, in bytes.
    pub const WRITE_BUFFER: usize = 128 * 1024;
}
