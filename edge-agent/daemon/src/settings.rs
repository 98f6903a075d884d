//! The one place that reads flags, environment and the configuration file. Flags win over environment, environment over
//! file, file over default.

mod gpu;
mod text;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use skerry_link::{JoinToken, KeepAlive, TokenError};
use skerry_runtime::network::Subnet;
use skerry_types::{Bandwidth, Bytes, Gpu, IdError, Labels, MilliCpu, NodeName, Resources, SiteName, Taint};

use gpu::{GpuError, GpuText};
use text::{CgroupRoot, Interval, Label, LinkName, PortRange};

const CONFIG: &str = "/etc/skerry/agent.toml";
const REGISTRIES: &str = "/etc/skerry/registries.toml";
const DATA_DIR: &str = "/var/lib/skerry/agent";
const CACHE_DIR: &str = "/var/cache/skerry";
const RUN_DIR: &str = "/run/skerry";
const HOSTNAME: &str = "/proc/sys/kernel/hostname";
const KEEPER: &str = "skerry-keeper";
/// Where nodes find a master that is named without a port.
const LINK_PORT: u16 = 7444;
/// What the agent, the keeper and the system around them need on a small gateway; the disk part is also what image pulls
/// leave free.
const RESERVE: Resources =
    Resources { cpu: MilliCpu(100), memory: Bytes(128 << 20), disk: Bytes(256 << 20), ..Resources::ZERO };
/// Eight MiB in two files hold a day of a talkative service, and fifty of them fit into half a GiB.
const LOG_MAX_BYTES: u64 = 4 << 20;
const LOG_MAX_FILES: u16 = 2;

