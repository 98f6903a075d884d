//! Tar entries with their extension records, read in bounded memory.
//!
//! The tar library's own handling of long names reads them whole whatever their size, so a layer could make the
//! agent allocate as much as it likes. Here it yields raw headers, and the extensions are read with limits.

use std::io::{self, Read};

use tar::{Entry as RawEntry, EntryType, Header};

use super::error::Violation;

/// Linux's `PATH_MAX`.
pub(super) const MAX_PATH: usize = 4096;
/// All extension records of one entry: a path, a link target and a few attributes.
const MAX_EXTENSION: u64 = 128 << 10;

/// One file of a layer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) meta: Meta,
}

/// What the file is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Symlink { target: Vec<u8> },
    Hardlink { target: Vec<u8> },
    Device { kind: &'static str },
}

/// Owner, permissions, time and extended attributes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    /// Permission bits, setuid, setgid and sticky.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Seconds since 1970.
    pub(super) mtime: i64,
    /// Nanoseconds of `mtime`.
    pub(super) mtime_ns: i64,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Why a header is not an entry.
#[derive(Debug)]
pub(super) enum EntryError {
    /// The stream failed, or is no tar.
    Stream(io::Error),
    /// The entry is refused.
    Violation(Vec<u8>, Violation),
}

impl From<io::Error> for EntryError {
    fn from(error: io::Error) -> Self {
        Self::Stream(error)
    }
}

/// Extension records that came and wait for their file.
#[derive(Default)]
pub(super) struct Pending {
    long_path: Option<Vec<u8>>,
    long_target: Option<Vec<u8>>,
    pax: Pax,
}

#[derive(Default)]
struct Pax {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    uid: Option<u64>,
    gid: Option<u64>,
    size: Option<u64>,
    mtime: Option<(i64, i64)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Pending {
    /// Takes the next raw header. None when it was an extension for a later one.
    pub(super) fn take<R: Read>(&mut self, raw: &mut RawEntry<'_, R>) -> Result<Option<Entry>, EntryError> {
        match raw.header().entry_type() {
            EntryType::GNULongName => self.long_path = Some(without_nul(extension(raw)?)),
            EntryType::GNULongLink => self.long_target = Some(without_nul(extension(raw)?)),
            EntryType::XHeader => {
                let bytes = extension(raw)?;
                self.pax = parse_pax(&bytes).ok_or_else(|| bad_extension(raw.header()))?;
            }
            // Global records hold a comment in practice; the next header skips their bytes.
            EntryType::XGlobalHeader => {}
            kind => return std::mem::take(self).complete(raw.header(), kind, raw.size()).map(Some),
        }
        Ok(None)
    }

    fn complete(self, header: &Header, kind: EntryType, size: u64) -> Result<Entry, EntryError> {
        let path = self.pax.path.or(self.long_path).unwrap_or_else(|| header.path_bytes().into_owned());
        let refuse = |violation| EntryError::Violation(path.clone(), violation);
        // The library skips by the header's size. A record that says otherwise would make two readers see two
        // different archives.
        if self.pax.size.is_some_and(|claimed| claimed != size) {
            return Err(refuse(Violation::BadExtension));
        }
        let target = || {
            let target = self.pax.target.or(self.long_target);
            target.or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned)).unwrap_or_default()
        };
        let kind = match kind {
            EntryType::Regular | EntryType::Continuous if path.ends_with(b"/") => Kind::Folder,
            EntryType::Regular | EntryType::Continuous => Kind::File,
            EntryType::Directory => Kind::Folder,
            EntryType::Symlink => Kind::Symlink { target: target() },
            EntryType::Link => Kind::Hardlink { target: target() },
            EntryType::Char => Kind::Device { kind: "character device" },
            EntryType::Block => Kind::Device { kind: "block device" },
            EntryType::Fifo => Kind::Device { kind: "fifo" },
            other => {
                return Err(refuse(Violation::UnsupportedType { type_flag: char::from(other.as_byte()) }));
            }
        };
        let id = |pax: Option<u64>, header: u64| {
            u32::try_from(pax.unwrap_or(header)).map_err(|_| refuse(Violation::BadExtension))
        };
        let (mtime, mtime_ns) = match self.pax.mtime {
            Some(time) => time,
            None => (i64::try_from(header.mtime()?).unwrap_or(0), 0),
        };
        let meta = Meta {
            mode: header.mode()? & 0o7777,
            uid: id(self.pax.uid, header.uid()?)?,
            gid: id(self.pax.gid, header.gid()?)?,
            mtime,
            mtime_ns,
            xattrs: self.pax.xattrs,
        };
        Ok(Entry { path, kind, meta })
    }
}

