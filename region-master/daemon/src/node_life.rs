//! How long a node's certificate holds, as it is written in settings.

use std::str::FromStr;
use std::time::Duration;

use skerry_types::{DurationError, parse_duration};

/// Shorter ones would run out between two tries of a renewal: certificates know whole seconds, and the first try that fails is
/// followed by the next after five.
const LIFE_MIN: Duration = Duration::from_secs(10);
/// A key that was copied off a node unnoticed is good for this long at most.
const LIFE_MAX: Duration = Duration::from_hours(90 * 24);

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
    #[error(transparent)]
    Malformed(#[from] DurationError),
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
        let life = parse_duration(text)?;
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
        for text in ["", "7", "d", "-1d", "1.5h", "1w", "99999999999999999999d"] {
            assert!(matches!(text.parse::<NodeLife>(), Err(NodeLifeError::Malformed(_))), "{text}");
        }
        for text in ["0s", "9s", "91d", "7776001s"] {
            assert_eq!(text.parse::<NodeLife>(), Err(NodeLifeError::OutOfBounds(text.to_owned())), "{text}");
        }
    }
}
