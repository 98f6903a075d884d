//! The five fields of a schedule: minute, hour, day of month, month, day of week.

use jiff::civil::{Date, DateTime, Time, date};

/// Longest text that is read: five full lists of numbers are shorter.
const TEXT_MAX: usize = 512;

/// Every combination of day, month and weekday comes within so many years, the longest being a given weekday on a 29 February
/// around a year such as 2100, which has none.
const YEARS_MAX: i16 = 40;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Why fields cannot be read, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("schedule '{text}': at character {position}: {problem}")]
pub struct CronError {
    /// All fields.
    pub text: String,
    /// Where it went wrong: 1 is the first character.
    pub position: usize,
    /// What was expected.
    pub problem: String,
}

/// Which minutes of which days, as sets of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    /// Bit 0 is Sunday.
    weekdays: u64,
    /// Whether a day is right when either of its day of month and its day of week is: so it is when neither begins with `*`.
    either: bool,
    even: bool,
}

/// One of the five.
struct Field {
    name: &'static str,
    min: u8,
    max: u8,
    words: &'static [&'static str],
    /// The number of the first word.
    first_word: u8,
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", min: 0, max: 59, words: &[], first_word: 0 },
    Field { name: "hour", min: 0, max: 23, words: &[], first_word: 0 },
    Field { name: "day of month", min: 1, max: 31, words: &[], first_word: 0 },
    Field { name: "month", min: 1, max: 12, words: &MONTHS, first_word: 1 },
    // 0 and 7 are both Sunday.
    Field { name: "day of week", min: 0, max: 7, words: &WEEKDAYS, first_word: 0 },
];

impl Cron {
    pub(crate) fn parse(text: &str) -> Result<Self, CronError> {
        let error = |position: usize, problem: String| CronError {
            text: text.chars().take(TEXT_MAX).collect(),
            position,
            problem,
        };
        if text.len() > TEXT_MAX {
            return Err(error(1, format!("longer than {TEXT_MAX} bytes")));
        }
        let words = words(text);
        let mut sets = [0; 5];
        for (index, field) in FIELDS.iter().enumerate() {
            let end = text.chars().count() + 1;
            let Some((start, word)) = words.get(index) else {
                let hint = if text.starts_with('@') { "; write five fields, as in '0 3 * * *'" } else { "" };
                return Err(error(end, format!("expected the {}{hint}", field.name)));
            };
            sets[index] = field.read(word).map_err(|(at, problem)| error(start + at, problem))?;
        }
        if let Some((start, word)) = words.get(5) {
            let advice = "five fields are read: minute, hour, day of month, month, day of week";
            return Err(error(*start, format!("unexpected '{word}'; {advice}")));
        }
        let [minutes, hours, days, months, weekdays] = sets;
        let any = |index: usize| words[index].1.starts_with('*');
        Ok(Self {
            minutes,
            hours,
            days,
            months,
            weekdays: weekdays | weekdays >> 7 & 1,
            either: !any(2) && !any(4),
            even: any(1),
        })
    }

    /// Whether the hours begin with `*`, so that the schedule goes on evenly when the clock jumps.
    pub(crate) fn is_even(&self) -> bool {
        self.even
    }

    pub(crate) fn is_ever_due(&self) -> bool {
        self.first_from(date(2000, 1, 1).at(0, 0, 0, 0)).is_some()
    }

    /// The first time that matches and is not before `from`, a whole minute.
    pub(crate) fn first_from(&self, from: DateTime) -> Option<DateTime> {
        let mut day = from.date();
        if self.is_on(day)
            && let Some(time) = self.first_time(from.time())
        {
            return Some(day.to_datetime(time));
        }
        let last_year = day.year().saturating_add(YEARS_MAX);
        day = day.tomorrow().ok()?;
        while day.year() <= last_year {
            if !has(self.months, day.month()) {
                day = day.last_of_month().tomorrow().ok()?;
                continue;
            }
            if self.is_on(day) {
                return self.first_time(Time::midnight()).map(|time| day.to_datetime(time));
            }
            day = day.tomorrow().ok()?;
        }
        None
    }

