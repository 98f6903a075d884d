//! Faults of what the daemons stand on: lines, disks, schedulers, and copies of what should be there once. What they do to
//! containers is looked at from outside, in `/proc`.

mod copies;
mod disks;
mod lines;
mod stopped;
