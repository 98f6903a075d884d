//! One node's brain: what should run here, what does, and what to do about the difference.
//!
//! [`AgentState`] is a synchronous state machine. A shell feeds it [`Input`]s and carries out its [`Action`]s; the simulator
//! does the same with virtual time. It holds one [`Lifecycle`] per allocation, follows the master's intent rows, and keeps
//! the rows that tell the master what is so. Intent lives in the ledger, so a node that boots without a link runs all of it.
//!
//! Deliberately lacks: IO, clocks, randomness (jitter is derived from names and counts), and any knowledge of how an image
//! is pulled or a container is made.

mod clock;
mod contact;
mod container;
mod effects;
mod ending;
mod input;
mod intake;
mod lease;
mod ledger;
mod lifecycle;
mod load;
mod probe;
mod report;
mod restart;
mod room;
mod state;
mod strangers;
mod timers;
mod timetable;

#[cfg(test)]
mod tests;

pub use input::{
    Action, ContainerRef, Failure, Fence, FoundContainer, FoundState, Input, Look, OpId, Operation, Outcome,
    StopSignal,
};
pub use ledger::{LedgerRow, LoadError, TABLES};
pub use lifecycle::Lifecycle;
pub use state::{AgentConfig, AgentState};
