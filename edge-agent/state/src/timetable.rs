//! The due times of one allocation's schedule: which is next, and which were dealt with.
//!
//! A due time is dealt with once: it is run for, or left out. That is written to the ledger before the run begins, so neither a
//! restart nor a link repeats it. The wall clock says what is due; it may jump:
//! - forwards: of the due times that it jumped over, the newest one is run for, if it is not too late for it;
//! - backwards: due times that were dealt with are not dealt with again. A clock that went back by more than [`WRONG`] was wrong
//!   before, and its schedule must not rest until that time comes again; then only the last [`RAN_MAX`] runs are remembered.

use std::time::Duration;

use skerry_schedule::CompiledSchedule;
use skerry_types::mutant::{self, Mutant};
use skerry_types::{AllocationIntent, MonoTime, Now, Overlap, Schedule, WallTime};

use crate::ledger::Settled;

/// A clock that is found this far behind a due time that was dealt with had been wrong then.
const WRONG: Duration = Duration::from_hours(24);
/// Due times that are remembered one by one, so that a clock that was wrong does not repeat them.
const RAN_MAX: usize = 8;

/// The due times of a schedule.
#[derive(Debug)]
pub(crate) struct Timetable {
    times: CompiledSchedule,
    pub(crate) overlap: Overlap,
    starting_deadline: Option<Duration>,
    settled: Settled,
    /// The first due time that is not dealt with.
    next: Option<WallTime>,
}

/// What to do for a due time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Run(WallTime),
    /// It is too late for it.
    TooLate(WallTime),
}

impl Timetable {
    /// Reads a schedule. The message says why it cannot be kept.
    pub(crate) fn new(
        schedule: &Schedule,
        intent: &AllocationIntent,
        settled: Option<&Settled>,
        now: WallTime,
    ) -> Result<Self, String> {
        let times = CompiledSchedule::new(schedule, intent.timezone.as_deref());
        let times = times.map_err(|error| format!("its schedule cannot be kept: {error}"))?;
        let fresh = || Settled { since: now, until: now, ran: Vec::new() };
        let settled = settled.cloned().unwrap_or_else(fresh);
        let (overlap, starting_deadline) = (schedule.overlap, schedule.starting_deadline);
        let mut timetable = Self { times, overlap, starting_deadline, settled, next: None };
        timetable.find_next();
        Ok(timetable)
    }

    pub(crate) fn settled(&self) -> &Settled {
        &self.settled
    }

    /// The newest due time that was run for.
    pub(crate) fn last_run(&self) -> Option<WallTime> {
        self.settled.ran.last().copied()
    }

    /// When the next due time comes, by the clock that never jumps, if the other one does not jump either.
    pub(crate) fn timeout(&self, now: Now) -> Option<MonoTime> {
        self.next.map(|next| now.mono + next.since(now.wall))
    }

    /// The newest of the due times that have come and are not dealt with.
    pub(crate) fn due(&mut self, now: WallTime) -> Option<Due> {
        if self.settled.until.since(now) > WRONG {
            self.settle(now);
            self.settled.until = now;
            self.find_next();
        }
        self.next.filter(|next| *next <= now)?;
        let newest =
            self.times.last_due_in(self.settled.until, now).filter(|due| !self.settled.ran.contains(due));
        let Some(newest) = newest else {
            self.settle(now);
            return None;
        };
        let is_late = self.starting_deadline.is_some_and(|deadline| now.since(newest) > deadline);
        Some(if is_late { Due::TooLate(newest) } else { Due::Run(newest) })
    }

    /// Everything due up to here is dealt with.
    pub(crate) fn settle(&mut self, until: WallTime) {
        self.settled.until = self.settled.until.max(until);
        self.find_next();
    }

    /// A run for this due time begins.
    pub(crate) fn run(&mut self, due: WallTime) {
        if mutant::is(Mutant::ForgetsRuns) {
            // Only until the agent starts again.
            self.next = self.times.next_after(due);
            return;
        }
        self.settled.ran.push(due);
        if self.settled.ran.len() > RAN_MAX {
            self.settled.ran.remove(0);
        }
        self.settle(due);
    }

    fn find_next(&mut self) {
        let mut after = self.settled.until;
        // At most as often as there are runs to remember.
        self.next = loop {
            match self.times.next_after(after) {
                Some(next) if self.settled.ran.contains(&next) => after = next,
                next => break next,
            }
        };
    }
}
