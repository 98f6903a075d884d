//! How long certificates hold, as it is written in settings.

use std::str::FromStr;
use std::time::Duration;

use skerry_types::{DurationError, parse_duration};

use crate::ca::{CHILD_REGION_LIFE, NODE_LIFE};

/// Shorter ones would run out between two tries of a renewal: certificates know whole seconds, and the first try that fails is
/// followed by the next after five.
const LIFE_MIN: Duration = Duration::from_secs(10);
/// A key that was copied off a node unnoticed is good for this long at most.
const NODE_LIFE_MAX: Duration = Duration::from_hours(90 * 24);
/// As long as the CA of the root's region, which every other ends with.
const REGION_LIFE_MAX: Duration = Duration::from_hours(10 * 365 * 24);

/// Why a text is no life of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LifeError {
    /// Not a duration.
    #[error(transparent)]
    Malformed(#[from] DurationError),
    /// A duration out of bounds.
    #[error("'{given}' is too short or too long: {what} certificate holds for 10s to {days}d")]
    OutOfBounds {
        /// What was written.
        given: String,
        /// Whose certificate.
        what: &'static str,
        /// The longest, in days.
        days: u64,
    },
}

macro_rules! life {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:expr, $default:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name(Duration);

        impl $name {
            /// As a duration.
            pub fn duration(self) -> Duration {
                self.0
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self($default)
            }
        }

        impl FromStr for $name {
            type Err = LifeError;

            fn from_str(text: &str) -> Result<Self, LifeError> {
                within(text, $what, $max).map(Self)
            }
        }
    };
}

life!(
    /// How long a node's certificate holds: ten seconds to ninety days, a week if nothing is said.
    ///
    /// Half of it is the longest a master may be away before a node's renewal is late; an expired certificate may still renew
    /// with its key.
    NodeLife, "a node's", NODE_LIFE_MAX, NODE_LIFE
);
life!(
    /// How long the CA certificate of a region below holds: ten seconds to ten years, five years if nothing is said.
    RegionLife, "a region's", REGION_LIFE_MAX, CHILD_REGION_LIFE
);

fn within(text: &str, what: &'static str, max: Duration) -> Result<Duration, LifeError> {
    let life = parse_duration(text)?;
    if (LIFE_MIN..=max).contains(&life) {
        return Ok(life);
    }
    Err(LifeError::OutOfBounds { given: text.to_owned(), what, days: max.as_secs() / 86_400 })
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
            assert!(matches!(text.parse::<NodeLife>(), Err(LifeError::Malformed(_))), "{text}");
        }
        for text in ["0s", "9s", "91d", "7776001s"] {
            let error = text.parse::<NodeLife>().unwrap_err().to_string();
            assert!(error.contains("10s to 90d"), "{error}");
        }
    }
    #[test]
    fn a_regions_life_has_other_bounds() {
        assert_eq!("10s".parse(), Ok(RegionLife(Duration::from_secs(10))));
        assert_eq!("1825d".parse(), Ok(RegionLife::default()));
        let error = "3651d".parse::<RegionLife>().unwrap_err().to_string();
        assert!(error.contains("a region's certificate holds for 10s to 3650d"), "{error}");
    }
}
