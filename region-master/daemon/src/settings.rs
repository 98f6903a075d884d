//! The one place that reads flags, environment and the configuration file. Flags win over environment, environment over file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use skerry_link::TrustDomain;
use skerry_types::RegionName;

use crate::node_life::NodeLife;

const CONFIG: &str = "/etc/skerry/master.toml";
const REGISTRIES: &str = "/etc/skerry/registries.toml";
const DATA_DIR: &str = "/var/lib/skerry/master";
const API: &str = "0.0.0.0:7443";
const LINKS: &str = "0.0.0.0:7444";

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
    #[serde(default, deserialize_with = "trust_domain")]
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
    /// How long a node's certificate holds, 10s to 90d; nodes renew it from half of that [default: 7d]
    #[arg(long, env = "SKERRY_NODE_CERTIFICATE_LIFE", value_name = "DURATION", global = true)]
    #[serde(default, deserialize_with = "node_life")]
    pub node_certificate_life: Option<NodeLife>,
}

fn trust_domain<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<TrustDomain>, D::Error> {
    let text: Option<String> = Deserialize::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
}

fn node_life<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<NodeLife>, D::Error> {
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
    /// How long a node's certificate holds.
    pub node_certificate_life: NodeLife,
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
        Ok(Self {
            region: flags.region.or(file.region),
            domain: flags.domain.or(file.domain),
            data_dir: flags.data_dir.or(file.data_dir).unwrap_or_else(|| DATA_DIR.into()),
            api: flags.api.or(file.api).unwrap_or_else(|| address(API)),
            links: flags.links.or(file.links).unwrap_or_else(|| address(LINKS)),
            advertise,
            registries: flags.registries.or(file.registries).or_else(default_registries),
            node_certificate_life: flags
                .node_certificate_life
                .or(file.node_certificate_life)
                .unwrap_or_default(),
        })
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
