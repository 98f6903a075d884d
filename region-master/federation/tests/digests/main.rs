//! Sketches and level 1, from the outside.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod golden;
mod level1;
mod model;
mod rounds;
mod sketches;
