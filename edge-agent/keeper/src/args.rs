//! The command line.

use crate::diag::Level;
use std::ffi::OsString;
use std::path::PathBuf;

/// What `--help` prints.
pub(crate) const USAGE: &str = "\
Usage: skerry-keeper --run-dir DIR --state-dir DIR [--log-level LEVEL]

Owns the containers of one node and outlives the agent.

  --run-dir DIR      socket, log pipes and create files; lost at a reboot is fine
  --state-dir DIR    one record for each container
  --log-level LEVEL  error, warn, info (default) or debug
  --version          print the version
";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Keep containers.
    Keep(Settings),
    /// Make one container; started by the keeper itself, with a directory for sockets.
    Worker(PathBuf),
    /// Run a command in a container; started by the agent.
    Exec,
    /// Print the version.
    Version,
    /// Print [`USAGE`].
    Help,
}

/// Where the keeper works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Socket, log pipes and create files.
    pub(crate) run_dir: PathBuf,
    /// Records.
    pub(crate) state_dir: PathBuf,
    /// Of the keeper's own log.
    pub(crate) level: Level,
    /// Standard input is the listening socket of the keeper that this process was before its upgrade.
    pub(crate) resumed: bool,
    /// Descriptors that the keeper before the upgrade left open, so that no output was lost in between.
    pub(crate) held: Vec<i32>,
}

/// Why a command line is not understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ArgsError {
    /// Nobody knows this word.
    #[error("unknown argument {0:?}; see skerry-keeper --help")]
    Unknown(OsString),
    /// The word needs another after it.
    #[error("{0} needs a value")]
    MissingValue(&'static str),
    /// A word that must be there is not.
    #[error("{0} is required; see skerry-keeper --help")]
    Required(&'static str),
    /// A directory is not given from the root.
    #[error("{0} must be an absolute path")]
    Relative(&'static str),
    /// Not one of the levels.
    #[error("--log-level is error, warn, info or debug")]
    Level,
}

/// Reads the words after the program's name.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Command, ArgsError> {
    let mut words = words.into_iter();
    let (mut run_dir, mut state_dir, mut level) = (None, None, Level::Info);
    let (mut resumed, mut held) = (false, Vec::new());
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--version" | "-V") => return Ok(Command::Version),
            Some("--help" | "-h") => return Ok(Command::Help),
            Some("worker") => return directory(words.next(), "worker").map(Command::Worker),
            Some("exec") => return Ok(Command::Exec),
            Some("--resume") => resumed = true,
            Some("--held") => held = numbers(words.next()),
            Some("--run-dir") => run_dir = Some(directory(words.next(), "--run-dir")?),
            Some("--state-dir") => state_dir = Some(directory(words.next(), "--state-dir")?),
            Some("--log-level") => {
                let name = words.next().ok_or(ArgsError::MissingValue("--log-level"))?;
                level = name.to_str().and_then(Level::from_name).ok_or(ArgsError::Level)?;
            }
            _ => return Err(ArgsError::Unknown(word)),
        }
    }
    Ok(Command::Keep(Settings {
        run_dir: run_dir.ok_or(ArgsError::Required("--run-dir"))?,
        state_dir: state_dir.ok_or(ArgsError::Required("--state-dir"))?,
        level,
        resumed,
        held,
    }))
}

/// The words that start this keeper again in place, after the program's name, with descriptors `held` open.
pub(crate) fn resume_words(settings: &Settings, held: &[i32]) -> Vec<OsString> {
    let held: Vec<String> = held.iter().map(i32::to_string).collect();
    let level = match settings.level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
    };
    vec![
        "--run-dir".into(),
        settings.run_dir.clone().into(),
        "--state-dir".into(),
        settings.state_dir.clone().into(),
        "--log-level".into(),
        level.into(),
        "--resume".into(),
        "--held".into(),
        held.join(",").into(),
    ]
}

/// Written by a keeper, so what is no number is nobody's.
fn numbers(value: Option<OsString>) -> Vec<i32> {
    let text = value.and_then(|value| value.into_string().ok()).unwrap_or_default();
    text.split(',').filter_map(|number| number.parse().ok()).collect()
}

fn directory(value: Option<OsString>, name: &'static str) -> Result<PathBuf, ArgsError> {
    let path = PathBuf::from(value.ok_or(ArgsError::MissingValue(name))?);
    if path.is_absolute() { Ok(path) } else { Err(ArgsError::Relative(name)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn command_lines() {
        let check = |line: &str, expect: Result<Command, ArgsError>| {
            assert_eq!(parse(words(line)), expect, "{line}");
        };
        let keep = |level, resumed| {
            Command::Keep(Settings {
                run_dir: "/r".into(),
                state_dir: "/s".into(),
                level,
                resumed,
                held: Vec::new(),
            })
        };
        check("--run-dir /r --state-dir /s", Ok(keep(Level::Info, false)));
        check("--state-dir /s --run-dir /r --log-level debug", Ok(keep(Level::Debug, false)));
        check("--version", Ok(Command::Version));
        check("worker /r", Ok(Command::Worker("/r".into())));
        check("worker r", Err(ArgsError::Relative("worker")));
        check("exec", Ok(Command::Exec));
        check("", Err(ArgsError::Required("--run-dir")));
        check("--run-dir /r", Err(ArgsError::Required("--state-dir")));
        check("--run-dir r --state-dir /s", Err(ArgsError::Relative("--run-dir")));
        check("--run-dir", Err(ArgsError::MissingValue("--run-dir")));
        check("--run-dir /r --state-dir /s --log-level loud", Err(ArgsError::Level));
        check("--bogus", Err(ArgsError::Unknown("--bogus".into())));
    }

    #[test]
    fn an_upgraded_keeper_reads_its_own_words() {
        let settings = Settings {
            run_dir: "/r".into(),
            state_dir: "/s".into(),
            level: Level::Warn,
            resumed: true,
            held: vec![7, 9],
        };
        assert_eq!(parse(resume_words(&settings, &[7, 9])), Ok(Command::Keep(settings)));
    }
}