/// What can be said on the command line, in the environment, or (with `-` as `_`) in the file.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Flags {
    /// Configuration file [default: /etc/skerry/agent.toml, if it is there]
    #[arg(long, env = "SKERRY_AGENT_CONFIG", value_name = "FILE", global = true)]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Identity, ledger, logs and writable layers; when given, cache and run directories default to below it
    /// [default: /var/lib/skerry/agent]
    #[arg(long, env = "SKERRY_AGENT_DATA_DIR", value_name = "DIR", global = true)]
    pub data_dir: Option<PathBuf>,
    /// Images [default: /var/cache/skerry]
    #[arg(long, env = "SKERRY_CACHE_DIR", value_name = "DIR", global = true)]
    pub cache_dir: Option<PathBuf>,
    /// Sockets, mounts and namespaces [default: /run/skerry]
    #[arg(long, env = "SKERRY_RUN_DIR", value_name = "DIR", global = true)]
    pub run_dir: Option<PathBuf>,
    /// The node's name, a DNS label; fixed by joining [default: the host name up to its first dot]
    #[arg(long, env = "SKERRY_NODE", global = true)]
    pub node: Option<NodeName>,
    /// The site that the node stands in; must agree with the join token
    #[arg(long, env = "SKERRY_SITE", global = true)]
    pub site: Option<SiteName>,
    /// Where masters listen, HOST[:PORT]; several are tried in turn; in the file a list, 'masters'
    /// [default: those of the join token]
    #[arg(
        long = "master",
        env = "SKERRY_MASTERS",
        value_name = "HOST[:PORT]",
        value_delimiter = ',',
        global = true
    )]
    pub masters: Vec<String>,
    /// Join token, as 'skerry token create' prints it
    #[arg(long, env = "SKERRY_JOIN_TOKEN", hide_env_values = true, global = true)]
    #[serde(deserialize_with = "text::parsed")]
    pub token: Option<JoinToken>,
    /// File with the join token
    #[arg(long, env = "SKERRY_JOIN_TOKEN_FILE", value_name = "FILE", global = true)]
    pub token_file: Option<PathBuf>,
    /// How often to say on an idle link that the node is there, 1s to 20m; three misses lose the link [default: 25s]
    #[arg(long, env = "SKERRY_KEEP_ALIVE", value_name = "DURATION", global = true)]
    #[serde(deserialize_with = "text::parsed")]
    pub keep_alive: Option<Interval>,
    /// Dial a master that does not answer up to once a minute only, for uplinks that are paid by volume
    #[arg(long, env = "SKERRY_METERED", global = true)]
    pub metered: bool,
    /// A label of the node, KEY=VALUE; in the file a table, 'labels'
    #[arg(
        long = "label",
        env = "SKERRY_LABELS",
        value_name = "KEY=VALUE",
        value_delimiter = ',',
        global = true
    )]
    #[serde(deserialize_with = "text::labels")]
    pub labels: Vec<Label>,
    /// A mark that keeps away workloads that do not tolerate it; in the file a list, 'taints'
    #[arg(long = "taint", env = "SKERRY_TAINTS", value_name = "NAME", value_delimiter = ',', value_parser = text::taint, global = true)]
    pub taints: Vec<Taint>,
    /// Ports for 'host: auto' [default: 20000-29999]
    #[arg(long, env = "SKERRY_PORT_RANGE", value_name = "FIRST-LAST", global = true)]
    #[serde(deserialize_with = "text::parsed")]
    pub port_range: Option<PortRange>,
    /// Addresses of allocations [default: 10.210.0.0/22]
    #[arg(long, env = "SKERRY_POOL", value_name = "NETWORK/PREFIX", global = true)]
    pub pool: Option<Subnet>,
    /// Name of the bridge of allocations [default: skerry0]
    #[arg(long, env = "SKERRY_BRIDGE", value_name = "NAME", global = true)]
    #[serde(deserialize_with = "text::parsed")]
    pub bridge: Option<LinkName>,
    /// Processor time kept for the node itself [default: 100m]
    #[arg(long, env = "SKERRY_RESERVE_CPU", value_name = "AMOUNT", global = true)]
    #[serde(deserialize_with = "text::parsed")]
    pub reserve_cpu: Option<MilliCpu>,
    /// Memory kept for the node itself [default: 128Mi]
    #[arg(long, env = "SKERRY_RESERVE_MEMORY", value_name = "AMOUNT", global = true)]
    #[serde(deserialize_with = "text::parsed")]
    pub reserve_memory: Option<Bytes>,
    /// Disk kept for the node itself; pulls leave it free [default: 256Mi]
    #[arg(long, env = "SKERRY_RESERVE_DISK", value_name = "AMOUNT", global = true)]
    #[serde(deserialize_with = "text::parsed")]
    pub reserve_disk: Option<Bytes>,
    /// The skerry-keeper program [default: beside this one]
    #[arg(long, env = "SKERRY_KEEPER", value_name = "FILE", global = true)]
    pub keeper: Option<PathBuf>,
    /// How to reach image registries [default: /etc/skerry/registries.toml, if it is there]
    #[arg(long, env = "SKERRY_REGISTRIES", value_name = "FILE", global = true)]
    pub registries: Option<PathBuf>,
    /// Size at which a container's log file is rotated [default: 4Mi]
    #[arg(long, env = "SKERRY_LOG_MAX_BYTES", value_name = "AMOUNT", global = true)]
    #[serde(deserialize_with = "text::parsed")]
    pub log_max_bytes: Option<Bytes>,
    /// Log files kept for each container, the current one included [default: 2]
    #[arg(long, env = "SKERRY_LOG_MAX_FILES", value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=99), global = true)]
    pub log_max_files: Option<u16>,
    /// Address at which people reach the node's host ports [default: the one that the link to the master has]
    #[arg(long, env = "SKERRY_ADDRESS", value_name = "IP", global = true)]
    pub address: Option<IpAddr>,
    /// Cgroup above all containers, so that several agents share a machine [default: /skerry]
    #[arg(long, env = "SKERRY_CGROUP_ROOT", value_name = "PATH", global = true)]
    #[serde(deserialize_with = "text::parsed")]
    pub cgroup_root: Option<CgroupRoot>,
    /// Bandwidth of the uplink that workloads may reserve, in bits per second such as 100M [default: none can be reserved]
    #[arg(long, env = "SKERRY_BANDWIDTH", value_name = "AMOUNT", global = true)]
    #[serde(deserialize_with = "text::parsed")]
    pub bandwidth: Option<Bandwidth>,
    /// Graphics processors that workloads may have; in the file only, a table for each, `[[gpus]]`.
    #[arg(skip)]
    pub gpus: Vec<GpuText>,
}

