//! Why the command did not do what it was asked, and the exit code that says so.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::context::ContextError;
use crate::kind::Kind;
use crate::print::say;
use crate::transport::CallError;

/// Exit code when something failed.
const FAILED: u8 = 1;
/// Exit code when a comparison could not be made, as diff(1) has it.
const TROUBLE: u8 = 2;
/// Exit code when what was typed makes no sense; the command-line parser uses the same.
const USAGE: u8 = 2;
/// Exit code when a wait ran out of time.
const TIMED_OUT: u8 = 3;

/// Why the command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A flag or argument that does not fit the others.
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Context(#[from] ContextError),
    /// The master did not do it.
    #[error(transparent)]
    Call(#[from] Box<CallError>),
    /// The thing is not in the region.
    #[error("there is no {kind} '{name}'{place}")]
    Absent { kind: Kind, name: String, place: String },
    /// Nothing to read manifests from.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: there is no .yaml, .yml or .json file in this folder", path = path.display())]
    NoManifests { path: PathBuf },
    /// What is wrong was told line by line.
    #[error("{0}")]
    Told(String),
    /// What was compared is not the same, as was printed.
    #[error("there are differences")]
    Differs,
    /// What was to be compared could not be.
    #[error("{0}")]
    Trouble(Box<Failure>),
    /// What was waited for did not come.
    #[error("{what} after {waited}: {last}")]
    TimedOut { what: String, waited: String, last: String },
    /// Data could not be written out.
    #[error("cannot write the output: {0}")]
    Output(#[source] std::io::Error),
    /// The master's answer makes no sense.
    #[error("the master's answer cannot be used: {0}; it may be of another version (see 'skerry version')")]
    Answer(String),
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self::Call(Box::new(error))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Output(error)
    }
}

impl Failure {
    /// Tells it on standard error and gives the exit code. A reader that closed the pipe, as `head` does, has what it wanted.
    pub(crate) fn report(&self) -> ExitCode {
        if let Self::Output(error) = self
            && error.kind() == std::io::ErrorKind::BrokenPipe
        {
            return ExitCode::SUCCESS;
        }
        if !matches!(self, Self::Differs) {
            say(&format!("error: {self}"));
        }
        if let Some(next) = self.next() {
            say(&format!("  try: {next}"));
        }
        ExitCode::from(self.code())
    }

    fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Trouble(_) => TROUBLE,
            Self::TimedOut { .. } => TIMED_OUT,
            _ => FAILED,
        }
    }

    fn next(&self) -> Option<String> {
        match self {
            Self::Call(error) => error.next(),
            Self::Trouble(inner) => inner.next(),
            Self::Absent { kind, .. } if kind.has_tenant() => {
                Some(format!("skerry get {kind}s -A, to see those of all tenants and regions"))
            }
            Self::Absent { kind: kind @ (Kind::Node | Kind::Site | Kind::Region), .. } => {
                Some(format!("skerry get {kind}s -A, to see those of all regions below"))
            }
            Self::Absent { kind, .. } => Some(format!("skerry get {kind}s")),
            _ => None,
        }
    }
}
