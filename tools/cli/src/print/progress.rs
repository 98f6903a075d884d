//! Progress on standard error: one changing line on a terminal, a line for each change elsewhere.

use std::io::{IsTerminal as _, Write as _};

use super::plain;

/// What is going on, told when it changes.
#[derive(Debug)]
pub(crate) struct Progress {
    live: bool,
    last: String,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { live: std::io::stderr().is_terminal(), last: String::new() }
    }

    /// Shows where things stand.
    pub(crate) fn show(&mut self, text: &str) {
        let text = plain(text);
        if text == self.last {
            return;
        }
        if self.live {
            eprint!("\r\x1b[K{text}");
            // Without a flush the line comes late, no more.
            std::io::stderr().flush().ok();
        } else {
            eprintln!("{text}");
        }
        self.last = text;
    }
}

impl Drop for Progress {
    /// Takes the changing line away: what remains to be said is said on a line of its own.
    fn drop(&mut self) {
        if self.live && !self.last.is_empty() {
            eprint!("\r\x1b[K");
        }
    }
}
