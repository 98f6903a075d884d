//! The one place that reads flags, environment and the configuration file. Flags win over environment, environment over file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use serde::Deserialize;
use skerry_link::{JoinToken, KeepAlive, KeepAliveError, TokenError, TrustDomain};
use skerry_types::{DurationError, RegionName, parse_duration};

use crate::life::{NodeLife, RegionLife};

const CONFIG: &str = "/etc/skerry/master.toml";
const REGISTRIES: &str = "/etc/skerry/registries.toml";
const DATA_DIR: &str = "/var/lib/skerry/master";
const API: &str = "0.0.0.0:7443";
const LINKS: &str = "0.0.0.0:7444";
const LINK_PORT: u16 = 7444;

/// What can be said on the command line, in the environment, or (with `-` as `_`) in the file.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flags {
    /// Configuration file [default: /etc/skerry/master.toml, if it is there]
    #[arg(long, env = "SKERRY_MASTER_CONFIG", value_name = "FILE", global = true)]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// The region's name; fixed by `init`
    #[arg(long, env = "SKERRY_REGION", global = true)]
    pub region: Option<RegionName>,
    /// The federation's trust domain, a DNS name; fixed by `init`
    #[arg(long, env = "SKERRY_DOMAIN", global = true)]
    #[serde(default, deserialize_with = "parsed")]
    pub domain: Option<TrustDomain>,
    /// Where the CA and the store lie [default: /var/lib/skerry/master]
    #[arg(long, env = "SKERRY_MASTER_DATA_DIR", value_name = "DIR", global = true)]
    pub data_dir: Option<PathBuf>,
    /// TCP address of the operator API [default: 0.0.0.0:7443]
    #[arg(long, env = "SKERRY_API", value_name = "ADDRESS:PORT", global = true)]
    pub api: Option<SocketAddr>,
    /// UDP address of the nodes' links [default: 0.0.0.0:7444]
    #[arg(long, env = "SKERRY_LINKS", value_name = "ADDRESS:PORT", global = true)]
    pub links: Option<SocketAddr>,
    /// Names and addresses by which nodes and operators reach this master; they stand in its certificate and in join tokens
    #[arg(long, env = "SKERRY_ADVERTISE", value_name = "HOST", value_delimiter = ',', global = true)]
    #[serde(default)]
    pub advertise: Vec<String>,
    /// How to reach image registries [default: /etc/skerry/registries.toml, if it is there]
    #[arg(long, env = "SKERRY_REGISTRIES", value_name = "FILE", global = true)]
    pub registries: Option<PathBuf>,
    /// Where the master of the region above listens, HOST[:PORT]; several are tried in turn. Makes this region one of another
    /// federation's at 'init' [default: those of the join token]
    #[arg(long, env = "SKERRY_PARENT", value_name = "HOST[:PORT]", value_delimiter = ',', global = true)]
    #[serde(default)]
    pub parent: Vec<String>,
    /// Join token of the region above, as 'skerry token create --region' prints it there
    #[arg(long, env = "SKERRY_MASTER_JOIN_TOKEN", hide_env_values = true, global = true)]
    #[serde(default, deserialize_with = "parsed")]
    pub join_token: Option<JoinToken>,
    /// File with the join token
    #[arg(long, env = "SKERRY_MASTER_JOIN_TOKEN_FILE", value_name = "FILE", global = true)]
    pub join_token_file: Option<PathBuf>,
    /// How often this region says on an idle link that it is there, 1s to 20m: after three times that without a word both sides
    /// give the link to the region above up [default: 25s]
    #[arg(long, env = "SKERRY_MASTER_KEEP_ALIVE", value_name = "DURATION", global = true)]
    #[serde(default, deserialize_with = "parsed")]
    pub keep_alive: Option<Interval>,
    /// How long the CA certificate of a region below holds, 10s to 3650d; regions renew it from half of that [default: 1825d]
    #[arg(long, env = "SKERRY_REGION_CERTIFICATE_LIFE", value_name = "DURATION", global = true)]
    #[serde(default, deserialize_with = "parsed")]
    pub region_certificate_life: Option<RegionLife>,
    /// How long a node's certificate holds, 10s to 90d; nodes renew it from half of that [default: 7d]
    #[arg(long, env = "SKERRY_NODE_CERTIFICATE_LIFE", value_name = "DURATION", global = true)]
    #[serde(default, deserialize_with = "parsed")]
    pub node_certificate_life: Option<NodeLife>,
}

