//! The 512-byte header block: fields, numbers, checksum.
//!
//! Owns the fixed layout of ustar, GNU and V7 headers; extended headers are read elsewhere.

use crate::DeviceNumber;

/// Size of a block.
pub(super) const BLOCK: usize = 512;

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderProblem {
    #[error("the checksum is wrong")]
    Checksum,
    #[error("the field `{0}` is not a number in its range")]
    Number(&'static str),
    #[error("entries of type `{}` are not supported", .0.escape_ascii())]
    Type(u8),
    #[error("an extended header or long name is larger than 1 MiB")]
    ExtensionTooLong,
    #[error("an extended header's record is malformed")]
    Record,
    #[error("the extended header's record `{0}` has a value out of its range")]
    RecordValue(&'static str),
    #[error("the sparse file's map is malformed")]
    SparseMap,
    #[error("the sparse file's map has more than 1,000,000 extents")]
    SparseMapTooLong,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TypeFlag {
    Regular,
    /// As before POSIX, when a trailing slash was what made a directory.
    OldRegular,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
    GnuSparse,
    GnuLongName,
    GnuLongLink,
    PaxLocal,
    PaxGlobal,
}

/// The fields of one header that mean something to an image.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) flag: TypeFlag,
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    /// Seconds since 1970.
    pub(super) mtime: i64,
    pub(super) device: DeviceNumber,
}

impl Header {
    pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Self, HeaderProblem> {
        check_sum(block)?;
        let flag = type_flag(block[156])?;
        let mode = number(&block[100..108]).ok_or(HeaderProblem::Number("mode"))?;
        Ok(Self {
            path: path(block),
            link: text(&block[157..257]).to_vec(),
            flag,
            mode: (mode & 0o7777) as u16,
            uid: field(&block[108..116], "uid")?,
            gid: field(&block[116..124], "gid")?,
            size: field(&block[124..136], "size")?,
            mtime: field(&block[136..148], "mtime")?,
            device: match flag {
                TypeFlag::CharDevice | TypeFlag::BlockDevice => DeviceNumber {
                    major: field(&block[329..337], "devmajor")?,
                    minor: field(&block[337..345], "devminor")?,
                },
                _ => DeviceNumber::default(),
            },
        })
    }
}

fn type_flag(byte: u8) -> Result<TypeFlag, HeaderProblem> {
    Ok(match byte {
        b'0' | b'7' => TypeFlag::Regular,
        0 => TypeFlag::OldRegular,
        b'1' => TypeFlag::HardLink,
        b'2' => TypeFlag::Symlink,
        b'3' => TypeFlag::CharDevice,
        b'4' => TypeFlag::BlockDevice,
        b'5' => TypeFlag::Directory,
        b'6' => TypeFlag::Fifo,
        b'S' => TypeFlag::GnuSparse,
        b'L' => TypeFlag::GnuLongName,
        b'K' => TypeFlag::GnuLongLink,
        b'x' | b'X' => TypeFlag::PaxLocal,
        b'g' => TypeFlag::PaxGlobal,
        other => return Err(HeaderProblem::Type(other)),
    })
}

/// The name, with POSIX's prefix before it; GNU keeps other things there, star a shorter prefix.
fn path(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = text(&block[..100]);
    if block[257..263] != *b"ustar\0" {
        return name.to_vec();
    }
    let star = block[508..512] == *b"tar\0";
    let prefix = text(if star { &block[345..476] } else { &block[345..500] });
    if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
}

/// Up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    &field[..end]
}

fn field<T: TryFrom<i128>>(bytes: &[u8], name: &'static str) -> Result<T, HeaderProblem> {
    number(bytes).and_then(|value| T::try_from(value).ok()).ok_or(HeaderProblem::Number(name))
}

/// A number: octal digits between blanks and NULs, or (first bit set) big-endian two's complement without that bit.
pub(super) fn number(field: &[u8]) -> Option<i128> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        let negative = first & 0x40 != 0;
        let start: i128 = if negative { -1 } else { 0 };
        let top = if negative { first } else { first & 0x7f };
        let value = (start << 8) | i128::from(top);
        return Some(field[1..].iter().fold(value, |value, byte| (value << 8) | i128::from(*byte)));
    }
    let blank = |byte: &u8| *byte == b' ' || *byte == 0;
    let start = field.iter().position(|byte| !blank(byte)).unwrap_or(field.len());
    let digits = &field[start..];
    let end = digits.iter().position(blank).unwrap_or(digits.len());
    digits[..end].iter().try_fold(0, |value, digit| {
        matches!(digit, b'0'..=b'7').then(|| (value << 3) | i128::from(digit - b'0'))
    })
}

/// The sum of all bytes, the checksum's own taken as blanks; some old writers summed signed bytes.
fn check_sum(block: &[u8; BLOCK]) -> Result<(), HeaderProblem> {
    let field = 148..156;
    let stored = number(&block[field.clone()]).ok_or(HeaderProblem::Checksum)?;
    let (mut unsigned, mut signed) = (0_i32, 0_i32);
    for (at, byte) in block.iter().enumerate() {
        let byte = if field.contains(&at) { b' ' } else { *byte };
        unsigned += i32::from(byte);
        signed += i32::from(byte as i8);
    }
    if stored == i128::from(unsigned) || stored == i128::from(signed) {
        Ok(())
    } else {
        Err(HeaderProblem::Checksum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"77777777777\0"), Some(0o77_777_777_777));
        assert_eq!(number(b"\0\0\0\0"), Some(0));
        assert_eq!(number(b"\x80\0\0\0\0\0\0\x02\0\0\0\0"), Some(1 << 33));
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"), Some(-2));
        assert_eq!(number(b"12x4\0"), None);
        assert_eq!(number(b"0000648\0"), None);
    }
}
