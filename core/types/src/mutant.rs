//! Mistakes made on purpose inside the brains, so that the simulator can show that it finds them.
//!
//! Without the feature `mutations`, which only the simulator asks for, [`is`] is `false` at compile time and nothing of this
//! is in a binary.

/// A mistake in a brain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// Effects leave before what they depend on is on disk.
    SkipsPersistWait,
    /// A writer does not ask of which epoch its reader's cursor is.
    ForgetsEpoch,
    /// A node that is not heard from counts as lost.
    OfflineIsLost,
    /// An agent that restarts takes nothing for its own of what runs.
    AdoptsNothing,
    /// An agent asks for no timers.
    AgentNeverWakes,
    /// An agent does not listen when a container ends.
    IgnoresExits,
    /// An agent answers for rows that it did not write.
    WritesNoIntent,
    /// An agent keeps what its region told it to forget.
    KeepsDroppedRows,
    /// A region takes what it was granted of a tenant's limit for no limit.
    GrantsAreUnbounded,
    /// A region keeps a share that was taken back.
    KeepsTakenShares,
    /// A region does not say what it handed back.
    HidesHandBacks,
    /// A master asks a region again that has just handed an instance back.
    AsksAgainAndAgain,
    /// A master asks for no timers.
    MasterNeverWakes,
    /// A master that starts does not count what its nodes hold.
    RestartForgetsRoom,
    /// An update stops a copy before the next one is ready.
    BreaksBeforeMaking,
    /// A job does not remember which of its instances ended well.
    ForgetsCompletions,
    /// A schedule does not remember for which due times it ran.
    ForgetsRuns,
    /// Host ports are given as often as they are asked for.
    SharesPorts,
    /// An agent takes it that nothing is there of what a listing does not name.
    TrustsListings,
    /// An agent does not ask whether what leaves has left.
    TakesRoomBlindly,
    /// A second machine with a key takes the place of the first.
    SecondTakesLink,
    /// A master whose store was put back to an older copy goes on in the same life.
    TrustsStore,
    /// An update lets the next wave go with the one before it.
    ReleasesWavesEarly,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::SkipsPersistWait,
        Self::ForgetsEpoch,
        Self::OfflineIsLost,
        Self::AdoptsNothing,
        Self::AgentNeverWakes,
        Self::IgnoresExits,
        Self::WritesNoIntent,
        Self::KeepsDroppedRows,
        Self::GrantsAreUnbounded,
        Self::KeepsTakenShares,
        Self::HidesHandBacks,
        Self::AsksAgainAndAgain,
        Self::MasterNeverWakes,
        Self::RestartForgetsRoom,
        Self::BreaksBeforeMaking,
        Self::ForgetsCompletions,
        Self::ForgetsRuns,
        Self::SharesPorts,
        Self::TrustsListings,
        Self::TakesRoomBlindly,
        Self::SecondTakesLink,
        Self::TrustsStore,
        Self::ReleasesWavesEarly,
    ];
}

/// Whether this thread's brains make a mistake.
#[cfg(not(feature = "mutations"))]
pub const fn is(_mutant: Mutant) -> bool {
    false
}

#[cfg(feature = "mutations")]
mod chosen {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static CHOSEN: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Whether this thread's brains make a mistake.
    pub fn is(mutant: Mutant) -> bool {
        CHOSEN.get() == Some(mutant)
    }

    /// Which mistake this thread's brains make from here on.
    pub fn choose(mutant: Option<Mutant>) {
        CHOSEN.set(mutant);
    }
}

#[cfg(feature = "mutations")]
pub use chosen::{choose, is};
