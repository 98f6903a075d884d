//! The few nodes of which one is chosen by what it would strand.

use std::cmp::Ordering;

use crate::rank::Candidate;

/// Most nodes that are looked at closely. On the openb trace 32 pack as well as all nodes, and 16 nearly so.
const LONGEST: usize = 32;

/// The first candidates in their order, all of the best rank: to look closely at every node would cost more than it gains.
#[derive(Debug, Default)]
pub(crate) struct Shortlist {
    /// The best first.
    candidates: Vec<Candidate>,
}

impl Shortlist {
    /// Whether a candidate that is no better than `bound` may come onto the list.
    pub(crate) fn admits(&self, bound: &Candidate) -> bool {
        let (Some(first), Some(last)) = (self.candidates.first(), self.candidates.last()) else {
            return true;
        };
        match bound.rank.cmp(&first.rank) {
            Ordering::Greater => true,
            Ordering::Equal => self.candidates.len() < LONGEST || bound > last,
            Ordering::Less => false,
        }
    }

    /// Puts a candidate onto the list, if it is good enough.
    pub(crate) fn offer(&mut self, candidate: Candidate) {
        if !self.admits(&candidate) {
            return;
        }
        if self.candidates.first().is_some_and(|first| candidate.rank > first.rank) {
            self.candidates.clear();
        }
        let at = self.candidates.partition_point(|known| *known > candidate);
        self.candidates.truncate(LONGEST - 1);
        self.candidates.insert(at, candidate);
    }

    /// Those on the list, the best first.
    pub(crate) fn into_candidates(self) -> impl Iterator<Item = Candidate> {
        self.candidates.into_iter()
    }
}
