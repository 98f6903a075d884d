//! The log files that the keeper writes.
//!
//! Each line is `TIME STREAM TAG TEXT\n`: TIME is RFC 3339 in UTC with nanoseconds, always 30 bytes; STREAM is `stdout`,
//! `stderr`, or `keeper` for the keeper's own marks; TAG is `F` for the end of a line and `P` when the line goes on in
//! the stream's next entry.

use std::path::{Path, PathBuf};

/// A line is cut into `P` entries at this many bytes, so that a program that never ends a line costs bounded memory.
pub const PARTIAL_LINE_BYTES: usize = 16 * 1024;

/// Whose text an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogStream {
    /// The container's standard output.
    Stdout,
    /// The container's standard error.
    Stderr,
    /// The keeper's own marks, such as how many lines were lost to a full disk.
    Keeper,
}

impl LogStream {
    /// The name in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Keeper => "keeper",
        }
    }
}

/// One entry of a log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLine<'a> {
    /// RFC 3339, UTC, nanoseconds.
    pub time: &'a str,
    /// Whose text it is.
    pub stream: LogStream,
    /// Whether the line goes on in the stream's next entry.
    pub partial: bool,
    /// The bytes, without a line end; not always UTF-8.
    pub text: &'a [u8],
}

/// Reads one entry, given without its line end; `None` for anything else, such as a line torn by a full disk.
pub fn parse_log_line(line: &[u8]) -> Option<LogLine<'_>> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok().filter(|time| time.len() == 30)?;
    let stream = match parts.next()? {
        b"stdout" => LogStream::Stdout,
        b"stderr" => LogStream::Stderr,
        b"keeper" => LogStream::Keeper,
        _ => return None,
    };
    let partial = match parts.next()? {
        b"F" => false,
        b"P" => true,
        _ => return None,
    };
    Some(LogLine { time, stream, partial, text: parts.next()? })
}

/// The file that is written.
pub fn current_log(dir: &Path) -> PathBuf {
    dir.join("current.log")
}

/// A file that was rotated out: 1 is the youngest.
pub fn rotated_log(dir: &Path, age: u16) -> PathBuf {
    dir.join(format!("{age}.log"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries() {
        let time = "2026-01-02T03:04:05.123456789Z";
        let check = |line: &str, expect: Option<(LogStream, bool, &str)>| {
            let got = parse_log_line(line.as_bytes());
            let expect = expect.map(|(stream, partial, text)| LogLine {
                time,
                stream,
                partial,
                text: text.as_bytes(),
            });
            assert_eq!(got, expect, "{line:?}");
        };
        check(&format!("{time} stdout F hello world"), Some((LogStream::Stdout, false, "hello world")));
        check(&format!("{time} stderr P "), Some((LogStream::Stderr, true, "")));
        check(&format!("{time} keeper F 3 lines lost"), Some((LogStream::Keeper, false, "3 lines lost")));
        check(&format!("{time} stdout F"), None);
        check(&format!("{time} stdin F x"), None);
        check(&format!("{time} stdout X x"), None);
        check("torn", None);
        check("", None);
    }
}