/// A keep-alive interval, written as a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval(pub KeepAlive);

/// Why a text is no keep-alive interval.
#[derive(Debug, thiserror::Error)]
pub enum IntervalError {
    /// Not a duration.
    #[error(transparent)]
    Duration(#[from] DurationError),
    /// Too short or too long.
    #[error(transparent)]
    KeepAlive(#[from] KeepAliveError),
}

impl FromStr for Interval {
    type Err = IntervalError;

    fn from_str(text: &str) -> Result<Self, IntervalError> {
        Ok(Self(KeepAlive::new(parse_duration(text)?)?))
    }
}

/// For values that serde does not know: written in the file as on the command line.
fn parsed<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: FromStr<Err: std::fmt::Display>,
{
    let text: Option<String> = Deserialize::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
}

/// Everything settled.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The region, if it was named.
    pub region: Option<RegionName>,
    /// The trust domain, if it was named.
    pub domain: Option<TrustDomain>,
    /// Where the CA and the store lie.
    pub data_dir: PathBuf,
    /// TCP address of the API.
    pub api: SocketAddr,
    /// UDP address of the links.
    pub links: SocketAddr,
    /// Names and addresses of this master.
    pub advertise: Vec<String>,
    /// How to reach registries, if there is such a file.
    pub registries: Option<PathBuf>,
    /// Where the master of the region above listens, `HOST:PORT`; empty if nothing was said.
    pub parent: Vec<String>,
    /// The join token of the region above, if one was given.
    pub join_token: Option<JoinToken>,
    /// How often this region says that it is there, on the link to the region above.
    pub keep_alive: KeepAlive,
    /// How long a node's certificate holds.
    pub node_certificate_life: NodeLife,
    /// How long the CA certificate of a region below holds.
    pub region_certificate_life: RegionLife,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
    /// The file with the join token holds none.
    #[error("{} does not hold a join token", .path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: TokenError,
    },
    /// The file's content is wrong.
    #[error("{} cannot be used: {message}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its place.
        message: String,
    },
}

impl Settings {
    /// Puts flags (with the environment in them) over the file over the defaults.
    pub fn settle(flags: Flags) -> Result<Self, SettingsError> {
        let file = match &flags.config {
            Some(path) => read(path)?,
            None if Path::new(CONFIG).exists() => read(Path::new(CONFIG))?,
            None => Flags::default(),
        };
        let default_registries = || Some(PathBuf::from(REGISTRIES)).filter(|path| path.exists());
        let advertise = if flags.advertise.is_empty() { file.advertise } else { flags.advertise };
        let parent = if flags.parent.is_empty() { file.parent } else { flags.parent };
        let join_token = match token(flags.join_token, flags.join_token_file)? {
            Some(token) => Some(token),
            None => token(file.join_token, file.join_token_file)?,
        };
        Ok(Self {
            region: flags.region.or(file.region),
            domain: flags.domain.or(file.domain),
            data_dir: flags.data_dir.or(file.data_dir).unwrap_or_else(|| DATA_DIR.into()),
            api: flags.api.or(file.api).unwrap_or_else(|| address(API)),
            links: flags.links.or(file.links).unwrap_or_else(|| address(LINKS)),
            advertise,
            parent: parent.iter().map(|address| with_link_port(address)).collect(),
            join_token,
            keep_alive: flags.keep_alive.or(file.keep_alive).map(|interval| interval.0).unwrap_or_default(),
            region_certificate_life: flags
                .region_certificate_life
                .or(file.region_certificate_life)
                .unwrap_or_default(),
            registries: flags.registries.or(file.registries).or_else(default_registries),
            node_certificate_life: flags
                .node_certificate_life
                .or(file.node_certificate_life)
                .unwrap_or_default(),
        })
    }

