//! Where a layer's compressed bytes come from, verified as they pass.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use bytes::Bytes;
use skerry_registry::{Digest, Hasher};
use tokio::sync::mpsc;

use super::decode::drain;
use super::disk::DiskGuard;
use super::error::PullError;

/// Why a source stopped before its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// The sender went away: a cut link, or a cancelled pull. The sender knows which.
    Cut,
    /// The bytes end too early; `have` of them came.
    Truncated { have: u64 },
    /// The partial file cannot be read or written, or the disk is full.
    Local(PullError),
}

/// Raw bytes, or the reason why there are no more. An empty answer is the end.
pub(super) trait Pieces {
    fn next(&mut self, into: &mut [u8]) -> Result<usize, Stop>;
}

/// Passes a blob's bytes on while hashing them, up to its size.
pub(super) struct Verified<P> {
    pieces: P,
    hasher: Hasher,
    expected: Digest,
    size: u64,
    have: u64,
    stop: Option<Stop>,
}

/// How a whole blob compares with its digest.
pub(super) enum Verdict {
    Right,
    Wrong { got: Digest },
    Stopped(Stop),
}

impl<P: Pieces> Verified<P> {
    pub(super) fn new(pieces: P, expected: Digest, size: u64) -> Self {
        Self { pieces, hasher: Hasher::default(), expected, size, have: 0, stop: None }
    }

    /// Reads what is left and compares the digest.
    pub(super) fn finish(mut self) -> Verdict {
        if self.stop.is_none() {
            // A failure is kept in `stop`, which says more than the `io::Error`.
            drain(&mut self).ok();
        }
        if let Some(stop) = self.stop {
            return Verdict::Stopped(stop);
        }
        let got = self.hasher.finish();
        if got == self.expected { Verdict::Right } else { Verdict::Wrong { got } }
    }
}

impl<P: Pieces> Read for Verified<P> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_some() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let left = usize::try_from(self.size - self.have).unwrap_or(usize::MAX);
        let into_len = into.len().min(left);
        if into_len == 0 {
            return Ok(0);
        }
        let stop = match self.pieces.next(&mut into[..into_len]) {
            Ok(0) => Stop::Truncated { have: self.have },
            Ok(len) => {
                self.hasher.update(&into[..len]);
                self.have += len as u64;
                return Ok(len);
            }
            Err(stop) => stop,
        };
        self.stop = Some(stop);
        Err(io::ErrorKind::ConnectionAborted.into())
    }
}

/// A download: first what its partial file holds already, then what the channel brings, appended to the file.
pub(super) struct Download {
    pub(super) partial: File,
    pub(super) path: PathBuf,
    /// Bytes still to be read back from the partial file.
    pub(super) resumed: u64,
    pub(super) pieces: mpsc::Receiver<Bytes>,
    pub(super) current: Bytes,
    pub(super) disk: DiskGuard,
}

impl Pieces for Download {
    fn next(&mut self, into: &mut [u8]) -> Result<usize, Stop> {
        if self.resumed > 0 {
            let most = usize::try_from(self.resumed).unwrap_or(usize::MAX).min(into.len());
            let len = self.partial.read(&mut into[..most]).map_err(|e| self.local(e))?;
            if len == 0 {
                return Err(self.local(io::ErrorKind::UnexpectedEof.into()));
            }
            self.resumed -= len as u64;
            return Ok(len);
        }
        while self.current.is_empty() {
            self.current = self.pieces.blocking_recv().ok_or(Stop::Cut)?;
            self.partial.write_all(&self.current).map_err(|e| self.local(e))?;
            self.disk.wrote(self.current.len() as u64).map_err(Stop::Local)?;
        }
        let len = into.len().min(self.current.len());
        into[..len].copy_from_slice(&self.current.split_to(len));
        Ok(len)
    }
}

impl Download {
    fn local(&self, error: io::Error) -> Stop {
        Stop::Local(self.disk.sort(&self.path, error))
    }
}

/// A blob inside a local file.
pub(super) struct LocalFile<R> {
    pub(super) reader: R,
    pub(super) path: PathBuf,
}

impl<R: Read> Pieces for LocalFile<R> {
    fn next(&mut self, into: &mut [u8]) -> Result<usize, Stop> {
        self.reader.read(into).map_err(|error| Stop::Local(PullError::io(&self.path)(error)))
    }
}
