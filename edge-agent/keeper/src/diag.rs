//! The keeper's own log: lines on standard error, filtered by level.
//!
//! A full tracing stack would cost more memory than all the rest of the keeper's state.

use crate::clock;
use std::fmt::Arguments;
use std::io::Write;
use std::sync::atomic::{AtomicU8, Ordering};

/// Severity, the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Level {
    /// A person has to act.
    Error = 0,
    /// Something went wrong and was dealt with.
    Warn = 1,
    /// Starts, adoptions, upgrades.
    Info = 2,
    /// Each request and exit.
    Debug = 3,
}

static THRESHOLD: AtomicU8 = AtomicU8::new(Level::Info as u8);

impl Level {
    /// The level with this name, as on the command line.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "error" => Self::Error,
            "warn" => Self::Warn,
            "info" => Self::Info,
            "debug" => Self::Debug,
            _ => return None,
        })
    }

    const fn label(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Warn => "WARN",
            Self::Info => "INFO",
            Self::Debug => "DEBUG",
        }
    }
}

/// Lines graver than or equal to `level` are written from here on.
pub(crate) fn set_level(level: Level) {
    THRESHOLD.store(level as u8, Ordering::Relaxed);
}

/// Writes one line. See the [`crate::diag!`] macro.
pub(crate) fn write(level: Level, message: Arguments<'_>) {
    if level as u8 > THRESHOLD.load(Ordering::Relaxed) {
        return;
    }
    let mut line = Vec::with_capacity(128);
    clock::write_rfc3339(&mut line, clock::unix_nanos());
    // A vector takes every write.
    drop(writeln!(line, " {} {message}", level.label()));
    // Whoever read standard error may be gone, and there is nobody else to tell.
    drop(std::io::stderr().write_all(&line));
}

/// `diag!(Warn, "text {}", value)` writes one line of the keeper's own log.
#[macro_export]
macro_rules! diag {
    ($level:ident, $($message:tt)+) => {
        $crate::diag::write($crate::diag::Level::$level, format_args!($($message)+))
    };
}
