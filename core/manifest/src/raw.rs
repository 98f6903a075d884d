//! A manifest as it is written. The JSON Schema comes from these types, and the shape of every document is checked against
//! that schema, so a field exists when it is here and not otherwise.
//!
//! Their doc comments are the schema's descriptions: they are read by operators in editors.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use skerry_types::show_duration;

use crate::limits;
use crate::write::{bytes_text, cpu_text};

/// One workload.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// The version of this format.
    #[serde(rename = "apiVersion")]
    #[schemars(schema_with = "api_version")]
    pub(crate) api_version: String,
    /// What the document describes.
    #[schemars(schema_with = "kind")]
    pub(crate) kind: String,
    /// Its name and labels.
    pub(crate) metadata: Metadata,
    /// What should run, how often and where.
    pub(crate) spec: Spec,
}

/// Its name and labels.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Metadata {
    /// Name: a DNS label, unique in its tenant.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub(crate) name: String,
    /// Tenant that owns the workload: a DNS label.
    #[serde(default = "tenant")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub(crate) tenant: String,
    /// Labels to select the workload by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = limits::LABELS_MAX))]
    pub(crate) labels: BTreeMap<String, Scalar>,
}

/// What should run, how often and where.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Spec {
    /// What kind of life it leads: a service is kept running.
    #[serde(rename = "type", default)]
    pub(crate) kind: Life,
    /// How many instances to keep running.
    #[serde(default = "instances")]
    #[schemars(range(min = 0, max = limits::INSTANCES_MAX))]
    pub(crate) instances: u32,
    /// The containers of one instance: they share one network namespace and one fate.
    #[schemars(length(min = 1, max = limits::CONTAINERS_MAX))]
    pub(crate) containers: Vec<Container>,
    /// Where instances may and should go.
    #[serde(default, skip_serializing_if = "Placement::is_empty")]
    pub(crate) placement: Placement,
    /// What happens when a container ends.
    #[serde(default)]
    pub(crate) restart: Restart,
    /// At most one of each instance anywhere. Only false is supported in this release.
    #[serde(default, skip_serializing_if = "is_false")]
    #[schemars(extend("enum" = [false]))]
    pub(crate) exclusive: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Life {
    #[default]
    Service,
}

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
    #[schemars(schema_with = "user")]
    pub(crate) user: Option<String>,
    /// Whether the root file system is read-only.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) read_only: bool,
    /// Changes to the default capability set.
    #[serde(default, skip_serializing_if = "Capabilities::is_empty")]
    pub(crate) capabilities: Capabilities,
}

/// What is reserved for the container on its node.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub(crate) struct Resources {
    /// Processor time: cores (`2`, `0.5`) or thousandths of one (`250m`).
    #[schemars(schema_with = "cpu")]
    pub(crate) cpu: String,
    /// Memory in bytes, with Ki, Mi, Gi, Ti (powers of 1024) or k, M, G, T (powers of 1000).
    #[schemars(schema_with = "bytes")]
    pub(crate) memory: String,
    /// Disk in bytes for the image, the writable layer and logs; units as for memory.
    #[schemars(schema_with = "bytes")]
    pub(crate) disk: String,
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            cpu: cpu_text(limits::DEFAULT_CPU),
            memory: bytes_text(limits::DEFAULT_MEMORY),
            disk: bytes_text(limits::DEFAULT_DISK),
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
    #[schemars(schema_with = "cpu")]
    pub(crate) cpu: Option<String>,
    /// Memory, swap included; the reserved memory when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bytes")]
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
    #[schemars(schema_with = "host")]
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

/// Where instances may and should go.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub(crate) struct Placement {
    /// Selector that a node must match, such as `site.tier in (edge,metro), node.memory_mb>=2048`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) require: String,
    /// Selectors whose nodes are preferred.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::PREFER_MAX))]
    pub(crate) prefer: Vec<Preference>,
    /// What instances are spread over evenly.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::SPREAD_MAX))]
    pub(crate) spread: Vec<Spread>,
    /// Taints of nodes that do not keep the workload away.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::TOLERATE_MAX))]
    pub(crate) tolerate: Vec<String>,
}

impl Placement {
    fn is_empty(&self) -> bool {
        self.require.is_empty()
            && self.prefer.is_empty()
            && self.spread.is_empty()
            && self.tolerate.is_empty()
    }
}

/// A soft wish.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Preference {
    /// Selector of the preferred nodes.
    #[serde(rename = "match")]
    pub(crate) matches: String,
    /// How much; a negative weight keeps instances away.
    #[serde(default = "weight")]
    #[schemars(range(min = -limits::WEIGHT_MAX, max = limits::WEIGHT_MAX))]
    pub(crate) weight: i32,
}

/// A wish for evenness.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Spread {
    /// `site`, `node`, or an attribute such as `node.rack`.
    pub(crate) by: String,
    /// Largest difference between two counts; given, it is a must rather than a wish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = limits::INSTANCES_MAX))]
    pub(crate) max_skew: Option<u32>,
}

/// What happens when a container ends.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub(crate) struct Restart {
    /// After which ends it starts again.
    pub(crate) policy: RestartWhen,
    /// Wait before the first restart; it doubles with each.
    #[schemars(regex(pattern = "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$"))]
    pub(crate) backoff: String,
    /// Longest wait.
    #[schemars(regex(pattern = "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$"))]
    pub(crate) max_backoff: String,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            policy: RestartWhen::Always,
            backoff: show_duration(limits::DEFAULT_BACKOFF),
            max_backoff: show_duration(limits::DEFAULT_MAX_BACKOFF),
        }
    }
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RestartWhen {
    Always,
    OnFailure,
    Never,
}

/// Text, or a number or boolean that is taken as it is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Scalar(pub(crate) String);

impl JsonSchema for Scalar {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

/// The one version of the format.
pub(crate) const API_VERSION: &str = "skerry/v1";
/// The one kind of document.
pub(crate) const KIND: &str = "Workload";

fn api_version(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": [API_VERSION] })
}

fn kind(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": [KIND] })
}

fn cpu(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "number"], "pattern": "^([0-9]+(\\.[0-9]{1,3})?|[0-9]+m)$" })
}

fn bytes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "integer"], "pattern": "^[0-9]+(Ki|Mi|Gi|Ti|k|M|G|T)?$" })
}

fn user(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "integer"] })
}

fn host(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "integer"], "pattern": "^(auto|none|[0-9]{1,5})$" })
}

fn tenant() -> String {
    skerry_types::TenantName::default().into()
}

fn instances() -> u32 {
    limits::DEFAULT_INSTANCES
}

fn weight() -> i32 {
    limits::DEFAULT_WEIGHT
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

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde asks for")]
fn is_false(value: &bool) -> bool {
    !value
}
