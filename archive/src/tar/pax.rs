//! PAX extended headers: `<length> <key>=<value>\n` records that override an entry's fields.
//!
//! Owns the records' syntax and which keys mean something to an image; keys it does not know are skipped.

use super::header::HeaderProblem;
use super::sparse::Extent;
use crate::Timestamp;

const XATTR: &[u8] = b"SCHILY.xattr.";
const SPARSE: &[u8] = b"GNU.sparse.";

/// What the records say; an empty value takes a record of the global header back.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<Timestamp>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: Option<PaxSparse>,
}

/// A sparse file as the records describe it.
#[derive(Clone, Debug, Default)]
pub(super) struct PaxSparse {
    /// The file's own name; the path record then holds a made-up one.
    pub(super) name: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) map_in_data: bool,
    pub(super) extents: Vec<Extent>,
    offset: Option<u64>,
}

impl Records {
    /// These records where they speak, else those of the global header.
    pub(super) fn over(self, global: &Self) -> Self {
        let mut xattrs = self.xattrs;
        for (name, value) in &global.xattrs {
            if !xattrs.iter().any(|(own, _)| own == name) {
                xattrs.push((name.clone(), value.clone()));
            }
        }
        Self {
            path: self.path.or_else(|| global.path.clone()),
            link: self.link.or_else(|| global.link.clone()),
            size: self.size.or(global.size),
            uid: self.uid.or(global.uid),
            gid: self.gid.or(global.gid),
            mtime: self.mtime.or(global.mtime),
            xattrs,
            sparse: self.sparse.or_else(|| global.sparse.clone()),
        }
    }

    /// Takes in the content of one extended header.
    pub(super) fn parse(&mut self, bytes: &[u8]) -> Result<(), HeaderProblem> {
        let mut rest = bytes;
        while !rest.is_empty() && rest[0] != 0 {
            let (key, value, behind) = record(rest).ok_or(HeaderProblem::Record)?;
            self.take(key, value)?;
            rest = behind;
        }
        Ok(())
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), HeaderProblem> {
        let text = || (!value.is_empty()).then(|| value.to_vec());
        match key {
            b"path" => self.path = text(),
            b"linkpath" => self.link = text(),
            b"size" => self.size = optional(value, "size")?,
            b"uid" => self.uid = optional(value, "uid")?,
            b"gid" => self.gid = optional(value, "gid")?,
            b"mtime" => {
                self.mtime = match value {
                    b"" => None,
                    _ => Some(timestamp(value).ok_or(HeaderProblem::RecordValue("mtime"))?),
                }
            }
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    self.xattrs.retain(|(own, _)| own != name);
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                } else if let Some(field) = key.strip_prefix(SPARSE) {
                    self.sparse.get_or_insert_default().take(field, value)?;
                }
            }
        }
        Ok(())
    }
}

impl PaxSparse {
    fn take(&mut self, field: &[u8], value: &[u8]) -> Result<(), HeaderProblem> {
        const BROKEN: HeaderProblem = HeaderProblem::SparseMap;
        match field {
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(decimal(value).ok_or(BROKEN)?),
            b"major" => self.map_in_data = value == b"1",
            b"offset" => self.offset = Some(decimal(value).ok_or(BROKEN)?),
            b"numbytes" => {
                let offset = self.offset.take().ok_or(BROKEN)?;
                self.extents.push(Extent { offset, length: decimal(value).ok_or(BROKEN)? });
            }
            b"map" => {
                let numbers: Option<Vec<u64>> = value.split(|byte| *byte == b',').map(decimal).collect();
                let numbers = numbers.filter(|numbers| numbers.len().is_multiple_of(2)).ok_or(BROKEN)?;
                self.extents =
                    numbers.chunks_exact(2).map(|pair| Extent { offset: pair[0], length: pair[1] }).collect();
            }
            _ => {}
        }
        Ok(())
    }
}

