//! A manifest as it is written. The JSON Schema comes from these types, and the shape of every document is checked against
//! that schema, so a field exists when it is here and not otherwise.
//!
//! Their doc comments are the schema's descriptions: they are read by operators in editors.

mod container;
mod life;
mod placement;
mod scalar;
mod site;
mod tenant;
mod update;

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::limits;

pub(crate) use container::{
    Capabilities, Container, Exec, Http, Limits, Port, Probe, Resources, Tcp, Transport,
};
pub(crate) use life::{
    Job, Life, Metric, NEVER, OnDisconnect, OnReturn, Overlap, Restart, RestartWhen, SITE, Scale, Schedule,
};
pub(crate) use placement::{Affinity, Near, Placement, Preference, Spread};
pub(crate) use scalar::Scalar;
pub(crate) use site::{Link, Metadata as SiteMetadata, Site, SiteSpec};
pub(crate) use tenant::{Metadata as TenantMetadata, Quota, Tenant, TenantSpec};
pub(crate) use update::{Day, Strategy, Update, Wave, Window};

/// The one version of the format.
pub(crate) const API_VERSION: &str = "skerry/v1";

fn api_version(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": [API_VERSION] })
}

/// One workload.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Workload {
    /// The version of this format.
    #[serde(rename = "apiVersion")]
    #[schemars(schema_with = "api_version")]
    pub(crate) api_version: String,
    /// What the document describes.
    #[schemars(schema_with = "workload_kind")]
    pub(crate) kind: String,
    /// Its name and labels.
    pub(crate) metadata: Metadata,
    /// What should run, how often and where.
    pub(crate) spec: Spec,
}

fn workload_kind(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["Workload"] })
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

fn tenant() -> String {
    skerry_types::TenantName::default().into()
}

/// What should run, how often and where.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Spec {
    /// What kind of life it leads: a service is kept running, a job runs to its end once, a cron workload does so whenever its
    /// schedule says, and a daemon is kept running on every node that matches.
    #[serde(rename = "type", default)]
    pub(crate) kind: Life,
    /// How many instances: to keep running, or for a job to bring to a good end. A daemon has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = limits::INSTANCES_MAX))]
    pub(crate) instances: Option<u32>,
    /// A workload of a higher priority is placed first and may take the room of lower ones.
    #[serde(default = "priority")]
    #[schemars(range(min = 0, max = limits::PRIORITY_MAX))]
    pub(crate) priority: u8,
    /// Containers that run one after the other to a good end before the others start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::CONTAINERS_MAX), transform = without_service)]
    pub(crate) init: Vec<Container>,
    /// The containers of one instance: they share one network namespace and one fate.
    #[schemars(length(min = 1, max = limits::CONTAINERS_MAX))]
    pub(crate) containers: Vec<Container>,
    /// Where instances may and should go.
    #[serde(default, skip_serializing_if = "Placement::is_empty")]
    pub(crate) placement: Placement,
    /// What happens when a container ends.
    #[serde(default)]
    pub(crate) restart: Restart,
    /// From the stop signal to the kill, as a duration.
    #[serde(default = "stop_grace")]
    #[schemars(regex(pattern = scalar::DURATION))]
    pub(crate) stop_grace: String,
    /// From the word to stop to the stop signal, as a duration: an instance that was ready goes on for so long, so that what
    /// sends it traffic notices first.
    #[serde(default = "zero")]
    #[schemars(regex(pattern = scalar::DURATION))]
    pub(crate) stop_delay: String,
    /// How it goes from one generation to the next.
    #[serde(default)]
    pub(crate) update: Update,
    /// What happens to instances that are not heard from.
    #[serde(default)]
    pub(crate) on_disconnect: OnDisconnect,
    /// How a job is worked off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) job: Option<Job>,
    /// When a cron workload runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) schedule: Option<Schedule>,
    /// A run of a job or cron workload that takes longer has failed and is ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = scalar::DURATION))]
    pub(crate) run_deadline: Option<String>,
    /// How the number of a service's instances follows its load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scale: Option<Scale>,
    /// Of each instance never two copies run at once, whatever becomes of links and machines: a copy runs only while its node
    /// holds a lease.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) exclusive: bool,
    /// How long a node may run an exclusive instance after it was last heard, and a replacement waits for one that is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = scalar::DURATION))]
    pub(crate) lease: Option<String>,
}

fn priority() -> u8 {
    skerry_types::WorkloadSpec::DEFAULT_PRIORITY
}

fn stop_grace() -> String {
    skerry_types::show_duration(limits::DEFAULT_STOP_GRACE)
}

fn zero() -> String {
    "0s".to_owned()
}

/// What runs before the others serves nobody: it has no ports and is not probed.
fn without_service(list: &mut Schema) {
    let fields = list.get_mut("items").and_then(|items| items.get_mut("properties"));
    if let Some(fields) = fields.and_then(Value::as_object_mut) {
        fields.retain(|name, _| !matches!(name.as_str(), "ports" | "health" | "ready"));
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde asks for")]
fn is_false(value: &bool) -> bool {
    !value
}