/// Everything settled.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Identity, ledger, logs, writable layers. Absolute.
    pub data_dir: PathBuf,
    /// Images. Absolute.
    pub cache_dir: PathBuf,
    /// Sockets, mounts, namespaces. Absolute.
    pub run_dir: PathBuf,
    /// The node's name, if it was configured; see [`Settings::node_or_host`].
    pub node: Option<NodeName>,
    /// The site, if it was configured.
    pub site: Option<SiteName>,
    /// Where masters listen, `host:port`.
    pub masters: Vec<String>,
    /// How often to say that the node is there.
    pub keep_alive: KeepAlive,
    /// Whether the uplink is paid by volume.
    pub metered: bool,
    /// Labels of the node.
    pub labels: Labels,
    /// Taints of the node.
    pub taints: Vec<Taint>,
    /// First and last port for `host: auto`.
    pub port_range: (u16, u16),
    /// Addresses of allocations.
    pub pool: Subnet,
    /// Name of the bridge.
    pub bridge: String,
    /// Kept for the node itself.
    pub reserve: Resources,
    /// The keeper's program.
    pub keeper: PathBuf,
    /// How to reach registries, if there is such a file.
    pub registries: Option<PathBuf>,
    /// Size in bytes at which a log file is rotated.
    pub log_max_bytes: u64,
    /// Log files of a container.
    pub log_max_files: u16,
    /// Address of the node's host ports, if it was configured.
    pub address: Option<IpAddr>,
    /// Cgroup above all containers.
    pub cgroup_root: String,
    /// Bandwidth of the uplink that workloads may reserve.
    pub bandwidth: Bandwidth,
    /// Graphics processors that workloads may have, in the order of their numbers.
    pub gpus: Vec<Gpu>,
    token: Option<JoinToken>,
    token_file: Option<PathBuf>,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file cannot be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
    /// The configuration file's content is wrong.
    #[error("{} cannot be used: {message}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its place.
        message: String,
    },
    /// A graphics processor is not described well.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// A label has a character that labels do not have.
    #[error(transparent)]
    Label(#[from] skerry_types::LabelError),
    /// The token file holds no token.
    #[error("{} holds no usable join token", .path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: TokenError,
    },
    /// The host name is no node name.
    #[error("the host name '{host}' cannot be the node's name: name the node with --node")]
    HostName {
        /// The host name.
        host: String,
        /// What is wrong with it.
        #[source]
        source: IdError,
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
        Self::merge(flags, file)
    }

    fn merge(flags: Flags, file: Flags) -> Result<Self, SettingsError> {
        let moved = flags.data_dir.or(file.data_dir);
        let below =
            |name: &str, usual: &str| moved.as_ref().map_or_else(|| usual.into(), |dir| dir.join(name));
        let labels: Labels =
            file.labels.into_iter().chain(flags.labels).map(|label| (label.key, label.value)).collect();
        skerry_types::check_labels(&labels)?;
        let masters = first_named(flags.masters, file.masters);
        // Whichever says more directly: a token in hand before a file, the command line before the configuration.
        let (token, token_file) = match (flags.token, flags.token_file) {
            (None, None) => (file.token, file.token_file),
            given => given,
        };
        let settings = Self {
            cache_dir: absolute(
                flags.cache_dir.or(file.cache_dir).unwrap_or_else(|| below("cache", CACHE_DIR)),
            )?,
            run_dir: absolute(flags.run_dir.or(file.run_dir).unwrap_or_else(|| below("run", RUN_DIR)))?,
            data_dir: absolute(moved.unwrap_or_else(|| DATA_DIR.into()))?,
            node: flags.node.or(file.node),
            site: flags.site.or(file.site),
            masters: masters.iter().map(|master| text::with_port(master, LINK_PORT)).collect(),
            keep_alive: flags.keep_alive.or(file.keep_alive).map(|interval| interval.0).unwrap_or_default(),
            metered: flags.metered || file.metered,
            labels,
            taints: first_named(flags.taints, file.taints),
            port_range: flags.port_range.or(file.port_range).unwrap_or_default().into(),
            pool: flags.pool.or(file.pool).unwrap_or_else(text::default_pool),
            bridge: flags.bridge.or(file.bridge).unwrap_or_default().0,
            reserve: Resources {
                cpu: flags.reserve_cpu.or(file.reserve_cpu).unwrap_or(RESERVE.cpu),
                memory: flags.reserve_memory.or(file.reserve_memory).unwrap_or(RESERVE.memory),
                disk: flags.reserve_disk.or(file.reserve_disk).unwrap_or(RESERVE.disk),
                ..Resources::default()
            },
            keeper: absolute(flags.keeper.or(file.keeper).unwrap_or_else(beside_this_program))?,
            registries: flags.registries.or(file.registries).or_else(|| existing(REGISTRIES)),
            log_max_bytes: flags.log_max_bytes.or(file.log_max_bytes).map_or(LOG_MAX_BYTES, |bytes| bytes.0),
            log_max_files: flags.log_max_files.or(file.log_max_files).unwrap_or(LOG_MAX_FILES),
            address: flags.address.or(file.address),
            cgroup_root: flags.cgroup_root.or(file.cgroup_root).unwrap_or_default().0,
            bandwidth: flags.bandwidth.or(file.bandwidth).unwrap_or_default(),
            gpus: gpu::read(file.gpus)?,
            token,
            token_file,
        };
        Ok(settings)
    }

    /// The configured name, or the host's.
    pub fn node_or_host(&self) -> Result<NodeName, SettingsError> {
        match &self.node {
            Some(node) => Ok(node.clone()),
            None => text::host_label(&read_text(Path::new(HOSTNAME))?),
        }
    }

    /// The join token, if one was given. Its file is read only when it is asked for: it may be gone once the node has joined.
    pub fn token(&self) -> Result<Option<JoinToken>, SettingsError> {
        match (&self.token, &self.token_file) {
            (Some(token), _) => Ok(Some(token.clone())),
            (None, Some(path)) => {
                let token = read_text(path)?.parse();
                token.map(Some).map_err(|source| SettingsError::Token { path: path.clone(), source })
            }
            (None, None) => Ok(None),
        }
    }
}

fn first_named<T>(flags: Vec<T>, file: Vec<T>) -> Vec<T> {
    if flags.is_empty() { file } else { flags }
}

fn absolute(path: PathBuf) -> Result<PathBuf, SettingsError> {
    std::path::absolute(&path).map_err(|source| SettingsError::Read { path, source })
}

fn existing(path: &str) -> Option<PathBuf> {
    Some(PathBuf::from(path)).filter(|path| path.exists())
}

fn beside_this_program() -> PathBuf {
    std::env::current_exe().map_or_else(|_| KEEPER.into(), |path| path.with_file_name(KEEPER))
}

fn read_text(path: &Path) -> Result<String, SettingsError> {
    std::fs::read_to_string(path).map_err(|source| SettingsError::Read { path: path.to_owned(), source })
}

fn read(path: &Path) -> Result<Flags, SettingsError> {
    toml::from_str(&read_text(path)?)
        .map_err(|error| SettingsError::Malformed { path: path.to_owned(), message: error.to_string() })
}

#[cfg(test)]
mod tests;
