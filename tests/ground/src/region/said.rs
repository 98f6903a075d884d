use std::process::Output;

use anyhow::{Result, ensure};

/// What a command said.
#[derive(Debug, Clone)]
pub struct Said {
    /// The command line, for messages.
    pub line: String,
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Said {
    /// What a command that has ended said.
    pub fn of(line: impl Into<String>, output: &Output) -> Self {
        Self {
            line: line.into(),
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Itself if the exit code is 0, else an error with all it said.
    pub fn ok(self) -> Result<Self> {
        self.exits(0)
    }

    /// Itself if it ended with this code, else an error with all it said.
    pub fn exits(self, code: i32) -> Result<Self> {
        let Self { line, code: ended, out, err } = &self;
        ensure!(*ended == code, "`{line}` ended with code {ended}, not {code}:\n{out}{err}");
        Ok(self)
    }

    /// Itself if each of these is in what it said on either stream, else an error with all it said.
    pub fn says(self, parts: &[&str]) -> Result<Self> {
        for part in parts {
            let found = self.out.contains(part) || self.err.contains(part);
            ensure!(found, "{part:?} is not in what `{}` said:\n{}{}", self.line, self.out, self.err);
        }
        Ok(self)
    }
}
