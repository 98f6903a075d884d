//! What is wrong with a manifest, where, and what to do.

use std::fmt;

use skerry_types::{DurationError, IdError, LabelError, QuantityError, SelectorError};

use crate::image::ImageError;
use crate::limits;
use crate::node::Place;

/// One thing that is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestError {
    /// Line in the text, from 1.
    pub line: u64,
    /// Column in the line, in characters, from 1.
    pub column: u64,
    /// The workload, if its name is known.
    pub workload: Option<String>,
    /// The container, if the fault is in one and its name is known.
    pub container: Option<String>,
    /// The field, such as `spec.containers[0].image`; empty when the text as a whole is meant.
    pub path: String,
    /// What is wrong and what to do.
    pub problem: Problem,
}

impl ManifestError {
    /// An error of the text as a whole.
    pub(crate) fn of_text(at: Place, problem: Problem) -> Box<Self> {
        Box::new(Self {
            line: at.line,
            column: at.column,
            workload: None,
            container: None,
            path: String::new(),
            problem,
        })
    }
}

impl fmt::Display for ManifestError {
    /// `line 7, column 5: workload 'web', container 'nginx': spec.containers[0].image: ...`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: ", self.line, self.column)?;
        match (&self.workload, &self.container) {
            (Some(workload), Some(container)) => {
                write!(f, "workload '{workload}', container '{container}': ")?;
            }
            (Some(workload), None) => write!(f, "workload '{workload}': ")?,
            (None, Some(container)) => write!(f, "container '{container}': ")?,
            (None, None) => {}
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        self.problem.fmt(f)
    }
}

impl std::error::Error for ManifestError {}

