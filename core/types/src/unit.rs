//! Amounts of things that a node has and a workload asks for.

use std::fmt;
use std::ops::{Add, AddAssign};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not a number with a unit of its kind.
    #[error("'{text}' is not an amount of {what}: write {examples}")]
    Malformed {
        /// The text.
        text: String,
        /// What was being measured.
        what: &'static str,
        /// Good examples.
        examples: &'static str,
    },
    /// More than can be held.
    #[error("'{text}' is more {what} than can be counted")]
    TooLarge {
        /// The text.
        text: String,
        /// What was being measured.
        what: &'static str,
    },
}

/// Processor time in thousandths of one core.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MilliCpu(pub u64);

/// Graphics processors in thousandths of one. Below 1000 it is a part of one; above, whole ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MilliGpu(pub u64);

/// Bandwidth in bits per second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Bandwidth(pub u64);

/// An amount of memory or disk in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Bytes(pub u64);

/// Reads whole numbers, decimals to three places, or thousandths with an `m`.
fn parse_milli(text: &str, what: &'static str, examples: &'static str) -> Result<u64, QuantityError> {
    let malformed = || QuantityError::Malformed { text: text.to_owned(), what, examples };
    let too_large = || QuantityError::TooLarge { text: text.to_owned(), what };
    let number = |part: &str| match digits(part) {
        Digits::Number(number) => Ok(number),
        Digits::TooLarge => Err(too_large()),
        Digits::Other => Err(malformed()),
    };
    if let Some(milli) = text.strip_suffix('m') {
        return number(milli);
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.is_empty() || fraction.len() > 3 {
        return Err(malformed());
    }
    let milli = number(&format!("{fraction:0<3}"))?;
    number(whole)?.checked_mul(1000).and_then(|m| m.checked_add(milli)).ok_or_else(too_large)
}

fn show_milli(milli: u64) -> String {
    if milli.is_multiple_of(1000) { (milli / 1000).to_string() } else { format!("{milli}m") }
}

impl FromStr for MilliCpu {
    type Err = QuantityError;

    /// Reads `2`, `0.5` (to three decimals) or `250m`.
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let examples = "whole or decimal cores ('2', '0.5') or thousandths ('250m')";
        parse_milli(text, "cpu", examples).map(Self)
    }
}

impl fmt::Display for MilliCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&show_milli(self.0))
    }
}

impl FromStr for MilliGpu {
    type Err = QuantityError;

    /// Reads `2`, `0.5` (to three decimals) or `250m`. Above one, only whole ones can be had.
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let examples = "whole graphics processors ('2') or a part of one ('0.5', '250m')";
        let milli = parse_milli(text, "gpu", examples)?;
        if milli > 1000 && !milli.is_multiple_of(1000) {
            return Err(QuantityError::Malformed { text: text.to_owned(), what: "gpu", examples });
        }
        Ok(Self(milli))
    }
}

impl fmt::Display for MilliGpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&show_milli(self.0))
    }
}

const BIT_UNITS: [(&str, u64); 3] = [("k", 1_000), ("M", 1_000_000), ("G", 1_000_000_000)];

impl FromStr for Bandwidth {
    type Err = QuantityError;

    /// Reads bits per second: `9600`, `64k`, `10M` or `1G`.
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let what = "bandwidth";
        let (number, factor) = BIT_UNITS
            .iter()
            .find_map(|(suffix, factor)| text.strip_suffix(suffix).map(|number| (number, *factor)))
            .unwrap_or((text, 1));
        let too_large = || QuantityError::TooLarge { text: text.to_owned(), what };
        match digits(number) {
            Digits::Number(count) => count.checked_mul(factor).map(Self).ok_or_else(too_large),
            Digits::TooLarge => Err(too_large()),
            Digits::Other => Err(QuantityError::Malformed {
                text: text.to_owned(),
                what,
                examples: "a whole number of bits per second with k, M or G, as in '10M'",
            }),
        }
    }
}

impl fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = BIT_UNITS.iter().rev().find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor));
        match unit {
            Some((suffix, factor)) => f.pad(&format!("{}{suffix}", self.0 / factor)),
            None => f.pad(&self.0.to_string()),
        }
    }
}

enum Digits {
    Number(u64),
    TooLarge,
    Other,
}

fn digits(text: &str) -> Digits {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Digits::Other;
    }
    text.parse().map_or(Digits::TooLarge, Digits::Number)
}

const BYTE_UNITS: [(&str, u64); 8] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
];

impl Bytes {
    const WHAT: &str = "bytes";
    const EXAMPLES: &str =
        "a whole number with Ki, Mi, Gi, Ti (powers of 1024) or k, M, G, T (powers of 1000), as in '64Mi'";

    /// What is left after taking `other` away, zero at least.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl FromStr for Bytes {
    type Err = QuantityError;

    /// Reads `4096`, `64Mi` or `64M`.
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let (number, factor) = BYTE_UNITS
            .iter()
            .find_map(|(suffix, factor)| text.strip_suffix(suffix).map(|number| (number, *factor)))
            .unwrap_or((text, 1));
        let too_large = || QuantityError::TooLarge { text: text.to_owned(), what: Self::WHAT };
        match digits(number) {
            Digits::Number(count) => count.checked_mul(factor).map(Self).ok_or_else(too_large),
            Digits::TooLarge => Err(too_large()),
            Digits::Other => Err(QuantityError::Malformed {
                text: text.to_owned(),
                what: Self::WHAT,
                examples: Self::EXAMPLES,
            }),
        }
    }
}

