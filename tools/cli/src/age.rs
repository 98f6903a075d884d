//! Times as people read and write them: ages such as `3m`, durations such as `1h30m`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use skerry_types::WallTime;

const UNITS_MS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("write whole numbers with d, h, m, s or ms, largest first, as in '10s' or '1h30m'")]
pub(crate) struct DurationError;

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
    UNITS_MS[..4]
        .iter()
        .find(|(_, unit)| ms >= *unit)
        .map_or_else(|| "0s".to_owned(), |(name, unit)| format!("{}{name}", ms / unit))
}

/// A duration to the millisecond, as [`duration`] reads it: `1m30s`.
pub(crate) fn exact(duration: Duration) -> String {
    let mut rest = millis(duration);
    let mut text = String::new();
    for (name, unit) in UNITS_MS {
        text += &part(&mut rest, unit, name);
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Takes the whole units out of `rest`.
fn part(rest: &mut u64, unit: u64, name: &str) -> String {
    let count = *rest / unit;
    *rest %= unit;
    if count == 0 { String::new() } else { format!("{count}{name}") }
}

/// Reads `10s`, `5m`, `1h30m` or `500ms`.
pub(crate) fn duration(text: &str) -> Result<Duration, DurationError> {
    if text.is_empty() {
        return Err(DurationError);
    }
    let mut units = UNITS_MS.iter();
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_lowercase).count();
        let (unit, after) = after.split_at(letters);
        let (_, factor) = units.find(|(name, _)| *name == unit).ok_or(DurationError)?;
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor));
        total = part.and_then(|part| part.checked_add(total)).ok_or(DurationError)?;
        rest = after;
    }
    Ok(Duration::from_millis(total))
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

    #[test]
    fn durations_are_read_largest_unit_first() {
        let check = |text: &str, ms: Option<u64>| {
            assert_eq!(duration(text).ok(), ms.map(Duration::from_millis), "{text}");
        };
        check("10s", Some(10_000));
        check("1h30m", Some(5_400_000));
        check("500ms", Some(500));
        check("0s", Some(0));
        check("", None);
        check("10", None);
        check("30m1h", None);
        check("1.5s", None);
        check("-1s", None);
        check("99999999999999999999d", None);
    }

    #[test]
    fn exact_durations_read_back() {
        for ms in [0, 1, 300, 1_000, 90_000, 90_061_001] {
            let given = Duration::from_millis(ms);
            assert_eq!(duration(&exact(given)), Ok(given));
        }
        assert_eq!(exact(Duration::from_millis(90_500)), "1m30s500ms");
    }
}