/// What is wrong with one field, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The text is neither YAML nor JSON.
    #[error("not readable as YAML or JSON: {message}")]
    Syntax {
        /// What the reader says.
        message: String,
    },
    /// The text is longer than is read.
    #[error("the manifest has {bytes} bytes, at most {max} are read: split it into several files")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The longest.
        max: usize,
    },
    /// More values, aliases or levels than are read.
    #[error(
        "more than is read: at most {} values, copies that aliases make included, and {} levels",
        limits::NODES_MAX,
        limits::DEPTH_MAX
    )]
    TooMuch,
    /// Nothing but white space and comments.
    #[error("there is no document in it: a manifest begins with 'apiVersion: skerry/v1'")]
    NoDocument,
    /// A map with nothing that a manifest has.
    #[error("this is not a manifest: one begins with 'apiVersion: skerry/v1' and 'kind: Workload'")]
    NotAManifest,
    /// A document of another program or of a later version.
    #[error("'{found}' is not read here: write '{expected}'")]
    Foreign {
        /// What stands there.
        found: String,
        /// What should.
        expected: &'static str,
    },
    /// A field that does not exist.
    #[error("unknown field; {hint}")]
    UnknownField {
        /// What may have been meant.
        hint: Hint,
    },
    /// A field or value that a later release will have.
    #[error("{}not supported in this release; {instead}", ValueIs(value.as_deref()))]
    Unsupported {
        /// The value, where not the whole field is meant.
        value: Option<String>,
        /// What to do for the time being.
        instead: &'static str,
    },
    /// A field that must be there.
    #[error("missing ({purpose})")]
    Missing {
        /// What it is for, from its description.
        purpose: String,
    },
    /// A field that stands there twice.
    #[error("stands twice in the same map, first in line {first_line}: keep one")]
    Repeated {
        /// Line of the first.
        first_line: u64,
    },
    /// A value of the wrong kind.
    #[error("expected {expected}, found {found}{advice}")]
    WrongKind {
        /// What the field takes.
        expected: String,
        /// What stands there.
        found: String,
        /// What to do, if it is known.
        advice: &'static str,
    },
    /// A word that is not one of a few.
    #[error("'{found}' is not one of {choices}{nearest}")]
    NotAChoice {
        /// What stands there.
        found: String,
        /// What may, as a list.
        choices: String,
        /// What may have been meant, as the end of the sentence.
        nearest: String,
    },
    /// A number or amount outside its bounds.
    #[error("{found} is out of bounds: at least {min}, at most {max}")]
    OutOfBounds {
        /// What stands there.
        found: String,
        /// The least.
        min: String,
        /// The most.
        max: String,
    },
    /// Too many or too few elements.
    #[error("has {found} entries: at least {min}, at most {max}")]
    Count {
        /// How many there are.
        found: usize,
        /// The least.
        min: usize,
        /// The most.
        max: usize,
    },
    /// A text longer than is taken.
    #[error("has {bytes} bytes, at most {max} are taken")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The longest.
        max: usize,
    },
    /// An empty text where one is needed.
    #[error("is empty; {advice}")]
    Empty {
        /// What to do.
        advice: &'static str,
    },
    /// Two things that must differ are the same.
    #[error("{what} is taken already in line {first_line}: {advice}")]
    Taken {
        /// What is taken.
        what: String,
        /// Line of the first.
        first_line: u64,
        /// What to do.
        advice: &'static str,
    },
    /// A limit below what is reserved.
    #[error(
        "the limit {limit} is below the {reserved} that {reserved_path} reserves: raise the limit or reserve less"
    )]
    LimitBelowReserved {
        /// The limit.
        limit: String,
        /// The reservation.
        reserved: String,
        /// Where that stands.
        reserved_path: String,
    },
    /// A first wait longer than the longest.
    #[error("{backoff} is longer than max_backoff {max_backoff}: lower it or raise max_backoff")]
    BackoffOverMax {
        /// The first wait.
        backoff: String,
        /// The longest.
        max_backoff: String,
    },
    /// Not a name of an environment variable.
    #[error(
        "'{name}' cannot name an environment variable: letters, digits, '_', '-' and '.', not beginning with a digit"
    )]
    EnvName {
        /// The name.
        name: String,
    },
    /// A zero byte, which no program can be given.
    #[error("holds a zero byte, which no program can be given: take it out")]
    ZeroByte,
    /// Not a user as a container takes it.
    #[error("'{user}' is not a user: write 'uid', 'uid:gid', 'name' or 'name:group'")]
    User {
        /// The text.
        user: String,
    },
    /// Not a capability of the kernel.
    #[error("'{name}' is not a capability{nearest}")]
    Capability {
        /// The text.
        name: String,
        /// What may have been meant, as the end of the sentence.
        nearest: String,
    },
    /// Every capability asked for.
    #[error("'ALL' can only be taken away: add the capabilities that are needed, one by one")]
    EveryCapability,
    /// Not a port of a node.
    #[error("'{found}' is not a host port: write a number from 1 to 65535, 'auto' or 'none'")]
    HostPort {
        /// The text.
        found: String,
    },
    /// More ports in all containers together than an instance may have.
    #[error("the containers have {found} ports together, at most {max} are allowed")]
    TooManyPorts {
        /// How many there are.
        found: usize,
        /// The most.
        max: usize,
    },
    /// Not an attribute that nodes have.
    #[error("'{name}' is neither 'site' nor 'node' nor an attribute such as 'node.rack'")]
    SpreadBy {
        /// The text.
        name: String,
    },
    /// Two documents of one text are of the same workload.
    #[error(
        "the text has this workload already in line {first_line}: keep one, or give the other another name"
    )]
    SameWorkload {
        /// Line of the first.
        first_line: u64,
    },
    /// The types behind the schema do not take what the schema took.
    #[error("cannot be read ({message}); please report this manifest")]
    Unreadable {
        /// What the types say.
        message: String,
    },
    /// The workload is larger than its row may be.
    #[error("the workload takes {bytes} bytes, at most {max} can be stored: shorten env, args or command")]
    SpecTooLarge {
        /// Its size.
        bytes: usize,
        /// The largest.
        max: usize,
    },
    /// Not a name.
    #[error(transparent)]
    Name(#[from] IdError),
    /// Not a label or taint.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// Not an amount.
    #[error(transparent)]
    Quantity(#[from] QuantityError),
    /// Not a selector.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// Not a duration.
    #[error(transparent)]
    Duration(#[from] DurationError),
    /// Not an image reference.
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// What may have been meant by a field that does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// A field of the same map.
    Nearest(String),
    /// The same name elsewhere.
    BelongsTo(String),
    /// Nothing near: the fields that may stand there.
    Fields(Vec<String>),
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nearest(name) => write!(f, "did you mean '{name}'?"),
            Self::BelongsTo(path) => write!(f, "it belongs to {path}"),
            Self::Fields(names) => write!(f, "the fields here are {}", names.join(", ")),
        }
    }
}

/// The beginning of a sentence about a value, or nothing when the sentence is about the field.
struct ValueIs<'v>(Option<&'v str>);

impl fmt::Display for ValueIs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |value| write!(f, "'{value}' is "))
    }
}