    fn is_on(&self, day: Date) -> bool {
        let of_month = has(self.days, day.day());
        let of_week = has(self.weekdays, day.weekday().to_sunday_zero_offset());
        let right = if self.either { of_month || of_week } else { of_month && of_week };
        right && has(self.months, day.month())
    }

    fn first_time(&self, from: Time) -> Option<Time> {
        let in_hour = |hour: i8, from: i8| {
            let minute = (from..60).find(|minute| has(self.minutes, *minute))?;
            Time::new(hour, minute, 0, 0).ok()
        };
        let this_hour = has(self.hours, from.hour()).then(|| in_hour(from.hour(), from.minute())).flatten();
        this_hour.or_else(|| {
            let hour = (from.hour() + 1..24).find(|hour| has(self.hours, *hour))?;
            in_hour(hour, 0)
        })
    }
}

fn has(set: u64, number: i8) -> bool {
    u32::try_from(number).is_ok_and(|number| set >> number & 1 == 1)
}

/// Words between spaces, each with the characters before it and one.
fn words(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut position = 1;
    for word in text.split([' ', '\t']) {
        if !word.is_empty() {
            found.push((position, word));
        }
        position += word.chars().count() + 1;
    }
    found
}

/// A problem and how many characters into the field it stands.
type At = (usize, String);

impl Field {
    /// The numbers of a list such as `1,5-10,20-59/2,*/5`.
    fn read(&self, word: &str) -> Result<u64, At> {
        let mut set = 0;
        let mut at = 0;
        for item in word.split(',') {
            set |= self.item(item).map_err(|(within, problem)| (at + within, problem))?;
            at += item.chars().count() + 1;
        }
        Ok(set)
    }

    fn item(&self, item: &str) -> Result<u64, At> {
        let (range, step) = item.split_once('/').map_or((item, None), |(range, step)| (range, Some(step)));
        let step_at = range.chars().count() + 1;
        let (first, last) = self.range(range, step.is_some())?;
        let step = step.map_or(Ok(1), |step| match step.parse::<u8>() {
            Ok(step) if (1..=self.max).contains(&step) && is_digits(item, step_at) => Ok(step),
            _ => Err((step_at, format!("expected a step from 1 to {}, found '{step}'", self.max))),
        })?;
        Ok((first..=last).step_by(usize::from(step)).fold(0, |set, number| set | 1 << number))
    }

    fn range(&self, range: &str, stepped: bool) -> Result<(u8, u8), At> {
        if range == "*" {
            // Sunday once is enough.
            return Ok((self.min, if self.max == 7 { 6 } else { self.max }));
        }
        let Some((first, last)) = range.split_once('-') else {
            let number = self.number(range).map_err(|problem| (0, problem))?;
            return Ok((number, if stepped { self.max } else { number }));
        };
        let last_at = first.chars().count() + 1;
        let first = self.number(first).map_err(|problem| (0, problem))?;
        let last = self.number(last).map_err(|problem| (last_at, problem))?;
        if first > last {
            return Err((last_at, format!("{} {last} comes before {first}", self.name)));
        }
        Ok((first, last))
    }

    fn number(&self, word: &str) -> Result<u8, String> {
        let lower = word.to_ascii_lowercase();
        if let Some(index) = self.words.iter().position(|name| *name == lower) {
            return u8::try_from(index)
                .map(|index| index + self.first_word)
                .map_err(|error| error.to_string());
        }
        let number = word.parse::<u8>().ok().filter(|_| is_digits(word, 0));
        number.filter(|number| (self.min..=self.max).contains(number)).ok_or_else(|| {
            let found = if word.is_empty() { "nothing".to_owned() } else { format!("'{word}'") };
            let words =
                self.words.first().map_or_else(String::new, |first| format!(" or a name such as '{first}'"));
            let article = if self.name == "hour" { "an" } else { "a" };
            format!(
                "expected {article} {} from {} to {}{words}, found {found}",
                self.name, self.min, self.max
            )
        })
    }
}

/// Whether there are digits only after so many characters; `parse` would take a sign.
fn is_digits(text: &str, skip: usize) -> bool {
    text.chars().skip(skip).all(|c| c.is_ascii_digit())
}
