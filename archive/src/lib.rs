//! Archives and file trees: a tar reader and writer, packing a tree into an archive, unpacking one below a directory.
//!
//! Used on both sides of a box's wall, so nothing that is read is trusted: no name leads out of the target, nothing
//! that could block is opened, no file has its name before it is complete. Knows nothing of boxes.

pub mod direct;
mod draft;
mod error;
mod pack;
mod sys;
pub mod tar;
mod target;
mod unpack;
mod write;

pub use error::{CopyError, PlaceError, RemoteKind, TarError};
pub use pack::{PackOptions, Packed, pack};
pub use unpack::{Place, UnpackOptions, Unpacked, unpack};
pub use write::{Header, Stream, TarWriter};

/// A moment; `nanoseconds` counts forward from `seconds`, also before 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timestamp {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Below a thousand million.
    pub nanoseconds: u32,
}

/// Number of a character or block device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceNumber {
    /// The driver's.
    pub major: u32,
    /// The device's own.
    pub minor: u32,
}

/// A path or a name in messages.
pub fn shown(path: &[u8]) -> String {
    match std::str::from_utf8(path) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => path.escape_ascii().to_string(),
    }
}
