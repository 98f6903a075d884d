//! How long a node's certificate holds, as it is written in settings.

use std::str::FromStr;
use std::time::Duration;

/// Shorter ones would run out between two tries of a renewal: certificates know whole seconds, and the first try that fails is
/// followed by the next after five.
const LIFE_MIN: Duration = Duration::from_secs(10);
/// A key that was copied off a node unnoticed is good for this long at most.
const LIFE_MAX: Duration = Duration::from_hours(90 * 24);

const UNITS_S: [(char, u64); 4] = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)];

/// How long a node's certificate holds: ten seconds to ninety days, a week if nothing is said.
///
/// Half of it is the longest a master may be away before a node's renewal is late; an expired certificate may still renew with
/// its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeLife(Duration);

/// Why a text is no life of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeLifeError {
    /// Not a duration.
    #[error("'{0}' is not a duration: write a whole number with s, m, h or d, as in '7d' or '12h'")]
    Malformed(String),
    /// A duration out of bounds.
    #[error("'{0}' is too short or too long: a node's certificate holds for 10s to 90d")]
    OutOfBounds(String),
}

impl NodeLife {
    /// As a duration.
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl Default for NodeLife {
    fn default() -> Self {
        Self(Duration::from_hours(7 * 24))
    }
}

impl FromStr for NodeLife {
    type Err = NodeLifeError;

    fn from_str(text: &str) -> Result<Self, NodeLifeError> {
        let seconds = UNITS_S.iter().find_map(|(unit, factor)| {
            let number = text.strip_suffix(*unit)?;
            let plain = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
            // More than fits is out of bounds, not malformed.
            plain.then(|| number.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(*factor))
        });
        let life =
            seconds.map(Duration::from_secs).ok_or_else(|| NodeLifeError::Malformed(text.to_owned()))?;
        if !(LIFE_MIN..=LIFE_MAX).contains(&life) {
            return Err(NodeLifeError::OutOfBounds(text.to_owned()));
        }
        Ok(Self(life))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_read_within_bounds() {
        let check = |text: &str, seconds: u64| {
            assert_eq!(text.parse(), Ok(NodeLife(Duration::from_secs(seconds))), "{text}");
        };
        check("10s", 10);
        check("5m", 300);
        check("12h", 43_200);
        check("90d", 7_776_000);
        assert_eq!("7d".parse(), Ok(NodeLife::default()));
        let bad = |text: &str, error: fn(String) -> NodeLifeError| {
            assert_eq!(text.parse::<NodeLife>(), Err(error(text.to_owned())), "{text}");
        };
        for text in ["", "7", "d", "-1d", "+1d", "1.5h", "1 h", "1w", "7D"] {
            bad(text, NodeLifeError::Malformed);
        }
        for text in ["0s", "9s", "91d", "7776001s", "99999999999999999999d"] {
            bad(text, NodeLifeError::OutOfBounds);
        }
    }
}
