//! A small world in which the very brains of a region and its nodes run in virtual time, while everything around them fails.
//!
//! One heap of events, one seed, one run: [`run`] plays hours of operators, crashes, cuts and full disks, checks after every
//! event what must always hold, then stops the faults and checks that all agree, that nodes live on alone, that the master
//! is right 5 s after a cut heals, and that silence follows. A seed replays bit for bit.
//!
//! A world is one region, or a tree of up to four, with operators at each of them.
//!
//! What must always hold: what operators were told is so stays so; nothing is acknowledged before it is on disk; no node is
//! over-committed and no host port is given twice; an instance runs in one region, and in one more where it may be replaced; a
//! healthy container is ended only when the region wants it ended; an update that makes before it breaks never stops the last
//! copy that runs; no update takes from what runs well for a wave whose turn has not come; a rollout fails only by what it
//! updated; a tenant's limit holds over the tree; what a job has done stays done; no schedule runs twice for one due time; no
//! container is started twice; the link of a child that answers is not given to another machine; queues and tables are bounded,
//! also amid a storm, no timer spins, and where nothing happens for a quarter of an hour nobody has much to say.
//!
//! Beside faults there are mishaps: runtimes that say what is not so, copies of machines that run beside them with the same key,
//! nodes that boot from an older disk, and a region's only master that starts from an older copy of its store, mostly without
//! anybody telling it. What nothing can promise then is not judged: the order of fencing tokens, and one exclusive copy once a
//! copied machine took the first one's place, or until its lease is over once a store forgot that it was placed.
//!
//! Deliberately lacks: sockets, real stores, real containers; those are for the tests with real processes. Not in the world are
//! services whose count follows their use, older stores where a region has others above or below it, and priorities.

mod agenda;
mod agreement;
mod asks;
mod bounds;
mod check;
mod disk;
mod event;
mod exclusive;
mod faults;
mod finale;
mod judge;
mod knobs;
mod lies;
mod link;
mod master;
mod mishap;
mod mutation;
mod node;
mod operator;
mod peace;
mod restore;
mod rng;
mod runs;
mod runtime;
mod shrink;
mod spec;
mod tally;
mod watch;
mod waves;
mod world;

use std::fmt;
use std::time::Duration;

pub use knobs::{Knobs, UnknownKnob};
pub use mutation::{Carrier, Mutation, UnknownMutation};
pub use shrink::shrink;
pub use tally::Tally;

/// Brains make and drop small things all the time, and nobody measures memory here.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What to play.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// All chance comes from here.
    pub seed: u64,
    /// How long faults go on, in virtual time.
    pub storm: Duration,
    /// How many times as long as in a storm faults and operators wait, and up to 15 times what is due again and again: 1 is a storm,
    /// 40 ordinary weather.
    pub pace: u64,
    /// What does not happen.
    pub without: Knobs,
    /// At most so many nodes.
    pub nodes: Option<usize>,
    /// A mistake to find.
    pub mutation: Option<Mutation>,
    /// End after so many events, without the last stages.
    pub steps: Option<u64>,
    /// Print every event.
    pub trace: bool,
    /// Keep the last events in words: a run is four times as fast without.
    pub told: bool,
    /// How long one event may take by the clock on the wall. One that takes longer never ends: the process says so and fails.
    pub patience: Duration,
}

impl Options {
    /// The usual world of a seed.
    pub fn of_seed(seed: u64) -> Self {
        Self {
            seed,
            storm: Duration::from_mins(40),
            pace: 1,
            without: Knobs::default(),
            nodes: None,
            mutation: None,
            steps: None,
            trace: false,
            told: false,
            patience: Duration::from_secs(10),
        }
    }

    /// Five days of ordinary weather. Versions that never run are left to storms: they are tried again every few seconds for
    /// hours, and nothing else would be seen.
    pub fn weather(seed: u64) -> Self {
        let storm = Duration::from_hours(120);
        Self { storm, pace: 40, without: Knobs::SPOIL, ..Self::of_seed(seed) }
    }
}

/// The command that plays it.
impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usual = Self::of_seed(self.seed);
        write!(f, "cargo run -p skerry-sim -- --seed {} --trace", self.seed)?;
        if self.storm != usual.storm {
            write!(f, " --storm-ms {}", self.storm.as_millis())?;
        }
        if self.pace != usual.pace {
            write!(f, " --pace {}", self.pace)?;
        }
        if !self.without.is_empty() {
            write!(f, " --without {}", self.without)?;
        }
        if let Some(nodes) = self.nodes {
            write!(f, " --nodes {nodes}")?;
        }
        self.mutation.map_or(Ok(()), |mutation| write!(f, " --mutation {mutation}"))
    }
}

/// A run in which everything held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How long it was.
    pub virtual_time: Duration,
    /// How many nodes it had.
    pub nodes: usize,
    /// How many events.
    pub steps: u64,
    /// Over every event: the same for the same seed and code.
    pub digest: u64,
    /// How many calls of operators were acknowledged.
    pub applied: u64,
    /// How many containers were started.
    pub containers: u64,
}

/// Something that must hold did not.
#[derive(Debug, Clone)]
pub struct Violation {
    /// In what.
    pub options: Options,
    /// How many nodes there were.
    pub nodes: usize,
    /// When, in virtual time.
    pub at: Duration,
    /// After how many events.
    pub steps: u64,
    /// What.
    pub what: String,
    /// The last events.
    pub trace: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            let short: String = line.chars().take(220).collect();
            writeln!(f, "{short}")?;
        }
        let seed = self.options.seed;
        writeln!(f, "seed {seed}, after {:?} and {} events: {}", self.at, self.steps, self.what)?;
        write!(f, "replay: {}", self.options)
    }
}

impl std::error::Error for Violation {}

/// Plays a world to its end, or to the first thing that does not hold.
pub fn run(options: Options) -> Result<Outcome, Box<Violation>> {
    let play = |options: Options| watch::watched(&options, |pulse| world::World::new(options, pulse).run());
    // The same again, to tell how it came to that.
    play(options).or_else(|_| play(Options { told: true, ..options }))
}
