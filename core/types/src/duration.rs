//! Durations as people write them: `10s`, `5m`, `1h30m`, `500ms`.

use std::time::Duration;

const UNITS_MS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is not a duration: write whole numbers with d, h, m, s or ms, largest first, as in '10s' or '1h30m'"
)]
pub struct DurationError {
    text: String,
}

/// Reads a duration: whole numbers with units, each at most once, largest first.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    total_ms(text).map(Duration::from_millis).ok_or_else(|| DurationError { text: text.to_owned() })
}

fn total_ms(text: &str) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let mut units = UNITS_MS.iter();
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        let (_, factor) = units.find(|(name, _)| *name == unit)?;
        total = number.parse::<u64>().ok()?.checked_mul(*factor)?.checked_add(total)?;
        rest = after;
    }
    Some(total)
}

/// Writes a duration so that it reads back; what is below a millisecond is lost.
pub fn show_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut parts = Vec::new();
    for (unit, factor) in UNITS_MS {
        if rest >= factor {
            parts.push(format!("{}{unit}", rest / factor));
            rest %= factor;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.concat() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_largest_unit_first() {
        let check = |text: &str, ms: Option<u64>| {
            assert_eq!(parse_duration(text).ok(), ms.map(Duration::from_millis), "{text}");
        };
        check("10s", Some(10_000));
        check("5m", Some(300_000));
        check("1h30m", Some(5_400_000));
        check("1d", Some(86_400_000));
        check("500ms", Some(500));
        check("1s500ms", Some(1_500));
        check("0s", Some(0));
        check("", None);
        check("10", None);
        check("s", None);
        check("30m1h", None);
        check("1s1s", None);
        check("1.5s", None);
        check("-1s", None);
        check("1 s", None);
        check("1S", None);
        check("å", None);
        check("300000000000d", None);
    }

    #[test]
    fn durations_read_back() {
        for ms in [0, 1, 999, 1_000, 60_000, 90_061_001, u64::MAX / 2] {
            let duration = Duration::from_millis(ms);
            assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }
    }
}
