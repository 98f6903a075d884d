//! Progress on standard error: one changing line on a terminal, a line for each change elsewhere.

use std::io::{IsTerminal as _, Write as _};

use super::{plain, say};

/// Longest live line: one that a narrow terminal breaks in two could not be taken back.
const LIVE_MAX: usize = 79;

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
            let shown: String = text.chars().take(LIVE_MAX).collect();
            write_live(&shown);
        } else {
            say(&text);
        }
        self.last = text;
    }
}

impl Drop for Progress {
    /// Takes the changing line away: what remains to be said is said on a line of its own.
    fn drop(&mut self) {
        if self.live && !self.last.is_empty() {
            write_live("");
        }
    }
}

/// Replaces the live line. When nobody listens any more, there is nobody to tell.
fn write_live(text: &str) {
    let mut stderr = std::io::stderr().lock();
    write!(stderr, "\r\x1b[K{text}").and_then(|()| stderr.flush()).ok();
}
