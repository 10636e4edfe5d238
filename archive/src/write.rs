//! Writes a tar archive: ustar headers, with PAX records for what they can't hold.
//!
//! Owns the archive's syntax on the way out; reads no files.

use std::io::{self, Write};

use crate::{CopyError, Timestamp};

const BLOCK: usize = 512;
/// The largest number that 11 octal digits hold.
const MAX_OCTAL: u64 = 0o777_7777_7777;
const ZEROS: [u8; 8192] = [0; 8192];

/// What stands before an entry's content.
#[derive(Clone, Debug, Default)]
pub struct Header<'a> {
    /// The name in the archive.
    pub path: &'a [u8],
    /// Its type, as ustar writes it: `b'0'` and so on.
    pub flag: u8,
    /// Where a link leads.
    pub link: &'a [u8],
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change.
    pub mtime: Timestamp,
    /// Full names and values.
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

/// An archive that is being written.
#[derive(Debug)]
pub struct TarWriter<W> {
    out: W,
}

impl<W: Write> TarWriter<W> {
    /// A new archive.
    pub fn new(out: W) -> Self {
        Self { out }
    }

    /// An entry with `size` bytes of content to come through [`TarWriter::data`], then [`TarWriter::pad`].
    ///
    /// # Errors
    /// `Stream` when it can't be written, as for all of these.
    pub fn header(&mut self, header: &Header<'_>, size: u64) -> Result<(), CopyError> {
        self.with_records(header, size, Vec::new())
    }

    /// A sparse file of `size` bytes, whose `extents` (offset, length) are the content to come.
    ///
    /// # Errors
    /// As [`TarWriter::header`].
    pub fn sparse(
        &mut self,
        header: &Header<'_>,
        size: u64,
        extents: &[(u64, u64)],
    ) -> Result<(), CopyError> {
        let mut map = format!("{}\n", extents.len());
        for (offset, length) in extents {
            map.push_str(&format!("{offset}\n{length}\n"));
        }
        map.extend(std::iter::repeat_n('\0', map.len().wrapping_neg() % BLOCK));
        let stored: u64 = extents.iter().map(|(_, length)| length).sum();
        let mut records = Vec::new();
        record(&mut records, b"GNU.sparse.major", b"1");
        record(&mut records, b"GNU.sparse.minor", b"0");
        record(&mut records, b"GNU.sparse.name", header.path);
        record(&mut records, b"GNU.sparse.realsize", size.to_string().as_bytes());
        self.with_records(header, stored + map.len() as u64, records)?;
        self.data(map.as_bytes())
    }

    /// Content of the entry begun last.
    ///
    /// # Errors
    /// As [`TarWriter::header`].
    pub fn data(&mut self, bytes: &[u8]) -> Result<(), CopyError> {
        self.out.write_all(bytes).map_err(CopyError::stream)
    }

    /// Fills the last block of an entry that had `size` bytes.
    ///
    /// # Errors
    /// As [`TarWriter::header`].
    pub fn pad(&mut self, size: u64) -> Result<(), CopyError> {
        let padding = (size.wrapping_neg() % BLOCK as u64) as usize;
        self.data(&ZEROS[..padding])
    }

    /// Marks the archive's end.
    ///
    /// # Errors
    /// As [`TarWriter::header`].
    pub fn finish(mut self) -> Result<W, CopyError> {
        self.data(&ZEROS[..2 * BLOCK])?;
        self.out.flush().map_err(CopyError::stream)?;
        Ok(self.out)
    }

    fn with_records(
        &mut self,
        header: &Header<'_>,
        size: u64,
        mut records: Vec<u8>,
    ) -> Result<(), CopyError> {
        if header.path.len() > 100 {
            record(&mut records, b"path", header.path);
        }
        if header.link.len() > 100 {
            record(&mut records, b"linkpath", header.link);
        }
        if size > MAX_OCTAL {
            record(&mut records, b"size", size.to_string().as_bytes());
        }
        let Timestamp { seconds, nanoseconds } = header.mtime;
        let plain = u64::try_from(seconds).ok().filter(|seconds| *seconds <= MAX_OCTAL);
        if nanoseconds != 0 || plain.is_none() {
            record(&mut records, b"mtime", decimal(header.mtime).as_bytes());
        }
        for (name, id) in [(&b"uid"[..], header.uid), (b"gid", header.gid)] {
            if id > 0o777_7777 {
                record(&mut records, name, id.to_string().as_bytes());
            }
        }
        for (name, value) in header.xattrs {
            record(&mut records, &[b"SCHILY.xattr.", name.as_slice()].concat(), value);
        }
        if !records.is_empty() {
            let length = records.len() as u64;
            let extended = Header { path: b"././@PaxHeader", flag: b'x', mode: 0o644, ..Header::default() };
            self.block(&extended, length, 0)?;
            self.data(&records)?;
            self.pad(length)?;
        }
        self.block(header, size, plain.unwrap_or(0))
    }

    fn block(&mut self, header: &Header<'_>, size: u64, mtime: u64) -> Result<(), CopyError> {
        let mut block = [0; BLOCK];
        put(&mut block[..100], header.path);
        octal(&mut block[100..108], (header.mode & 0o7777).into());
        octal(&mut block[108..116], if header.uid > 0o777_7777 { 0 } else { header.uid.into() });
        octal(&mut block[116..124], if header.gid > 0o777_7777 { 0 } else { header.gid.into() });
        octal(&mut block[124..136], if size > MAX_OCTAL { 0 } else { size });
        octal(&mut block[136..148], mtime);
        block[148..156].fill(b' ');
        block[156] = header.flag;
        put(&mut block[157..257], header.link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        octal(&mut block[148..155], sum);
        self.out.write_all(&block).map_err(CopyError::stream)
    }
}

/// As much as fits.
fn put(field: &mut [u8], bytes: &[u8]) {
    let length = bytes.len().min(field.len());
    field[..length].copy_from_slice(&bytes[..length]);
}

/// Octal digits and a NUL.
fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    put(field, format!("{value:0digits$o}").as_bytes());
}

/// `<length> <key>=<value>\n`, where the length counts itself.
fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let body = key.len() + value.len() + 3;
    let mut length = body + 1;
    while length != body + length.to_string().len() {
        length = body + length.to_string().len();
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// Seconds with a fraction; before 1970 the fraction counts backwards from a negative number.
fn decimal(time: Timestamp) -> String {
    let Timestamp { seconds, nanoseconds } = time;
    if seconds >= 0 {
        return format!("{seconds}.{nanoseconds:09}");
    }
    let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    let before = total.unsigned_abs();
    format!("-{}.{:09}", before / 1_000_000_000, before % 1_000_000_000)
}

/// Bytes from a reader as an archive's source.
#[derive(Debug)]
pub struct Stream<R> {
    input: R,
    buffer: Vec<u8>,
    from: usize,
    to: usize,
}

impl<R: io::Read> Stream<R> {
    /// Reads as it is asked to.
    pub fn new(input: R) -> Self {
        Self { input, buffer: vec![0; 256 * 1024], from: 0, to: 0 }
    }
}

impl<R: io::Read> crate::tar::Source for Stream<R> {
    type Error = CopyError;

    fn take(&mut self, max: usize) -> Result<&[u8], CopyError> {
        while self.from == self.to {
            match self.input.read(&mut self.buffer) {
                Ok(0) => return Ok(&[]),
                Ok(length) => (self.from, self.to) = (0, length),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(CopyError::stream(error)),
            }
        }
        let from = self.from;
        self.from = self.to.min(from.saturating_add(max));
        Ok(&self.buffer[from..self.from])
    }
}
