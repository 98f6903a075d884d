//! The brain against a bench that answers as a shell would, in virtual time.

mod ahead;
mod bench;
mod cutoff;
mod disk;
mod events;
mod layers;
mod leases;
mod leaving;
mod link;
mod loads;
mod order;
mod orphans;
mod probes;
mod room;
mod running;
mod runs;
mod schedule;
mod stopping;
