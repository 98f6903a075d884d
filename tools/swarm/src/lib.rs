//! A swarm: thousands of light agents in one process against a real master process.
//!
//! A light agent is the real brain (`skerry-agent-state`) on the real link (`skerry-link`: an identity of its own, the real join,
//! mutual TLS over QUIC, jittered waits). Only its ledger, which is memory, and its runtime, which says after a while that all
//! went well, are not an agent's. Master and swarm share one network namespace and the machine's processors.
//!
//! Deliberately lacks: containers, registries, losses on the way. Those are the end-to-end tests'.
//!
//! Start with [`Course`], which sets the stage and takes the measurements.

mod agent;
mod body;
mod course;
mod fleet;
mod operator;
mod process;
mod runtime;
mod stage;
mod tally;

pub use course::{Course, Plan};
