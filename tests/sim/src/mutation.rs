//! Mistakes made on purpose, to see that the simulator finds them.

use std::str::FromStr;

/// A mistake in what carries the brains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// The master's store says "on disk" before it is.
    MasterSkipsPersistWait,
    /// The node's ledger says "on disk" before it is.
    AgentSkipsPersistWait,
    /// An agent begins its tables anew under the epoch of its last life.
    AgentKeepsEpoch,
    /// An agent that restarts does not look at what runs.
    AgentAdoptsNothing,
    /// An agent begins with an empty ledger.
    AgentForgetsLedger,
    /// A link loses a message and goes on.
    LinkLosesFrames,
    /// A node that is cut off is taken out of the region.
    OfflineIsGone,
    /// An agent's timers never fire.
    TimersNeverFire,
    /// The keeper forgets containers when it restarts.
    KeeperForgets,
    /// An end of a container is told to nobody.
    ExitsAreLost,
    /// A region that is cut off is taken out of the tree, and what it has goes elsewhere.
    RegionAwayIsGone,
    /// A region does not hear that a share is taken back.
    WithdrawalsAreLost,
    /// A region takes what it was granted of a tenant's limit for no limit.
    GrantsAreUnbounded,
    /// A region does not say what it handed back.
    HandBacksAreLost,
    /// Timers of masters never fire.
    MastersNeverWake,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::MasterSkipsPersistWait,
        Self::AgentSkipsPersistWait,
        Self::AgentKeepsEpoch,
        Self::AgentAdoptsNothing,
        Self::AgentForgetsLedger,
        Self::LinkLosesFrames,
        Self::OfflineIsGone,
        Self::TimersNeverFire,
        Self::KeeperForgets,
        Self::ExitsAreLost,
        Self::RegionAwayIsGone,
        Self::WithdrawalsAreLost,
        Self::GrantsAreUnbounded,
        Self::HandBacksAreLost,
        Self::MastersNeverWake,
    ];
}

/// No mutation has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no mutation '{0}'; there are: {list}", list = names())]
pub struct UnknownMutation(String);

fn names() -> String {
    Mutation::ALL.map(|mutation| format!("{mutation:?}")).join(", ")
}

impl FromStr for Mutation {
    type Err = UnknownMutation;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|mutation| format!("{mutation:?}") == text);
        found.ok_or_else(|| UnknownMutation(text.to_owned()))
    }
}
