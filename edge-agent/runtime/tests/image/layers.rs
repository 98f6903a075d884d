//! Tars made byte by byte, so that they can hold what no tool would write.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use skerry_runtime::image::Digest;

use crate::support::image::{GZIP, TAR, TestLayer, ZSTD};

/// A tar under construction; the flag leaves out the end mark.
#[derive(Clone, Default)]
pub(crate) struct Tar(Vec<u8>, bool);

impl Tar {
    /// Content without a header, for pieces of a tar.
    pub(crate) fn content(mut self, data: &[u8]) -> Self {
        self.0.extend_from_slice(data);
        self.1 = true;
        self
    }

    /// The header of a file whose content is elsewhere.
    pub(crate) fn header(self, path: &str, size: u64) -> Self {
        let mut header = tar::Header::new_ustar();
        header.set_path(path).expect("a short path");
        header.set_size(size);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        self.content(header.as_bytes())
    }

    /// Any header with any content.
    pub(crate) fn raw(mut self, kind: u8, path: &[u8], link: &[u8], mode: u32, data: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        let bytes = header.as_old_mut();
        bytes.name[..path.len()].copy_from_slice(path);
        bytes.linkname[..link.len()].copy_from_slice(link);
        bytes.linkflag = [kind];
        header.set_mode(mode);
        header.set_uid(1000);
        header.set_gid(1001);
        header.set_mtime(1_600_000_000);
        header.set_size(data.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, path: &str, data: &[u8]) -> Self {
        self.raw(b'0', path.as_bytes(), b"", 0o644, data)
    }

    pub(crate) fn mode(self, path: &str, mode: u32, data: &[u8]) -> Self {
        self.raw(b'0', path.as_bytes(), b"", mode, data)
    }

    pub(crate) fn folder(self, path: &str) -> Self {
        self.raw(b'5', path.as_bytes(), b"", 0o755, b"")
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.raw(b'2', path.as_bytes(), target.as_bytes(), 0o777, b"")
    }

    pub(crate) fn hardlink(self, path: &str, target: &str) -> Self {
        self.raw(b'1', path.as_bytes(), target.as_bytes(), 0o644, b"")
    }

    /// Extension records for the next entry.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let payload = key.len() + value.len() + 3;
            let len =
                (payload..payload + 9).find(|len| payload + len.to_string().len() == *len).expect("a length");
            write!(data, "{len} {key}=").expect("memory");
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.raw(b'x', b"pax", b"", 0o644, &data)
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        if !self.1 {
            self.0.resize(self.0.len() + 1024, 0);
        }
        self.0
    }

    pub(crate) fn plain(self) -> TestLayer {
        let bytes = self.end();
        TestLayer { diff_id: Digest::of(&bytes), bytes, media_type: TAR }
    }

    pub(crate) fn gzip(self) -> TestLayer {
        let plain = self.end();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&plain).expect("memory");
        let bytes = encoder.finish().expect("memory");
        TestLayer { diff_id: Digest::of(&plain), bytes, media_type: GZIP }
    }

    pub(crate) fn zstd(self) -> TestLayer {
        let plain = self.end();
        let bytes = zstd::encode_all(plain.as_slice(), 3).expect("memory");
        TestLayer { diff_id: Digest::of(&plain), bytes, media_type: ZSTD }
    }
}

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
