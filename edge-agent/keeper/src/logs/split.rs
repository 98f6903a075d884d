//! Bytes of a stream into entries of a log file.

use crate::clock;
use skerry_keeper_protocol::{LogStream, PARTIAL_LINE_BYTES};

/// Holds the start of a line whose end has not come.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    held: Vec<u8>,
}

impl Splitter {
    /// Appends to `out` an entry for each line that ends in `bytes` and each part of one that is too long.
    pub(super) fn feed(&mut self, bytes: &[u8], stream: LogStream, now_nanos: u128, out: &mut Vec<u8>) {
        let mut prefix = Vec::with_capacity(40);
        clock::write_rfc3339(&mut prefix, now_nanos);
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = PARTIAL_LINE_BYTES - self.held.len();
            let window = &rest[..rest.len().min(room)];
            if let Some(end) = window.iter().position(|byte| *byte == b'\n') {
                entry(out, &prefix, stream, 'F', &self.held, &window[..end]);
                self.held.clear();
                rest = &rest[end + 1..];
            } else if window.len() == room && rest.get(room) != Some(&b'\n') {
                entry(out, &prefix, stream, 'P', &self.held, window);
                self.held.clear();
                rest = &rest[room..];
            } else if window.len() == room {
                // The line end is the very next byte: the line is exactly as long as an entry may be.
                entry(out, &prefix, stream, 'F', &self.held, window);
                self.held.clear();
                rest = &rest[room + 1..];
            } else {
                self.held.extend_from_slice(window);
                return;
            }
        }
        // An idle stream holds no memory.
        self.held = Vec::new();
    }

    /// Appends what is held: as the last part of its line, or as one that `goes_on`.
    pub(super) fn flush(&mut self, stream: LogStream, now_nanos: u128, goes_on: bool, out: &mut Vec<u8>) {
        if self.held.is_empty() {
            return;
        }
        let mut prefix = Vec::with_capacity(40);
        clock::write_rfc3339(&mut prefix, now_nanos);
        entry(out, &prefix, stream, if goes_on { 'P' } else { 'F' }, &self.held, &[]);
        self.held = Vec::new();
    }
}

fn entry(out: &mut Vec<u8>, time: &[u8], stream: LogStream, tag: char, head: &[u8], tail: &[u8]) {
    out.extend_from_slice(time);
    out.push(b' ');
    out.extend_from_slice(stream.as_str().as_bytes());
    out.extend_from_slice(if tag == 'F' { b" F " } else { b" P " });
    out.extend_from_slice(head);
    out.extend_from_slice(tail);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use skerry_keeper_protocol::parse_log_line;

    fn entries(out: &[u8]) -> Vec<(bool, Vec<u8>)> {
        out.split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| parse_log_line(line).unwrap())
            .map(|line| (line.partial, line.text.to_vec()))
            .collect()
    }

    #[test]
    fn lines_and_parts() {
        let check = |feeds: &[&[u8]], expect: &[(bool, usize)]| {
            let (mut splitter, mut out) = (Splitter::default(), Vec::new());
            for bytes in feeds {
                splitter.feed(bytes, LogStream::Stdout, 0, &mut out);
            }
            splitter.flush(LogStream::Stdout, 0, false, &mut out);
            let got: Vec<(bool, usize)> =
                entries(&out).iter().map(|(partial, text)| (*partial, text.len())).collect();
            assert_eq!(got, expect);
        };
        let long = vec![b'x'; PARTIAL_LINE_BYTES];
        check(&[b"a\nbc\n"], &[(false, 1), (false, 2)]);
        check(&[b"a", b"b\n"], &[(false, 2)]);
        check(&[b"\n\n"], &[(false, 0), (false, 0)]);
        check(&[b"no end"], &[(false, 6)]);
        check(&[&long, b"\n"], &[(true, PARTIAL_LINE_BYTES), (false, 0)]);
        check(&[&[&long[..], b"\n"].concat()], &[(false, PARTIAL_LINE_BYTES)]);
        check(&[&[&long[..], b"y\n"].concat()], &[(true, PARTIAL_LINE_BYTES), (false, 1)]);
        check(&[&long, &long, b"z"], &[(true, PARTIAL_LINE_BYTES), (true, PARTIAL_LINE_BYTES), (false, 1)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn nothing_is_lost_or_made_up(
            pieces in proptest::collection::vec(
                proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..9_000), 0..5),
        ) {
            let (mut splitter, mut out) = (Splitter::default(), Vec::new());
            for piece in &pieces {
                splitter.feed(piece, LogStream::Stderr, 1, &mut out);
            }
            splitter.flush(LogStream::Stderr, 1, true, &mut out);
            let mut text = Vec::new();
            for line in out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let line = parse_log_line(line).unwrap();
                text.extend_from_slice(line.text);
                if !line.partial {
                    text.push(b'\n');
                }
            }
            prop_assert_eq!(text, pieces.concat());
        }
    }
}