    /// Whether this region is to be one below another.
    pub fn joins(&self) -> bool {
        !self.parent.is_empty() || self.join_token.is_some()
    }

    /// Where nodes reach this master, as join tokens carry it: `HOST:PORT`.
    pub fn link_addresses(&self) -> Vec<String> {
        let port = self.links.port();
        self.advertise.iter().map(|host| with_port(host, port)).collect()
    }

    /// The directory of the CA.
    pub fn ca_dir(&self) -> PathBuf {
        self.data_dir.join("ca")
    }

    /// The directory of the store.
    pub fn store_dir(&self) -> PathBuf {
        self.data_dir.join("store")
    }
}

/// The given token, or the file's.
fn token(given: Option<JoinToken>, file: Option<PathBuf>) -> Result<Option<JoinToken>, SettingsError> {
    let (None, Some(path)) = (&given, file) else { return Ok(given) };
    let text = std::fs::read_to_string(&path)
        .map_err(|source| SettingsError::Read { path: path.clone(), source })?;
    text.trim().parse().map(Some).map_err(|source| SettingsError::Token { path, source })
}

/// An address of another master, whose port goes without saying.
fn with_link_port(address: &str) -> String {
    let has_port = match address.rsplit_once(':') {
        Some((host, port)) => port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']')),
        None => false,
    };
    let host = address.trim_start_matches('[').trim_end_matches(']');
    if has_port { address.to_owned() } else { with_port(host, LINK_PORT) }
}

/// An IPv6 address needs its brackets before a port.
pub(crate) fn with_port(host: &str, port: u16) -> String {
    match host.parse() {
        Ok(ip) => SocketAddr::new(ip, port).to_string(),
        Err(_) => format!("{host}:{port}"),
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("the default addresses are addresses")
}

fn read(path: &Path) -> Result<Flags, SettingsError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| SettingsError::Read { path: path.to_owned(), source })?;
    toml::from_str(&text)
        .map_err(|error| SettingsError::Malformed { path: path.to_owned(), message: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parents_port_goes_without_saying() {
        let check = |given: &str, expect: &str| assert_eq!(with_link_port(given), expect, "{given}");
        check("root.example", "root.example:7444");
        check("root.example:17444", "root.example:17444");
        check("10.0.0.1", "10.0.0.1:7444");
        check("2001:db8::1", "[2001:db8::1]:7444");
        check("[2001:db8::1]", "[2001:db8::1]:7444");
        check("[2001:db8::1]:99", "[2001:db8::1]:99");
    }

    #[test]
    fn a_parent_may_stand_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let token = JoinToken::generate(skerry_link::RootHash([7; 32]), Vec::new()).unwrap();
        std::fs::write(dir.path().join("token"), format!("{}\n", token.to_text())).unwrap();
        let config = dir.path().join("master.toml");
        let path = dir.path().join("token");
        let text = format!(
            "region = 'south'\nparent = ['a', 'b:1']\njoin_token_file = '{}'\nregion_certificate_life = '20s'\n",
            path.display()
        );
        std::fs::write(&config, text).unwrap();
        let flags = Flags { config: Some(config.clone()), ..Flags::default() };
        let settings = Settings::settle(flags).unwrap();
        assert_eq!(settings.parent, ["a:7444", "b:1"]);
        assert_eq!(settings.join_token, Some(token.clone()));
        assert!(settings.joins());
        let flags = Flags { config: Some(config), parent: vec!["c".to_owned()], ..Flags::default() };
        assert_eq!(Settings::settle(flags).unwrap().parent, ["c:7444"]);
        std::fs::write(dir.path().join("token"), "skerry-join.x").unwrap();
        let flags = Flags { join_token_file: Some(path), ..Flags::default() };
        assert!(Settings::settle(flags).unwrap_err().to_string().contains("does not hold a join token"));
    }
}
