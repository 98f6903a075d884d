//! Time zones.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZoneDatabase;
use skerry_types::WallTime;

/// A time zone. Copies share what they hold.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone(pub(crate) jiff::tz::TimeZone);

/// A zone that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{name}' is not a time zone: write an IANA name such as 'Europe/Oslo' or 'UTC'")]
pub struct UnknownZone {
    /// The name.
    pub name: String,
}

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = Self(jiff::tz::TimeZone::UTC);

    /// The zone of an IANA name, in any case.
    pub fn named(name: &str) -> Result<Self, UnknownZone> {
        let found = TimeZoneDatabase::bundled().get(name).ok().filter(|zone| !zone.is_unknown());
        found.map(Self).ok_or_else(|| UnknownZone { name: name.chars().take(64).collect() })
    }

    /// The names of all zones.
    pub fn names() -> Vec<String> {
        TimeZoneDatabase::bundled().available().map(|name| name.as_str().to_owned()).collect()
    }

    /// What the clock on the wall shows: the day of the week (0 is Monday) and the minute of the day.
    ///
    /// After the year 9999 it shows the beginning of 1970.
    pub fn day_and_minute(&self, at: WallTime) -> (u8, u16) {
        let shown = self.0.to_datetime(timestamp(at).unwrap_or_default());
        let day = u8::try_from(shown.weekday().to_monday_zero_offset()).unwrap_or_default();
        (day, minute_of_day(shown.time()))
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({})", self.0.iana_name().unwrap_or_default())
    }
}

pub(crate) fn timestamp(at: WallTime) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(at.0).ok()?).ok()
}

fn minute_of_day(time: Time) -> u16 {
    let part = |number: i8| u16::try_from(number).unwrap_or_default();
    part(time.hour()) * 60 + part(time.minute())
}
