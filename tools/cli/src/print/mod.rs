//! Printing: tables, documents, blocks of text, and the line that shows progress.

pub(crate) mod document;
pub(crate) mod progress;
pub(crate) mod report;
pub(crate) mod sheet;
pub(crate) mod table;

use std::io::{self, IsTerminal as _, Write as _};

/// Writes data to standard output.
pub(crate) fn out(text: &str) -> io::Result<()> {
    out_bytes(text.as_bytes())
}

/// Writes bytes to standard output.
pub(crate) fn out_bytes(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Tells a person something, on standard error. When nobody listens any more, there is nobody to tell.
pub(crate) fn say(message: &str) {
    writeln!(io::stderr().lock(), "{message}").ok();
}

/// Whether states are shown in color: on a terminal, unless `NO_COLOR` is set.
pub(crate) fn has_color() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && io::stdout().is_terminal()
}

/// `1 node`, `3 nodes`.
pub(crate) fn counted(count: impl std::fmt::Display, what: &str) -> String {
    let count = count.to_string();
    if count == "1" { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Text of others, which may have several lines, without what a terminal would act on.
pub(crate) fn plain_lines(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<String>>().join("\n")
}

/// Text of others with everything taken out that a terminal would act on; line ends become spaces.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .filter_map(|c| match c {
            '\n' | '\t' => Some(' '),
            c if c.is_control() => None,
            c => Some(c),
        })
        .collect()
}
