//! `skerry-agent`: the process that keeps a node's side of the link and runs the node's brain.
//!
//! One task owns the brain ([`skerry_agent_state::AgentState`]) and everything else moves data to and from it: the link to the
//! master, the ledger's writer, the runtime's events, operations. Containers belong to the keeper and outlive this process.
//!
//! Deliberately lacks decisions: what should run, when it is tried again and what is told are the brain's affair; how an image is
//! pulled or a container is made is the runtime's.
//!
//! Start with [`Settings`], then [`run()`], [`join_once`] and [`import_images`].

mod brain;
mod clock;
mod control;
mod facts;
mod failure;
mod gauges;
mod join;
mod layers;
mod link;
mod loads;
mod logs;
mod look;
mod operations;
mod renewal;
mod run;
mod settings;
mod starts;

pub use control::import_images;
pub use join::join_once;
pub use run::run;
pub use settings::{Flags, Settings, SettingsError};
