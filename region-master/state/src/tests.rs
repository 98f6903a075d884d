//! The brain against a bench that answers as a shell, a store and nodes would, in virtual time.

mod below;
mod bench;
mod endings;
mod join;
mod kinds;
mod leases;
mod leaving;
mod life;
mod links;
mod lists;
mod node;
mod order;
mod orphans;
mod parallel;
mod placing;
mod pulls;
mod quotas;
mod rollouts;
mod seats;
mod store;
mod storm;
mod stuck;
mod tree;
mod trees;
mod windows;
mod workloads;
