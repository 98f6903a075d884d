//! When schedules are due and windows are open, by the clock on the wall of a time zone.
//!
//! The zones are the IANA database that is compiled in, so every process of one release agrees on them, and no file of the
//! machine is read. The five fields of a schedule are read here: what the known readers add (their own time zones, a bound of
//! four years, a second date library) is in the way of the rules below.
//!
//! When the clock on the wall jumps:
//!
//! - a time that is skipped is due at the moment of the jump; several such times make one run;
//! - a time that comes twice is due the first time only;
//! - a schedule whose hours begin with `*` goes on evenly instead: it is due whenever the clock shows its minutes, twice in an
//!   hour that comes twice and never in one that is skipped.
//!
//! Deliberately lacks: clocks and timers (both are the caller's), and what happens when a run is due (the brains').
//!
//! Start from [`CompiledSchedule::new`] and [`Zone::named`].

mod cron;
mod window;
mod zone;

use jiff::civil::DateTime;
use jiff::tz::Offset;
use jiff::{Timestamp, ToSpan, Unit};
use skerry_types::{Schedule, TimeZone, WallTime};

use crate::cron::Cron;

pub use crate::cron::CronError;
pub use crate::window::{window_is_open, window_opens_after};
pub use crate::zone::{UnknownZone, Zone};

/// Why a schedule cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Its fields cannot be read.
    #[error(transparent)]
    Cron(#[from] CronError),
    /// Its zone does not exist.
    #[error(transparent)]
    Zone(#[from] UnknownZone),
    /// No day is ever right.
    #[error("'{cron}' never comes: no day of these months matches; change the day or the month")]
    NeverDue {
        /// The fields as they were written.
        cron: String,
    },
}

/// A schedule that can tell when it is due. It holds some bytes of its own and shares its zone with all others of that zone.
#[derive(Debug, Clone)]
pub struct CompiledSchedule {
    cron: Cron,
    zone: Zone,
}

impl CompiledSchedule {
    /// Reads a schedule. `site_zone` is the IANA zone of the site that the instance is on, UTC when `None`.
    ///
    /// # Errors
    /// Fields that cannot be read or are never due, and a zone that is not known.
    pub fn new(schedule: &Schedule, site_zone: Option<&str>) -> Result<Self, ScheduleError> {
        let cron = Cron::parse(&schedule.cron)?;
        if !cron.is_ever_due() {
            return Err(ScheduleError::NeverDue { cron: schedule.cron.clone() });
        }
        let zone = match (&schedule.timezone, site_zone) {
            (TimeZone::Named(name), _) => Zone::named(name)?,
            (TimeZone::Site, Some(name)) => Zone::named(name)?,
            (TimeZone::Site, None) => Zone::UTC,
        };
        Ok(Self { cron, zone })
    }

    /// The first due time after `after`, if there is one before the end of the calendar in the year 9999.
    pub fn next_after(&self, after: WallTime) -> Option<WallTime> {
        let after = Timestamp::from_millisecond(i64::try_from(after.0).ok()?).ok()?;
        let mut offset = self.zone.0.to_offset(after);
        let mut start = self.not_again(after, next_minute(offset.to_datetime(after))?);
        let mut changes = self.zone.0.following(after);
        loop {
            let change = changes.by_ref().find(|change| change.offset() != offset);
            let due = self.cron.first_from(start)?;
            let at = offset.to_timestamp(due).ok()?;
            let Some(change) = change.filter(|change| change.timestamp() <= at) else {
                return wall(at);
            };
            let (shown, jumps_to) = around(change.timestamp(), offset, change.offset());
            if !self.cron.is_even() && due < jumps_to {
                return wall(change.timestamp());
            }
            let resumed = if self.cron.is_even() { jumps_to } else { shown.max(jumps_to) };
            start = whole_minute(resumed)?;
            offset = change.offset();
        }
    }

    /// The last due time after `from` and not after `to`, if there is one.
    ///
    /// Takes a few dozen steps, however long the time between and however many due times lie in it.
    pub fn last_due_in(&self, from: WallTime, to: WallTime) -> Option<WallTime> {
        let due_after = |ms: u64| self.next_after(WallTime(ms)).filter(|due| *due <= to);
        let mut last = due_after(from.0)?;
        // After `last` something may be due, after `none` nothing is.
        let mut none = to.0;
        while last.0 < none {
            let middle = last.0 + (none - last.0) / 2;
            match due_after(middle) {
                Some(due) => last = due,
                None => none = middle,
            }
        }
        Some(last)
    }

    /// Where times may be shown the second time around, the first minute that was not shown before.
    fn not_again(&self, after: Timestamp, start: DateTime) -> DateTime {
        let before = |at: Timestamp| at.checked_sub(1.nanosecond()).ok();
        let change = after
            .checked_add(1.nanosecond())
            .ok()
            .and_then(|after| self.zone.0.preceding(after).next())
            .map(|change| (change.timestamp(), change.offset()));
        let shown = change.and_then(|(at, offset)| {
            let (shown, _) = around(at, self.zone.0.to_offset(before(at)?), offset);
            whole_minute(shown)
        });
        if self.cron.is_even() { start } else { shown.map_or(start, |shown| start.max(shown)) }
    }
}

/// What the clock would show at a change, and what it shows.
fn around(at: Timestamp, before: Offset, after: Offset) -> (DateTime, DateTime) {
    (before.to_datetime(at), after.to_datetime(at))
}

fn next_minute(time: DateTime) -> Option<DateTime> {
    let minute = time.with().second(0).subsec_nanosecond(0).build().ok()?;
    minute.checked_add(1.minute()).ok()
}

/// The time itself, or the next whole minute.
fn whole_minute(time: DateTime) -> Option<DateTime> {
    time.round(jiff::civil::DateTimeRound::new().smallest(Unit::Minute).mode(jiff::RoundMode::Ceil)).ok()
}

fn wall(at: Timestamp) -> Option<WallTime> {
    u64::try_from(at.as_millisecond()).ok().map(WallTime)
}

#[cfg(test)]
mod tests;
