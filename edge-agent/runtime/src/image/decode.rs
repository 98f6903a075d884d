//! Decompression of layers.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

/// The largest window a zstd layer may ask for, as a power of two: 8 MiB, what every decoder must support by
/// RFC 8878. Without a limit a layer could make the agent allocate 128 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Compressed bytes read at once.
const INPUT_BUFFER: usize = 32 << 10;

/// How a layer's tar is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    Plain,
    Gzip,
    Zstd,
}

impl Compression {
    /// What a layer's media type says; none for types that are no layers of files.
    pub(super) fn of(media_type: &str) -> Option<Self> {
        let rest = media_type
            .strip_prefix("application/vnd.oci.image.layer.v1.tar")
            .or_else(|| media_type.strip_prefix("application/vnd.oci.image.layer.nondistributable.v1.tar"))
            .or_else(|| media_type.strip_prefix("application/vnd.docker.image.rootfs.diff.tar"))
            .or_else(|| media_type.strip_prefix("application/vnd.docker.image.rootfs.foreign.diff.tar"))?;
        match rest {
            "" => Some(Self::Plain),
            "+gzip" | ".gzip" => Some(Self::Gzip),
            "+zstd" | ".zstd" => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// The tar inside a compressed stream.
pub(super) enum Decoder<R: Read> {
    Plain(R),
    Gzip(Box<MultiGzDecoder<BufReader<R>>>),
    Zstd(Box<zstd::Decoder<'static, BufReader<R>>>),
}

impl<R: Read> Decoder<R> {
    pub(super) fn new(compression: Compression, input: R) -> io::Result<Self> {
        let buffered = |input| BufReader::with_capacity(INPUT_BUFFER, input);
        Ok(match compression {
            Compression::Plain => Self::Plain(input),
            Compression::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(buffered(input)))),
            Compression::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(buffered(input))?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Self::Zstd(Box::new(decoder))
            }
        })
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(input) => input.read(into),
            Self::Gzip(decoder) => decoder.read(into),
            Self::Zstd(decoder) => decoder.read(into),
        }
    }
}

/// Reads to the end without keeping anything.
pub(super) fn drain(reader: &mut impl Read) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(INPUT_BUFFER, reader);
    loop {
        let len = reader.fill_buf()?.len();
        if len == 0 {
            return Ok(());
        }
        reader.consume(len);
    }
}
