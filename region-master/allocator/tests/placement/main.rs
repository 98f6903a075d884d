//! What `place` promises: rules that always hold, and choices that people can foresee.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod choices;
mod explain;
mod layouts;
mod model;
mod preempt;
mod properties;
mod rebalance;
mod stranding;
