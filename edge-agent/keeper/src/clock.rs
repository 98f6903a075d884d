//! Wall clock readings and their RFC 3339 form.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

const NANOS: u128 = 1_000_000_000;

/// Nanoseconds since 1970; zero on a clock before that.
pub(crate) fn unix_nanos() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    u64::try_from(unix_nanos() / 1_000_000).unwrap_or(u64::MAX)
}

/// Milliseconds of `CLOCK_BOOTTIME`: since the boot, sleep included.
pub(crate) fn boottime_ms() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    part(time.tv_sec) * 1000 + part(time.tv_nsec) / 1_000_000
}

/// Appends `nanos` since 1970 as `2026-01-02T03:04:05.123456789Z`.
pub(crate) fn write_rfc3339(out: &mut Vec<u8>, nanos: u128) {
    let seconds = u64::try_from(nanos / NANOS).unwrap_or(u64::MAX);
    let (year, month, day) = civil_date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let fraction = nanos % NANOS;
    let written =
        write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:09}Z");
    // A vector takes every write.
    drop(written);
}

/// Year, month and day of a day count since 1970, in the proleptic Gregorian calendar.
///
/// The year is taken to start in March, so that the leap day is its last; 400 years are 146,097 days
/// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn civil_date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        let check = |seconds: u128, nanos: u128, expect: &str| {
            let mut out = Vec::new();
            write_rfc3339(&mut out, seconds * NANOS + nanos);
            assert_eq!(String::from_utf8(out).unwrap(), expect);
        };
        check(0, 0, "1970-01-01T00:00:00.000000000Z");
        check(951_782_399, 1, "2000-02-28T23:59:59.000000001Z");
        check(951_782_400, 0, "2000-02-29T00:00:00.000000000Z");
        check(1_709_251_200, 999_999_999, "2024-03-01T00:00:00.999999999Z");
        check(1_767_225_599, 0, "2025-12-31T23:59:59.000000000Z");
        check(4_107_542_400, 0, "2100-03-01T00:00:00.000000000Z");
    }
}
