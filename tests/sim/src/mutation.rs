//! Mistakes made on purpose, to see that the simulator finds them.

use std::fmt;
use std::str::FromStr;

use skerry_types::Mutant;

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// Inside a brain.
    Brain(Mutant),
    /// In what carries the brains.
    World(Carrier),
}

/// A mistake in what carries the brains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// An agent begins with an empty ledger.
    AgentForgetsLedger,
    /// A link loses a message and goes on.
    LinkLosesFrames,
    /// A node that is cut off is taken out of the region.
    OfflineIsGone,
    /// The keeper forgets containers when it restarts.
    KeeperForgets,
    /// A region that is cut off is taken out of the tree, and what it has goes elsewhere.
    RegionAwayIsGone,
    /// Clocks of nodes go wrong by a half.
    ClocksRunWild,
    /// A link answers by itself when a node asks for its leases.
    LinksGrantLeases,
    /// A master takes itself to have started long ago, and so waits for no lease of before.
    MasterWaitsForNobody,
    /// A keeper that tells of an end tells of it again and again, at once.
    KeeperRepeatsItself,
    /// An agent never comes back from one of its timers.
    TimerNeverReturns,
}

impl Carrier {
    /// Those that something which is judged finds.
    const JUDGED: [Self; 9] = [
        Self::AgentForgetsLedger,
        Self::LinkLosesFrames,
        Self::OfflineIsGone,
        Self::KeeperForgets,
        Self::RegionAwayIsGone,
        Self::ClocksRunWild,
        Self::LinksGrantLeases,
        Self::MasterWaitsForNobody,
        Self::KeeperRepeatsItself,
    ];
    /// Those that take the whole process with them.
    const FATAL: [Self; 1] = [Self::TimerNeverReturns];
}

impl Mutation {
    /// All that a run comes back from.
    pub fn all() -> impl Iterator<Item = Self> {
        let brains = Mutant::ALL.into_iter().map(Self::Brain);
        brains.chain(Carrier::JUDGED.into_iter().map(Self::World))
    }

    /// All that can be asked for.
    fn known() -> impl Iterator<Item = Self> {
        Self::all().chain(Carrier::FATAL.into_iter().map(Self::World))
    }

    pub(crate) fn brain(self) -> Option<Mutant> {
        match self {
            Self::Brain(mutant) => Some(mutant),
            Self::World(_) => None,
        }
    }
}

impl fmt::Display for Mutation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Brain(mutant) => write!(f, "{mutant:?}"),
            Self::World(carrier) => write!(f, "{carrier:?}"),
        }
    }
}

/// No mutation has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no mutation '{0}'; there are: {list}", list = names())]
pub struct UnknownMutation(String);

fn names() -> String {
    Mutation::known().map(|mutation| mutation.to_string()).collect::<Vec<_>>().join(", ")
}

impl FromStr for Mutation {
    type Err = UnknownMutation;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::known().find(|mutation| mutation.to_string() == text);
        found.ok_or_else(|| UnknownMutation(text.to_owned()))
    }
}
