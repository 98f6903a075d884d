//! Times of day at which a fleet may be touched.

use jiff::civil::Time;
use jiff::{Timestamp, ToSpan};
use skerry_types::{WallTime, Window};

use crate::zone::{Zone, timestamp};

const DAY_MINUTES: u16 = 24 * 60;

/// Whether the window is open. A window that lasts into the next day belongs to the day at which it opened.
pub fn window_is_open(window: &Window, zone: &Zone, at: WallTime) -> bool {
    let (day, minute) = zone.day_and_minute(at);
    let yesterday = (day + 6) % 7;
    let opens = |day: u8| window.days >> day & 1 == 1;
    let since_open = i32::from(minute) - i32::from(window.from_minute);
    let since_yesterday = since_open + i32::from(DAY_MINUTES);
    let within = |minutes: i32| (0..i32::from(window.minutes)).contains(&minutes);
    opens(day) && within(since_open) || opens(yesterday) && within(since_yesterday)
}

/// When the window opens next after `after`; never when it has no day. An opening that the clock skips is at the same distance
/// after the jump.
pub fn window_opens_after(window: &Window, zone: &Zone, after: WallTime) -> Option<WallTime> {
    let after = timestamp(after)?;
    let minute = window.from_minute % DAY_MINUTES;
    let hour_of = |part: u16| i8::try_from(part).ok();
    let opening = Time::new(hour_of(minute / 60)?, hour_of(minute % 60)?, 0, 0).ok()?;
    let today = zone.0.to_datetime(after).date();
    // A week and a day: the window of today may be over and be the only one of the week.
    (0..=8).find_map(|days| {
        let date = today.checked_add(days.days()).ok()?;
        let day = date.weekday().to_monday_zero_offset();
        let at: Timestamp = zone.0.to_timestamp(date.to_datetime(opening)).ok()?;
        let opens = window.days >> day & 1 == 1 && at > after;
        opens.then(|| u64::try_from(at.as_millisecond()).ok().map(WallTime)).flatten()
    })
}