/// Key, value and what follows the first record.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&bytes[..blank])?).ok()?;
    if length <= blank || length > bytes.len() {
        return None;
    }
    let (record, behind) = bytes.split_at(length);
    let body = record[blank + 1..].strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    Some((&body[..equals], &body[equals + 1..], behind))
}

fn optional<T: TryFrom<u64>>(value: &[u8], name: &'static str) -> Result<Option<T>, HeaderProblem> {
    if value.is_empty() {
        return Ok(None);
    }
    let number = decimal(value).and_then(|number| T::try_from(number).ok());
    number.map(Some).ok_or(HeaderProblem::RecordValue(name))
}

/// Decimal digits, nothing else.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// Seconds with an optional sign and fraction; what is finer than a nanosecond is cut off.
fn timestamp(text: &[u8]) -> Option<Timestamp> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let point = text.iter().position(|byte| *byte == b'.').unwrap_or(text.len());
    let seconds = i64::try_from(decimal(&text[..point])?).ok()?;
    let fraction = text.get(point + 1..).unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = digits.fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
    Some(match (negative, nanoseconds) {
        (false, _) => Timestamp { seconds, nanoseconds },
        (true, 0) => Timestamp { seconds: -seconds, nanoseconds: 0 },
        (true, _) => Timestamp { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_nanoseconds_on_both_sides_of_1970() {
        let time = |seconds, nanoseconds| Some(Timestamp { seconds, nanoseconds });
        assert_eq!(timestamp(b"1350244992.023960108"), time(1_350_244_992, 23_960_108));
        assert_eq!(timestamp(b"1.5"), time(1, 500_000_000));
        assert_eq!(timestamp(b"12.0000000019"), time(12, 1));
        assert_eq!(timestamp(b"-1.5"), time(-2, 500_000_000));
        assert_eq!(timestamp(b"-3"), time(-3, 0));
        assert_eq!(timestamp(b"-0.000000001"), time(-1, 999_999_999));
        for bad in [&b""[..], b".5", b"1.x", b"1e3", b"--1", b"99999999999999999999"] {
            assert_eq!(timestamp(bad), None, "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn records_hold_any_bytes_and_later_ones_win() {
        let mut records = Records::default();
        let value = b"29 SCHILY.xattr.user.x=a=\n\0b\n12 path=one\n12 path=two\n14 mtime=2.25\n9 uid=77\n";
        assert!(records.parse(value).is_ok());
        assert_eq!(records.xattrs, [(b"user.x".to_vec(), b"a=\n\0b".to_vec())]);
        assert_eq!(records.path.as_deref(), Some(&b"two"[..]));
        assert_eq!(records.uid, Some(77));
        assert_eq!(records.mtime, Some(Timestamp { seconds: 2, nanoseconds: 250_000_000 }));
    }

    #[test]
    fn malformed_records_are_named() {
        for (bytes, want) in [
            (&b"99 path=x\n"[..], HeaderProblem::Record),
            (b"3 path=x\n", HeaderProblem::Record),
            (b"10 path=xy", HeaderProblem::Record),
            (b"8 pathx\n", HeaderProblem::Record),
            (b"path=x\n", HeaderProblem::Record),
            (b"10 uid=-1\n", HeaderProblem::RecordValue("uid")),
            (b"18 uid=4294967296\n", HeaderProblem::RecordValue("uid")),
            (b"28 GNU.sparse.map=0,512,1024\n", HeaderProblem::Record),
            (b"29 GNU.sparse.map=0,512,1024\n", HeaderProblem::SparseMap),
        ] {
            assert_eq!(Records::default().parse(bytes), Err(want), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn global_records_stand_where_local_ones_are_silent() {
        let mut global = Records::default();
        let mut local = Records::default();
        assert!(global.parse(b"8 gid=5\n8 uid=1\n").is_ok());
        assert!(local.parse(b"8 uid=2\n").is_ok());
        let both = local.over(&global);
        assert_eq!((both.uid, both.gid), (Some(2), Some(5)));
    }
}
