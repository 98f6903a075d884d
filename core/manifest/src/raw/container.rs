//! A container as it is written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skerry_types::show_duration;

use super::is_false;
use super::scalar::{self, Scalar};
use crate::limits;
use crate::write::bytes_text;

/// One container.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Container {
    /// Name: a DNS label, unique in the workload.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub(crate) name: String,
    /// Image reference; a tag is resolved to a digest once, when the workload is applied.
    #[schemars(length(min = 1, max = limits::IMAGE_BYTES_MAX))]
    pub(crate) image: String,
    /// Replaces the image's entrypoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::WORDS_MAX))]
    pub(crate) command: Vec<Scalar>,
    /// Replaces the image's arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::WORDS_MAX))]
    pub(crate) args: Vec<Scalar>,
    /// Environment variables, added to the image's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = limits::ENV_MAX))]
    pub(crate) env: BTreeMap<String, Scalar>,
    /// What is reserved for the container on its node.
    #[serde(default)]
    pub(crate) resources: Resources,
    /// What the container may not pass.
    #[serde(default)]
    pub(crate) limits: Limits,
    /// Ports that the container listens on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::PORTS_MAX))]
    pub(crate) ports: Vec<Port>,
    /// User and group it runs as: `uid`, `uid:gid`, `name` or `name:group`; the image's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "scalar::word")]
    pub(crate) user: Option<String>,
    /// Whether the root file system is read-only.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) read_only: bool,
    /// Changes to the default capability set.
    #[serde(default, skip_serializing_if = "Capabilities::is_empty")]
    pub(crate) capabilities: Capabilities,
    /// How the node looks whether it is well: a container that is not is ended, and starts again as `restart` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) health: Option<Probe>,
    /// How the node looks whether it is ready: a container that is not is left alone, and counts as not ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ready: Option<Probe>,
    /// Signal that asks it to end: a name such as `SIGTERM`, or a number; the image's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "scalar::word")]
    pub(crate) stop_signal: Option<String>,
}

/// How the node looks whether a container is well or ready: by one of http, tcp and exec.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub(crate) struct Probe {
    /// Well when a GET is answered with a status of 200 to 399.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) http: Option<Http>,
    /// Well when a connection is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tcp: Option<Tcp>,
    /// Well when a command in the container ends with code 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exec: Option<Exec>,
    /// From the end of one look to the beginning of the next.
    #[schemars(regex(pattern = scalar::DURATION))]
    pub(crate) interval: String,
    /// How long an answer may take.
    #[schemars(regex(pattern = scalar::DURATION))]
    pub(crate) timeout: String,
    /// Failures in a row after which the container counts as not well.
    #[schemars(range(min = 1, max = limits::PROBE_FAILURES_MAX))]
    pub(crate) failures: u32,
    /// From its start, a container that never was well is not judged for this long.
    #[schemars(regex(pattern = scalar::DURATION))]
    pub(crate) grace: String,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            http: None,
            tcp: None,
            exec: None,
            interval: show_duration(limits::DEFAULT_PROBE_INTERVAL),
            timeout: show_duration(limits::DEFAULT_PROBE_TIMEOUT),
            failures: limits::DEFAULT_PROBE_FAILURES,
            grace: show_duration(limits::DEFAULT_PROBE_GRACE),
        }
    }
}

/// A look by HTTP.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Http {
    /// Name or number of a declared port.
    #[schemars(schema_with = "scalar::word")]
    pub(crate) port: String,
    /// Path and query.
    #[serde(default = "slash")]
    #[schemars(length(min = 1, max = limits::PROBE_PATH_BYTES_MAX), regex(pattern = "^/[!-~]*$"))]
    pub(crate) path: String,
}

fn slash() -> String {
    "/".to_owned()
}

/// A look by TCP.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Tcp {
    /// Name or number of a declared port.
    #[schemars(schema_with = "scalar::word")]
    pub(crate) port: String,
}

/// A look by a command.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Exec {
    /// Program and arguments.
    #[schemars(length(min = 1, max = limits::WORDS_MAX))]
    pub(crate) command: Vec<Scalar>,
}

/// What is reserved for the container on its node.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub(crate) struct Resources {
    /// Processor time: cores (`2`, `0.5`) or thousandths of one (`250m`).
    #[schemars(schema_with = "scalar::milli")]
    pub(crate) cpu: String,
    /// Memory in bytes, with Ki, Mi, Gi, Ti (powers of 1024) or k, M, G, T (powers of 1000).
    #[schemars(schema_with = "scalar::bytes")]
    pub(crate) memory: String,
    /// Disk in bytes for the image, the writable layer and logs; units as for memory.
    #[schemars(schema_with = "scalar::bytes")]
    pub(crate) disk: String,
    /// Bandwidth of the node's uplink in bits per second, with k, M or G.
    #[serde(skip_serializing_if = "is_none_of_it")]
    #[schemars(schema_with = "scalar::bandwidth")]
    pub(crate) bandwidth: String,
    /// Graphics processors: whole ones (`2`) or a part of one (`0.5`, `250m`).
    #[serde(skip_serializing_if = "is_none_of_it")]
    #[schemars(schema_with = "scalar::milli")]
    pub(crate) gpu: String,
}

fn none_of_it() -> String {
    "0".to_owned()
}

fn is_none_of_it(amount: &String) -> bool {
    amount == "0"
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            cpu: limits::DEFAULT_CPU.to_string(),
            memory: bytes_text(limits::DEFAULT_MEMORY),
            disk: bytes_text(limits::DEFAULT_DISK),
            bandwidth: none_of_it(),
            gpu: none_of_it(),
        }
    }
}

/// What the container may not pass.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub(crate) struct Limits {
    /// Processor time; without it the container may burst into what is idle.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "scalar::milli")]
    pub(crate) cpu: Option<String>,
    /// Memory, swap included; the reserved memory when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "scalar::bytes")]
    pub(crate) memory: Option<String>,
    /// Processes and threads.
    #[schemars(range(min = 1, max = limits::PIDS_MAX))]
    pub(crate) pids: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { cpu: None, memory: None, pids: limits::DEFAULT_PIDS }
    }
}

/// A port that the container listens on.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Port {
    /// Name: a DNS label, unique in the workload.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub(crate) name: String,
    /// Port inside of the instance's network namespace.
    #[schemars(range(min = 1, max = 65535))]
    pub(crate) container: u16,
    /// Port of the node that leads to it: a number, `auto` for a free one, or `none`.
    #[serde(default = "host_none", serialize_with = "number_if_one")]
    #[schemars(schema_with = "scalar::host")]
    pub(crate) host: String,
    /// Transport.
    #[serde(default)]
    pub(crate) protocol: Transport,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Transport {
    #[default]
    Tcp,
    Udp,
}

/// Changes to the default capability set.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub(crate) struct Capabilities {
    /// Capabilities to add, such as `NET_BIND_SERVICE`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::CAPABILITIES_MAX))]
    pub(crate) add: Vec<String>,
    /// Capabilities to take away; `ALL` takes all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::CAPABILITIES_MAX))]
    pub(crate) drop: Vec<String>,
}

impl Capabilities {
    fn is_empty(&self) -> bool {
        self.add.is_empty() && self.drop.is_empty()
    }
}

fn host_none() -> String {
    "none".to_owned()
}

/// A host port is written as the number that it is, `auto` and `none` as words.
fn number_if_one<S: serde::Serializer>(host: &str, serializer: S) -> Result<S::Ok, S::Error> {
    match host.parse::<u16>() {
        Ok(port) => serializer.serialize_u16(port),
        Err(_) => serializer.serialize_str(host),
    }
}
