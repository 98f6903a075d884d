//! Log lines as a node keeps them, `TIME STREAM F|P TEXT`, into lines as people read them. Pure: bytes in, bytes out.

use std::collections::BTreeMap;

/// Longest line that is put together; a longer one is broken here, so that a program that never ends its line is still
/// seen, at bounded memory.
const LINE_MAX: usize = 1024 * 1024;

/// How lines are shown.
#[derive(Debug, Clone, Default)]
pub(crate) struct LineStyle {
    /// Stands before each line, where several containers are shown together.
    pub(crate) prefix: String,
    /// Whether the time stands before the text.
    pub(crate) timestamps: bool,
}

/// Puts the lines of one container together.
#[derive(Debug)]
pub(crate) struct Lines {
    style: LineStyle,
    /// What has come of an entry whose end has not.
    carry: Vec<u8>,
    /// What has come of a line whose end has not, by stream.
    parts: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What to print.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Printed {
    /// The container's text.
    pub(crate) data: Vec<u8>,
    /// What the node has to say of the log, such as how many lines a full disk cost.
    pub(crate) notes: Vec<String>,
}

struct Entry<'l> {
    time: &'l [u8],
    stream: &'l [u8],
    partial: bool,
    text: &'l [u8],
}

impl Lines {
    pub(crate) fn new(style: LineStyle) -> Self {
        Self { style, carry: Vec::new(), parts: BTreeMap::new() }
    }

    /// Takes what came.
    pub(crate) fn take(&mut self, data: &[u8]) -> Printed {
        self.carry.extend_from_slice(data);
        let whole = self.carry.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let rest = self.carry.split_off(whole);
        let entries = std::mem::replace(&mut self.carry, rest);
        let mut printed = Printed::default();
        for entry in entries.split_inclusive(|byte| *byte == b'\n') {
            self.entry(entry.strip_suffix(b"\n").unwrap_or(entry), &mut printed);
        }
        printed
    }

    /// What is left when nothing more comes.
    pub(crate) fn finish(&mut self) -> Printed {
        let mut printed = Printed::default();
        let carry = std::mem::take(&mut self.carry);
        if !carry.is_empty() {
            self.entry(&carry, &mut printed);
        }
        for (_, mut line) in std::mem::take(&mut self.parts) {
            printed.data.append(&mut line);
            printed.data.push(b'\n');
        }
        printed
    }

    fn entry(&mut self, entry: &[u8], printed: &mut Printed) {
        // A line torn by a full disk or a power cut is shown as it is.
        let Some(entry) = read(entry) else {
            printed.data.extend_from_slice(self.style.prefix.as_bytes());
            printed.data.extend_from_slice(entry);
            printed.data.push(b'\n');
            return;
        };
        if entry.stream == b"keeper" {
            printed.notes.push(String::from_utf8_lossy(entry.text).into_owned());
            return;
        }
        let line = self.parts.entry(entry.stream.to_vec()).or_default();
        if line.is_empty() {
            line.extend_from_slice(self.style.prefix.as_bytes());
            if self.style.timestamps {
                line.extend_from_slice(entry.time);
                line.push(b' ');
            }
        }
        line.extend_from_slice(entry.text);
        if !entry.partial || line.len() >= LINE_MAX {
            printed.data.append(line);
            printed.data.push(b'\n');
            self.parts.remove(entry.stream);
        }
    }
}

fn read(line: &[u8]) -> Option<Entry<'_>> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time = parts.next()?;
    let stream = parts.next().filter(|stream| matches!(*stream, b"stdout" | b"stderr" | b"keeper"))?;
    let partial = match parts.next()? {
        b"F" => false,
        b"P" => true,
        _ => return None,
    };
    Some(Entry { time, stream, partial, text: parts.next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: &str = "2026-01-02T03:04:05.123456789Z";

    fn style(prefix: &str, timestamps: bool) -> LineStyle {
        LineStyle { prefix: prefix.to_owned(), timestamps }
    }

    fn shown(style: LineStyle, chunks: &[&str]) -> String {
        let mut lines = Lines::new(style);
        let mut data = Vec::new();
        for chunk in chunks {
            data.extend(lines.take(chunk.as_bytes()).data);
        }
        data.extend(lines.finish().data);
        String::from_utf8(data).unwrap()
    }

    #[test]
    fn the_text_is_shown_alone_or_with_its_time_and_source() {
        let entry = format!("{T} stdout F hello  world\n");
        assert_eq!(shown(style("", false), &[&entry]), "hello  world\n");
        assert_eq!(shown(style("", true), &[&entry]), format!("{T} hello  world\n"));
        assert_eq!(shown(style("[web-0-1] ", false), &[&entry]), "[web-0-1] hello  world\n");
        assert_eq!(shown(style("", false), &[&format!("{T} stdout F \n")]), "\n");
    }

    #[test]
    fn parts_of_a_line_are_joined_within_their_stream() {
        let log = format!("{T} stdout P one \n{T} stderr F other\n{T} stdout F two\n");
        assert_eq!(shown(style("> ", false), &[&log]), "> other\n> one two\n");
        let unended = format!("{T} stdout P no end");
        assert_eq!(shown(style("", false), &[&unended]), "no end\n");
    }

    #[test]
    fn entries_may_arrive_in_pieces() {
        let log = format!("{T} stdout F one\n{T} stdout F two\n");
        for cut in 0..log.len() {
            let (left, right) = log.split_at(cut);
            assert_eq!(shown(style("", false), &[left, right]), "one\ntwo\n", "cut at {cut}");
        }
    }

    #[test]
    fn torn_entries_are_shown_and_the_nodes_notes_stand_apart() {
        assert_eq!(shown(style("", false), &["torn\n"]), "torn\n");
        let mut lines = Lines::new(style("", false));
        let printed = lines.take(format!("{T} keeper F 3 lines lost\n").as_bytes());
        assert_eq!(printed, Printed { data: Vec::new(), notes: vec!["3 lines lost".to_owned()] });
    }

    #[test]
    fn a_line_without_end_is_broken() {
        let mut lines = Lines::new(style("", false));
        let part = format!("{T} stdout P {}\n", "x".repeat(16 * 1024));
        let printed: usize = (0..80).map(|_| lines.take(part.as_bytes()).data.len()).sum();
        assert!(printed > LINE_MAX, "{printed}");
    }
}
