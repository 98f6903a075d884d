//! What many runs come to.

use std::fmt;
use std::time::Duration;

use crate::Outcome;

/// The sum of runs in which everything held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    seeds: u64,
    virtual_time: Duration,
    node_time: Duration,
    applied: u64,
    containers: u64,
    steps: u64,
}

impl Tally {
    /// Counts a run in.
    pub fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.virtual_time += outcome.virtual_time;
        self.node_time += outcome.virtual_time * u32::try_from(outcome.nodes).unwrap_or(u32::MAX);
        self.applied += outcome.applied;
        self.containers += outcome.containers;
        self.steps += outcome.steps;
    }

    /// Virtual time times nodes, in hours.
    pub fn node_hours(&self) -> f64 {
        hours(self.node_time)
    }
}

impl<'a> FromIterator<&'a Outcome> for Tally {
    fn from_iter<Runs: IntoIterator<Item = &'a Outcome>>(runs: Runs) -> Self {
        let mut tally = Self::default();
        runs.into_iter().for_each(|outcome| tally.add(outcome));
        tally
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seeds, applied, containers, steps, .. } = self;
        let virtual_hours = hours(self.virtual_time);
        let node_hours = self.node_hours();
        write!(
            f,
            "{seeds} seeds x {:.2} virtual hours = {virtual_hours:.0} h, {node_hours:.0} node-hours, \
             {steps} events, {applied} calls, {containers} starts",
            virtual_hours / f64::from(u32::try_from((*seeds).max(1)).unwrap_or(u32::MAX))
        )
    }
}

fn hours(time: Duration) -> f64 {
    time.as_secs_f64() / 3600.0
}
