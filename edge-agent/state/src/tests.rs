//! The brain against a bench that answers as a shell would, in virtual time.

mod bench;
mod disk;
mod events;
mod link;
mod running;
mod stopping;
