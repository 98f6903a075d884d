//! What can be wrong with a field.

use std::fmt;

use skerry_schedule::CronError;
use skerry_types::{
    DurationError, IdError, LabelError, LeaseError, PointError, QuantityError, SelectorError,
};

use crate::document::DocumentKind;
use crate::image::ImageError;
use crate::limits;

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
    #[error("'{found}' is not read here: write {expected}")]
    Foreign {
        /// What stands there.
        found: String,
        /// What should, in quotes.
        expected: String,
    },
    /// A field that does not exist.
    #[error("unknown field; {hint}")]
    UnknownField {
        /// What may have been meant.
        hint: Hint,
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
    #[error("'{name}' is neither 'site', 'node' nor 'region.name', nor an attribute such as 'node.rack'")]
    SpreadBy {
        /// The text.
        name: String,
    },
    /// Two documents of one text are of the same thing.
    #[error(
        "the text has this {kind} already in line {first_line}: keep one, or give the other another name"
    )]
    SameObject {
        /// Of which kind.
        kind: DocumentKind,
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
    /// A field that is not for workloads of this type.
    #[error("not for a {kind}: {reason}")]
    WrongType {
        /// The type.
        kind: &'static str,
        /// Why not, and what to do.
        reason: &'static str,
    },
    /// None or several of fields that exclude each other.
    #[error("has {found}: write exactly one of {choices}")]
    ExactlyOne {
        /// Those that are there.
        found: String,
        /// Those that may be.
        choices: String,
    },
    /// A probe of a port that is not there.
    #[error("no port is called '{found}': {declared}")]
    UndeclaredPort {
        /// What stands there.
        found: String,
        /// The ports that are, as the end of the sentence.
        declared: String,
    },
    /// A probe of a port that cannot be probed.
    #[error("port '{port}' is udp, and only a tcp port can be looked at: declare one, or use 'exec'")]
    UdpPort {
        /// Its name.
        port: String,
    },
    /// Not a path of a URL.
    #[error("'{found}' is not a path: begin it with '/' and write what is not ASCII or a space as %XX")]
    ProbePath {
        /// The text.
        found: String,
    },
    /// Not a signal.
    #[error(
        "'{found}' is not a signal: write a name such as 'SIGTERM' or a number from 1 to 31 or 34 to 64{nearest}"
    )]
    Signal {
        /// The text.
        found: String,
        /// What may have been meant, as the end of the sentence.
        nearest: String,
    },
    /// Not the fields of a schedule.
    #[error(transparent)]
    Cron(#[from] CronError),
    /// A schedule that has no time.
    #[error("'{cron}' is never due: no such day exists; change the day or the month")]
    NeverDue {
        /// The fields.
        cron: String,
    },
    /// Not a time zone.
    #[error("'{name}' is not a time zone: write an IANA name such as 'Europe/Oslo'{nearest}")]
    TimeZone {
        /// The text.
        name: String,
        /// What may have been meant, as the end of the sentence.
        nearest: String,
    },
    /// Not a part of something.
    #[error("'{found}' is not a part in hundredths from 1% to {max}%: write it as in '70%'")]
    Percent {
        /// The text.
        found: String,
        /// The most.
        max: u32,
    },
    /// Not a time of day.
    #[error("'{found}' is not a time of day: write hours and minutes, as in '02:00'")]
    TimeOfDay {
        /// The text.
        found: String,
    },
    /// Not a decimal number.
    #[error("'{found}' is not a number from 0 with {places} decimals at most, or is too large")]
    Decimal {
        /// The text.
        found: String,
        /// Decimals that are kept.
        places: u32,
    },
    /// An update that could never begin.
    #[error(
        "max_unavailable and max_surge are both 0, so nothing could ever be replaced: let one of them be at least 1"
    )]
    NothingMoves,
    /// A lease of what may run twice.
    #[error("only what is exclusive has a lease: write 'exclusive: true' or leave it out")]
    LeaseOfNothing,
    /// A lease that would be over before its end could be prepared for.
    #[error(
        "{lease} is too short to stop in: with a stop_grace of {stop_grace} for each container write {least} or more, or lower \
         stop_grace"
    )]
    LeaseTooShort {
        /// The lease.
        lease: String,
        /// The grace.
        stop_grace: String,
        /// The shortest lease.
        least: String,
    },
    /// Two copies of what is exclusive.
    #[error(
        "an exclusive instance never has two copies at once: leave it out, the old copy stops before the new one starts"
    )]
    ExclusiveSurge,
    /// More canaries than there are instances.
    #[error("{canary} canaries are more than the {instances} instances: lower it or raise instances")]
    CanaryOverInstances {
        /// Canaries.
        canary: u32,
        /// Instances.
        instances: u32,
    },
    /// A least above a most.
    #[error("{min} is more than max {max}: lower it or raise max")]
    MinOverMax {
        /// The least.
        min: u32,
        /// The most.
        max: u32,
    },
    /// A number of instances that scaling would change at once.
    #[error("{instances} is outside of scale's {min} to {max}: leave it out to begin with {min}")]
    OutsideScale {
        /// What stands there.
        instances: u32,
        /// The least.
        min: u32,
        /// The most.
        max: u32,
    },
    /// A job that would be over before it could try again.
    #[error(
        "{deadline} is over before a failed instance is tried again after {backoff}: raise it, lower restart.backoff, or \
         write 'retries: 0'"
    )]
    DeadlineBeforeRetry {
        /// The job's deadline.
        deadline: String,
        /// The first wait.
        backoff: String,
    },
    /// A guarantee that the limit takes away.
    #[error(
        "the guarantee of {guarantee} is more than the limit of {limit}: lower it or raise spec.limit.{what}"
    )]
    GuaranteeOverLimit {
        /// Which resource.
        what: &'static str,
        /// The guarantee.
        guarantee: String,
        /// The limit.
        limit: String,
    },
    /// A tenant that is a part of itself.
    #[error("a tenant cannot be a part of itself: name another one, or leave it out")]
    OwnParent,
    /// Not a lease.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// Not a place on earth.
    #[error(transparent)]
    Point(#[from] PointError),
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
