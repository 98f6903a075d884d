//! Amounts and numbers as text.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use skerry_types::QuantityError;

use super::within;
use crate::faults::Faults;
use crate::limits;
use crate::path::Path;
use crate::problem::Problem;

/// An amount within its bounds.
pub(super) fn amount<T>(
    text: &str,
    bounds: &RangeInclusive<T>,
    path: &Path<'_>,
    faults: &mut Faults<'_>,
) -> Option<T>
where
    T: FromStr<Err = QuantityError> + Ord + fmt::Display,
{
    let amount = faults.take(path, text.parse::<T>())?;
    within(amount, bounds, path, faults)
}

/// A part in hundredths, such as `70%`.
pub(super) fn percent(text: &str, path: &Path<'_>, faults: &mut Faults<'_>) -> Option<u32> {
    let digits = text.strip_suffix('%').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    let hundredths = digits.and_then(|digits| digits.parse().ok());
    let max = limits::SCALE_PERCENT_MAX;
    let good = hundredths.filter(|hundredths| (1..=max).contains(hundredths));
    if good.is_none() {
        faults.add(path, Problem::Percent { found: text.to_owned(), max });
    }
    good
}

/// A decimal number in units of its last place.
pub(super) fn decimal(text: &str, places: u32, path: &Path<'_>, faults: &mut Faults<'_>) -> Option<u64> {
    let units = units(text, places);
    if units.is_none() {
        faults.add(path, Problem::Decimal { found: text.chars().take(64).collect(), places });
    }
    units
}

fn units(text: &str, places: u32) -> Option<u64> {
    let width = usize::try_from(places).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > width {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let fraction: u64 = format!("{fraction:0<width$}").parse().ok()?;
    whole.checked_mul(10_u64.checked_pow(places)?)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_counted_in_their_last_place() {
        let check = |text: &str, micros: Option<u64>| assert_eq!(units(text, 6), micros, "{text}");
        check("0", Some(0));
        check("0.02", Some(20_000));
        check("3.000001", Some(3_000_001));
        check("12", Some(12_000_000));
        check("0.0000001", None);
        check("1.", None);
        check(".5", None);
        check("-1", None);
        check("1e3", None);
        check("", None);
        check("18446744073709551615", None);
    }
}
