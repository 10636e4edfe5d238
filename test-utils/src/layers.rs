//! Tar archives as layers are made of, right ones and deliberately wrong ones, byte by byte.
//!
//! Owns headers, PAX records, GNU extensions and compression for tests; what it writes need not make sense.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

/// One entry to write; start from one of the constructors and change fields.
#[derive(Clone, Debug)]
pub struct Item {
    /// Path as it shall stand in the archive.
    pub path: Vec<u8>,
    /// Type flag.
    pub flag: u8,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Seconds and nanoseconds; what the header cannot hold goes to a PAX record.
    pub mtime: (i64, u32),
    /// Target of a symlink or hard link.
    pub link: Vec<u8>,
    /// Major and minor number.
    pub device: (u32, u32),
    /// Extended attributes, as PAX records.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// More PAX records.
    pub records: Vec<(Vec<u8>, Vec<u8>)>,
    /// Content.
    pub data: Vec<u8>,
}

impl Item {
    fn new(path: impl AsRef<[u8]>, flag: u8, mode: u32) -> Self {
        Self {
            path: path.as_ref().to_vec(),
            flag,
            mode,
            uid: 0,
            gid: 0,
            mtime: (1_000_000_000, 0),
            link: Vec::new(),
            device: (0, 0),
            xattrs: Vec::new(),
            records: Vec::new(),
            data: Vec::new(),
        }
    }

    /// A regular file.
    pub fn file(path: impl AsRef<[u8]>, data: impl AsRef<[u8]>) -> Self {
        Self { data: data.as_ref().to_vec(), ..Self::new(path, b'0', 0o644) }
    }

    /// A directory.
    pub fn dir(path: impl AsRef<[u8]>) -> Self {
        Self::new(path, b'5', 0o755)
    }

    /// A symlink.
    pub fn symlink(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self { link: target.as_ref().to_vec(), ..Self::new(path, b'2', 0o777) }
    }

    /// A hard link.
    pub fn hard_link(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self { link: target.as_ref().to_vec(), ..Self::new(path, b'1', 0o644) }
    }

    /// A character (`b'3'`) or block (`b'4'`) device.
    pub fn device(path: impl AsRef<[u8]>, flag: u8, device: (u32, u32)) -> Self {
        Self { device, ..Self::new(path, flag, 0o600) }
    }

    /// A FIFO.
    pub fn fifo(path: impl AsRef<[u8]>) -> Self {
        Self::new(path, b'6', 0o600)
    }

    /// The whiteout of a path: its last name gets the prefix.
    pub fn whiteout(path: impl AsRef<[u8]>) -> Self {
        let path = path.as_ref();
        let name = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        Self::file([&path[..name], b".wh.", &path[name..]].concat(), b"")
    }

    /// The opaque marker of a directory; the root's path is empty.
    pub fn opaque(path: impl AsRef<[u8]>) -> Self {
        let path = path.as_ref();
        let slash: &[u8] = if path.is_empty() { b"" } else { b"/" };
        Self::file([path, slash, b".wh..wh..opq"].concat(), b"")
    }
}

/// An archive under construction.
#[derive(Clone, Debug, Default)]
pub struct TarBuilder {
    bytes: Vec<u8>,
}

impl TarBuilder {
    /// An empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// A whole archive of some entries.
    pub fn archive<'a>(items: impl IntoIterator<Item = &'a Item>) -> Vec<u8> {
        let mut builder = Self::new();
        for item in items {
            builder.add(item);
        }
        builder.finish()
    }

    /// Appends an entry with the PAX records it needs.
    pub fn add(&mut self, item: &Item) -> &mut Self {
        let mut records = item.records.clone();
        for (name, value) in &item.xattrs {
            records.push(([b"SCHILY.xattr.", name.as_slice()].concat(), value.clone()));
        }
        if item.path.len() > 100 {
            records.push((b"path".to_vec(), item.path.clone()));
        }
        if item.link.len() > 100 {
            records.push((b"linkpath".to_vec(), item.link.clone()));
        }
        if item.mtime.0 < 0 || item.mtime.1 != 0 {
            records.push((b"mtime".to_vec(), decimal_time(item.mtime).into_bytes()));
        }
        for (key, id) in [(b"uid", item.uid), (b"gid", item.gid)] {
            if id >= 1 << 21 {
                records.push((key.to_vec(), id.to_string().into_bytes()));
            }
        }
        if !records.is_empty() {
            self.pax(b'x', &records);
        }
        self.raw(&header(item, item.data.len() as u64));
        self.data(&item.data)
    }

    /// Appends an extended header of PAX records: `b'x'` for the next entry, `b'g'` for all.
    pub fn pax(&mut self, flag: u8, records: &[(Vec<u8>, Vec<u8>)]) -> &mut Self {
        let body: Vec<u8> = records.iter().flat_map(|(key, value)| pax_record(key, value)).collect();
        self.extension(flag, &body)
    }

    /// Appends a GNU long name (`b'L'`), long link (`b'K'`) or any other extension.
    pub fn extension(&mut self, flag: u8, body: &[u8]) -> &mut Self {
        let item = Item { flag, ..Item::file("././@LongLink", b"") };
        self.raw(&header(&item, body.len() as u64));
        self.data(body)
    }

    /// Appends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Appends content, filled up to whole blocks.
    pub fn data(&mut self, data: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    /// The archive with its end marked.
    pub fn finish(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }

    /// The archive so far, without its end marked.
    pub fn unfinished(&self) -> &[u8] {
        &self.bytes
    }
}

/// A header block with the right checksum; fields that do not fit are cut or left 0.
pub fn header(item: &Item, size: u64) -> [u8; 512] {
    let mut block = [0; 512];
    let name = item.path.len().min(100);
    block[..name].copy_from_slice(&item.path[..name]);
    octal(&mut block[100..108], u64::from(item.mode));
    octal(&mut block[108..116], if item.uid < 1 << 21 { item.uid } else { 0 });
    octal(&mut block[116..124], if item.gid < 1 << 21 { item.gid } else { 0 });
    octal(&mut block[124..136], size);
    octal(&mut block[136..148], u64::try_from(item.mtime.0).unwrap_or(0));
    block[156] = item.flag;
    let link = item.link.len().min(100);
    block[157..157 + link].copy_from_slice(&item.link[..link]);
    block[257..265].copy_from_slice(b"ustar\x0000");
    octal(&mut block[329..337], u64::from(item.device.0));
    octal(&mut block[337..345], u64::from(item.device.1));
    checksum(&mut block);
    block
}

/// Sets a header's checksum after its fields were changed.
pub fn checksum(block: &mut [u8; 512]) {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    octal(&mut block[148..155], sum);
}

/// One PAX record: its length counts itself.
pub fn pax_record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

/// One gzip member.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("writing to memory")
}

/// One zstd frame.
pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("writing to memory")
}

fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}");
    field[..digits].copy_from_slice(&text.as_bytes()[text.len() - digits..]);
}

/// A moment in seconds with a fraction, as PAX has it: the sign belongs to the whole.
fn decimal_time((seconds, nanoseconds): (i64, u32)) -> String {
    if seconds < 0 && nanoseconds > 0 {
        format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanoseconds)
    } else {
        format!("{seconds}.{nanoseconds:09}")
    }
}