/// The content of an extension header, within the limit.
fn extension<R: Read>(raw: &mut RawEntry<'_, R>) -> Result<Vec<u8>, EntryError> {
    if raw.size() > MAX_EXTENSION {
        return Err(bad_extension(raw.header()));
    }
    let mut bytes = Vec::new();
    raw.read_to_end(&mut bytes)?;
    if bytes.len() as u64 != raw.size() {
        return Err(EntryError::Stream(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(bytes)
}

fn bad_extension(header: &Header) -> EntryError {
    EntryError::Violation(header.path_bytes().into_owned(), Violation::BadExtension)
}

/// GNU long names end with a NUL.
fn without_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    bytes
}

/// Parses `<length> <key>=<value>\n` records. Values may hold any byte, newlines too, so only the length tells
/// where one ends. None when the records are malformed.
fn parse_pax(mut rest: &[u8]) -> Option<Pax> {
    let mut pax = Pax::default();
    while !rest.is_empty() {
        let space = rest.iter().take(8).position(|b| *b == b' ')?;
        let len: usize = number(&rest[..space])?;
        let record = rest.get(space + 1..len)?.strip_suffix(b"\n")?;
        rest = &rest[len..];
        let equals = record.iter().position(|b| *b == b'=')?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        match key {
            b"path" => pax.path = Some(value.to_vec()),
            b"linkpath" => pax.target = Some(value.to_vec()),
            b"uid" => pax.uid = Some(number(value)?),
            b"gid" => pax.gid = Some(number(value)?),
            b"size" => pax.size = Some(number(value)?),
            b"mtime" => pax.mtime = Some(time(value)?),
            _ if key.starts_with(b"GNU.sparse.") => return None,
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.").filter(|name| is_allowed_xattr(name)) {
                    pax.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
    }
    Some(pax)
}

fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Seconds with a fraction, as `-12.5` or `1700000000.123456789`.
fn time(text: &[u8]) -> Option<(i64, i64)> {
    let text = std::str::from_utf8(text).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut nanos: i64 = 0;
    for digit in fraction.bytes().chain(std::iter::repeat(b'0')).take(9) {
        nanos = nanos * 10 + i64::from(digit.is_ascii_digit().then_some(digit - b'0')?);
    }
    let negative = text.starts_with('-') && nanos > 0;
    let seconds: i64 = seconds.parse().ok()?;
    Some(if negative { (seconds.checked_sub(1)?, 1_000_000_000 - nanos) } else { (seconds, nanos) })
}

/// File capabilities and user attributes. Others steer the kernel: `trusted.overlay.redirect`, for one, makes an
/// overlay read another folder than it was given.
fn is_allowed_xattr(name: &[u8]) -> bool {
    let user = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
    name == b"security.capability" || (user && name.len() <= 255 && !name.contains(&0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(key: &str, value: &[u8]) -> Vec<u8> {
        let payload = key.len() + value.len() + 3;
        let mut len = payload;
        while len != payload + len.to_string().len() {
            len = payload + len.to_string().len();
        }
        [format!("{len} {key}=").as_bytes(), value, b"\n"].concat()
    }

    #[test]
    fn pax_values_hold_any_byte() {
        let value = b"a\n12 b=\0\xff".as_slice();
        let bytes =
            [record("SCHILY.xattr.user.x", value), record("path", b"p/q"), record("uid", b"70000")].concat();
        let pax = parse_pax(&bytes).expect("well formed");
        assert_eq!(pax.xattrs, [(b"user.x".to_vec(), value.to_vec())]);
        assert_eq!((pax.path.as_deref(), pax.uid), (Some(b"p/q".as_slice()), Some(70_000)));
    }

    #[test]
    fn dangerous_attributes_are_left_out() {
        for name in ["trusted.overlay.redirect", "user.overlay.opaque", "security.selinux", "trusted.x"] {
            let pax = parse_pax(&record(&format!("SCHILY.xattr.{name}"), b"1")).expect("well formed");
            assert!(pax.xattrs.is_empty(), "{name}");
        }
    }

    #[test]
    fn malformed_records_are_refused() {
        let sparse = record("GNU.sparse.major", b"1");
        for bytes in [b"5".as_slice(), b"3 x", b"99 a=b\n", b"6 ab\n\n", b"7 uid=x\n", b"0 a=b\n", &sparse] {
            assert!(parse_pax(bytes).is_none(), "{bytes:?}");
        }
    }

    #[test]
    fn times_have_fractions_and_signs() {
        let check = |text: &str, expect| assert_eq!(time(text.as_bytes()), expect, "{text}");
        check("12", Some((12, 0)));
        check("12.5", Some((12, 500_000_000)));
        check("12.1234567891", Some((12, 123_456_789)));
        check("-1.25", Some((-2, 750_000_000)));
        check("x", None);
        check("1.x", None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            parse_pax(&bytes);
        }
    }
}
