//! Forms that settings are written in, each checked where it comes in.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de::Error as _};
use skerry_link::{KeepAlive, KeepAliveError};
use skerry_runtime::network::Subnet;
use skerry_types::{DurationError, LabelError, Labels, NodeName, Taint, parse_duration};

use super::SettingsError;

/// Longest name of a network device (IFNAMSIZ less its end).
const LINK_NAME_MAX: usize = 15;

/// A value in the file that is written as on the command line.
pub(super) fn parsed<'de, D: Deserializer<'de>, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: FromStr,
    T::Err: Display,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(D::Error::custom)
}

/// Labels in the file are a table.
pub(super) fn labels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Label>, D::Error> {
    let labels = Labels::deserialize(deserializer)?;
    Ok(labels.into_iter().map(|(key, value)| Label { key, value }).collect())
}

pub(super) fn taint(text: &str) -> Result<Taint, LabelError> {
    Taint::new(text)
}

/// `HOST:PORT`, with the usual port where none is written.
pub(super) fn with_port(master: &str, usual: u16) -> String {
    if let Ok(ip) = master.parse::<IpAddr>() {
        return SocketAddr::new(ip, usual).to_string();
    }
    let has_port = master.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port { master.to_owned() } else { format!("{master}:{usual}") }
}

/// A node's name from a host's.
pub(super) fn host_label(host: &str) -> Result<NodeName, SettingsError> {
    let host = host.trim();
    let label = host.split('.').next().unwrap_or_default().to_ascii_lowercase();
    NodeName::new(label).map_err(|source| SettingsError::HostName { host: host.to_owned(), source })
}

pub(super) fn default_pool() -> Subnet {
    "10.210.0.0/22".parse().expect("the default pool is a subnet")
}

/// Why a text is not one of these forms.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Not a duration.
    #[error(transparent)]
    Duration(#[from] DurationError),
    /// A duration that cannot be a keep-alive.
    #[error(transparent)]
    KeepAlive(#[from] KeepAliveError),
    /// Not `KEY=VALUE`.
    #[error("'{0}' is not a label: write KEY=VALUE")]
    Label(String),
    /// Not a range of ports.
    #[error("'{0}' is not a range of ports: write the first and the last, as in '20000-29999'")]
    PortRange(String),
    /// Not a name of a network device.
    #[error("'{0}' cannot name a bridge: use 1 to {LINK_NAME_MAX} of letters, digits, '-' and '_'")]
    LinkName(String),
    /// Not a path of a cgroup.
    #[error("'{0}' is not a cgroup's path: it begins with '/' and has no empty part, '.' or '..'")]
    Cgroup(String),
}

/// A keep-alive interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval(pub KeepAlive);

impl FromStr for Interval {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        Ok(Self(KeepAlive::new(parse_duration(text)?)?))
    }
}

/// One label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

impl FromStr for Label {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let (key, value) = text.split_once('=').ok_or_else(|| TextError::Label(text.to_owned()))?;
        Ok(Self { key: key.to_owned(), value: value.to_owned() })
    }
}

/// First and last port, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange(u16, u16);

impl Default for PortRange {
    /// Below the range from which Linux takes ports for outgoing connections (32768 on).
    fn default() -> Self {
        Self(20_000, 29_999)
    }
}

impl From<PortRange> for (u16, u16) {
    fn from(range: PortRange) -> Self {
        (range.0, range.1)
    }
}

impl FromStr for PortRange {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let parsed = text.split_once('-').and_then(|(first, last)| {
            let (first, last) = (first.parse().ok()?, last.parse().ok()?);
            (first >= 1 && first <= last).then_some(Self(first, last))
        });
        parsed.ok_or_else(|| TextError::PortRange(text.to_owned()))
    }
}

/// Name of a network device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkName(pub String);

impl Default for LinkName {
    fn default() -> Self {
        Self("skerry0".to_owned())
    }
}

impl FromStr for LinkName {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let good = (1..=LINK_NAME_MAX).contains(&text.len()) && text.bytes().all(inner);
        if good { Ok(Self(text.to_owned())) } else { Err(TextError::LinkName(text.to_owned())) }
    }
}

/// Path of the cgroup above all containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupRoot(pub String);

impl Default for CgroupRoot {
    fn default() -> Self {
        Self("/skerry".to_owned())
    }
}

impl FromStr for CgroupRoot {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        let good = text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(plain));
        if good { Ok(Self(text.to_owned())) } else { Err(TextError::Cgroup(text.to_owned())) }
    }
}