impl fmt::Display for Bytes {
    /// The largest power-of-1024 unit that loses nothing, or one decimal of the largest that is at least one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = &BYTE_UNITS[..4];
        let Some((suffix, unit)) = binary.iter().rev().find(|(_, unit)| self.0 >= *unit) else {
            return f.pad(&self.0.to_string());
        };
        if self.0.is_multiple_of(*unit) {
            return f.pad(&format!("{}{suffix}", self.0 / unit));
        }
        let tenths = u128::from(self.0) * 10 / u128::from(*unit);
        f.pad(&format!("{}.{}{suffix}", tenths / 10, tenths % 10))
    }
}

/// What a node has or an allocation reserves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Resources {
    /// Processor time.
    pub cpu: MilliCpu,
    /// Memory.
    pub memory: Bytes,
    /// Disk for images, writable layers and logs.
    pub disk: Bytes,
    /// Bandwidth of the node's uplink.
    pub bandwidth: Bandwidth,
    /// Graphics processors, whole ones or a part of one.
    pub gpu: MilliGpu,
}

impl Resources {
    /// Nothing of anything.
    pub const ZERO: Self = Self {
        cpu: MilliCpu(0),
        memory: Bytes(0),
        disk: Bytes(0),
        bandwidth: Bandwidth(0),
        gpu: MilliGpu(0),
    };

    /// Whether `need` fits into this.
    pub fn fits(&self, need: &Self) -> bool {
        need.cpu <= self.cpu
            && need.memory <= self.memory
            && need.disk <= self.disk
            && need.bandwidth <= self.bandwidth
            && need.gpu <= self.gpu
    }

    /// The larger of both, in each part.
    #[must_use]
    pub fn max(&self, other: &Self) -> Self {
        Self {
            cpu: self.cpu.max(other.cpu),
            memory: self.memory.max(other.memory),
            disk: self.disk.max(other.disk),
            bandwidth: self.bandwidth.max(other.bandwidth),
            gpu: self.gpu.max(other.gpu),
        }
    }

    /// As much as `count` of this.
    #[must_use]
    pub fn times(&self, count: u32) -> Self {
        let count = u64::from(count);
        Self {
            cpu: MilliCpu(self.cpu.0.saturating_mul(count)),
            memory: Bytes(self.memory.0.saturating_mul(count)),
            disk: Bytes(self.disk.0.saturating_mul(count)),
            bandwidth: Bandwidth(self.bandwidth.0.saturating_mul(count)),
            gpu: MilliGpu(self.gpu.0.saturating_mul(count)),
        }
    }

    /// What is left after taking `other` away, zero at least in each part.
    #[must_use]
    pub fn saturating_sub(&self, other: &Self) -> Self {
        Self {
            cpu: MilliCpu(self.cpu.0.saturating_sub(other.cpu.0)),
            memory: self.memory.saturating_sub(other.memory),
            disk: self.disk.saturating_sub(other.disk),
            bandwidth: Bandwidth(self.bandwidth.0.saturating_sub(other.bandwidth.0)),
            gpu: MilliGpu(self.gpu.0.saturating_sub(other.gpu.0)),
        }
    }
}

impl Add for Resources {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            cpu: MilliCpu(self.cpu.0.saturating_add(other.cpu.0)),
            memory: Bytes(self.memory.0.saturating_add(other.memory.0)),
            disk: Bytes(self.disk.0.saturating_add(other.disk.0)),
            bandwidth: Bandwidth(self.bandwidth.0.saturating_add(other.bandwidth.0)),
            gpu: MilliGpu(self.gpu.0.saturating_add(other.gpu.0)),
        }
    }
}

impl AddAssign for Resources {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_read_in_cores_and_thousandths() {
        let check =
            |text: &str, milli: Option<u64>| assert_eq!(text.parse().ok(), milli.map(MilliCpu), "{text}");
        check("2", Some(2000));
        check("0.5", Some(500));
        check("1.25", Some(1250));
        check("250m", Some(250));
        check("0.0005", None);
        check("", None);
        check("m", None);
        check("-1", None);
        check("1.", None);
        check("1.+5", None);
        check("99999999999999999999", None);
        check("18446744073709551615", None);
    }

    #[test]
    fn bytes_are_read_in_both_families_of_units() {
        let check =
            |text: &str, bytes: Option<u64>| assert_eq!(text.parse().ok(), bytes.map(Bytes), "{text}");
        check("64Mi", Some(64 << 20));
        check("64M", Some(64_000_000));
        check("1k", Some(1000));
        check("4096", Some(4096));
        check("64MB", None);
        check("1.5Gi", None);
        check("Gi", None);
        check("16777216Ti", None);
    }

    #[test]
    fn gpus_and_bandwidth_are_read() {
        let gpu =
            |text: &str, milli: Option<u64>| assert_eq!(text.parse().ok(), milli.map(MilliGpu), "{text}");
        gpu("2", Some(2000));
        gpu("0.5", Some(500));
        gpu("250m", Some(250));
        gpu("1.5", None);
        gpu("two", None);
        let rate =
            |text: &str, bits: Option<u64>| assert_eq!(text.parse().ok(), bits.map(Bandwidth), "{text}");
        rate("10M", Some(10_000_000));
        rate("9600", Some(9600));
        rate("1Gi", None);
        rate("99999999999G", None);
        assert_eq!(Bandwidth(1_500_000).to_string(), "1500k");
    }

    #[test]
    fn amounts_read_back_when_whole() {
        for text in ["250m", "2", "64Mi", "1Gi", "4095", "0"] {
            let cpu: Result<MilliCpu, _> = text.parse();
            let bytes: Result<Bytes, _> = text.parse();
            let shown = cpu.map(|c| c.to_string()).or(bytes.map(|b| b.to_string()));
            assert_eq!(shown.as_deref(), Ok(text));
        }
        assert_eq!(Bytes((1 << 30) + (1 << 29)).to_string(), "1.5Gi");
    }
}
