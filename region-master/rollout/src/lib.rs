//! The life of a workload after it is placed, as plans: what to start and what to stop next.
//!
//! Each plan is a pure function of what is so. It is asked again whenever something changes or a time that it named has come,
//! and asks for the whole difference each time: nothing is kept between two calls but what the caller says, so a restart, a
//! cut link or a newer generation needs no case of its own.
//!
//! - [`rolling::plan`]: instances of a service or daemon: missing ones, updates with canaries and waves, drained nodes, and
//!   the one of two copies that stays when a node returns.
//! - [`waves`]: which member of a fleet goes in which wave.
//! - [`job::plan`]: a job's completions.
//! - [`scale::Scaler`]: how many instances a load asks for.
//!
//! Deliberately lacks: IO, clocks, randomness, nodes (the allocator finds them) and the store.

pub mod job;
pub mod rolling;
pub mod scale;
pub mod waves;
