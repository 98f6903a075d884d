//! Sketches and level 1, from the outside.

mod level1;
mod model;
mod sketches;
