//! A container's output: from its two pipes, line by line, into bounded files.

mod file;
mod split;

use crate::clock;
use crate::layout::ContainerDir;
use file::LogFile;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use skerry_keeper_protocol::{LogPolicy, LogStream};
use split::Splitter;
use std::io;

/// Bytes taken from one pipe in one turn of the loop: what a pipe holds at most.
pub(crate) const TURN_BYTES: usize = 64 * 1024;

/// The output of one container.
#[derive(Debug)]
pub(crate) struct ContainerLog {
    stdout: Pipe,
    stderr: Pipe,
    file: LogFile,
}

#[derive(Debug)]
struct Pipe {
    fd: OwnedFd,
    splitter: Splitter,
}

impl ContainerLog {
    /// Makes the pipes if they are not there, and opens them and the current file.
    ///
    /// Both ends are opened for reading and writing: whoever dies, the other keeps the pipe and what is in it, and a
    /// writer gets no EPIPE and no end of file is ever seen.
    pub(crate) fn open(dir: &ContainerDir, policy: &LogPolicy) -> io::Result<Self> {
        let pipe = |stream| -> io::Result<Pipe> {
            let path = dir.fifo(stream);
            match rustix::fs::mknodat(
                rustix::fs::CWD,
                &path,
                rustix::fs::FileType::Fifo,
                Mode::from_raw_mode(0o600),
                0,
            ) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let fd = rustix::fs::open(&path, flags, Mode::empty())?;
            // A workload that is not root opens /dev/stdout anew. Nobody else gets at it: the directory is root's alone.
            rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o622))?;
            Ok(Pipe { fd, splitter: Splitter::default() })
        };
        Ok(Self {
            stdout: pipe(LogStream::Stdout)?,
            stderr: pipe(LogStream::Stderr)?,
            file: LogFile::open(policy)?,
        })
    }

    /// The keeper's end of a stream's pipe.
    pub(crate) fn fd(&self, stream: LogStream) -> BorrowedFd<'_> {
        match stream {
            LogStream::Stdout | LogStream::Keeper => self.stdout.fd.as_fd(),
            LogStream::Stderr => self.stderr.fd.as_fd(),
        }
    }

    /// Moves at most one turn's bytes from a stream's pipe to the file; `false` when the pipe is empty.
    pub(crate) fn pump(&mut self, stream: LogStream, scratch: &mut Scratch) -> bool {
        let pipe = match stream {
            LogStream::Stdout | LogStream::Keeper => &mut self.stdout,
            LogStream::Stderr => &mut self.stderr,
        };
        let bytes = match rustix::io::read(&pipe.fd, &mut scratch.input[..]) {
            Ok(0) | Err(_) => return false,
            Ok(bytes) => bytes,
        };
        scratch.output.clear();
        pipe.splitter.feed(&scratch.input[..bytes], stream, clock::unix_nanos(), &mut scratch.output);
        self.file.append(&scratch.output);
        true
    }

    /// Takes everything out of the pipes after the last writer is gone, and writes lines that were not ended.
    pub(crate) fn finish(&mut self, scratch: &mut Scratch) {
        // A process that escaped the kill could write for ever; a pipe holds at most one turn.
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            for _ in 0..2 {
                if !self.pump(stream, scratch) {
                    break;
                }
            }
        }
        self.flush(scratch, false);
        self.file.mark_losses();
    }

    /// Writes what is held of unfinished lines, as parts of lines that go on, so that a successor loses nothing.
    pub(crate) fn hand_over(&mut self, scratch: &mut Scratch) {
        self.flush(scratch, true);
    }

    fn flush(&mut self, scratch: &mut Scratch, goes_on: bool) {
        let now = clock::unix_nanos();
        for (pipe, stream) in [(&mut self.stdout, LogStream::Stdout), (&mut self.stderr, LogStream::Stderr)] {
            scratch.output.clear();
            pipe.splitter.flush(stream, now, goes_on, &mut scratch.output);
            self.file.append(&scratch.output);
        }
    }
}

/// Buffers that all pipes share, so that idle containers hold none.
#[derive(Debug)]
pub(crate) struct Scratch {
    input: Box<[u8]>,
    output: Vec<u8>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { input: vec![0; TURN_BYTES].into_boxed_slice(), output: Vec::new() }
    }
}

impl Scratch {
    /// Gives back memory that an unusual turn took: single-byte lines grow 40-fold.
    pub(crate) fn trim(&mut self) {
        self.output.clear();
        self.output.shrink_to(2 * TURN_BYTES);
    }
}
