//! Times as people read them: ages such as `3m`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use skerry_types::WallTime;

const UNITS_MS: [(&str, u64); 4] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];

/// The present by this machine's clock.
pub(crate) fn now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(millis(since))
}

/// A duration in whole milliseconds, bounded by what a message can hold.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How long ago `at_ms` was: the largest unit that fits, such as `5s`, `3m`, `2h` or `4d`. Zero is `never`, and a time
/// that lies ahead (clocks differ) is `0s`.
pub(crate) fn age(now: WallTime, at_ms: u64) -> String {
    if at_ms == 0 {
        return "never".to_owned();
    }
    short(now.since(WallTime(at_ms)))
}

/// `age` as part of a sentence: `3m ago` or `never`.
pub(crate) fn ago(now: WallTime, at_ms: u64) -> String {
    if at_ms == 0 { "never".to_owned() } else { format!("{} ago", age(now, at_ms)) }
}

/// How far ahead `at_ms` is: `in 59m`, or `3m ago` when it has passed. To the nearest second, as an hour that was asked
/// for a moment ago is still an hour to people.
pub(crate) fn ahead(now: WallTime, at_ms: u64) -> String {
    const HALF_SECOND: Duration = Duration::from_millis(500);
    if at_ms <= now.0 {
        return ago(now, at_ms);
    }
    format!("in {}", short(WallTime(at_ms).since(now).saturating_add(HALF_SECOND)))
}

/// A duration in its largest whole unit, seconds at least.
pub(crate) fn short(duration: Duration) -> String {
    let ms = millis(duration);
    UNITS_MS
        .iter()
        .find(|(_, unit)| ms >= *unit)
        .map_or_else(|| "0s".to_owned(), |(name, unit)| format!("{}{name}", ms / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_take_their_largest_unit() {
        let now = WallTime(1_000_000_000_000);
        let check = |passed_ms: u64, text: &str| assert_eq!(age(now, now.0 - passed_ms), text);
        check(0, "0s");
        check(999, "0s");
        check(5_000, "5s");
        check(59_999, "59s");
        check(60_000, "1m");
        check(3_599_999, "59m");
        check(7_200_000, "2h");
        check(86_399_999, "23h");
        check(4 * 86_400_000, "4d");
        assert_eq!(age(now, 0), "never");
        assert_eq!(age(now, now.0 + 5), "0s");
        assert_eq!(ahead(now, now.0 + 3_600_000), "in 1h");
        assert_eq!(ahead(now, now.0 + 3_599_990), "in 1h");
        assert_eq!(ahead(now, now.0 + 3_599_000), "in 59m");
        assert_eq!(ahead(now, now.0 - 60_000), "1m ago");
    }
}
