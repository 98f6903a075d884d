//! Real processes, real containers and real faults. One file per topic, and most often one region per file: laying the ground
//! costs more than most checks.

#![expect(clippy::unwrap_used, reason = "a step of a test that fails is told by its panic")]

mod chaos;
mod clocks;
mod crashes;
mod cut;
mod failing;
mod happy;
mod images;
mod join;
mod refusals;
