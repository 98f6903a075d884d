//! A tenant as it is written.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{api_version, scalar};
use crate::limits;

/// A tenant: who shares the federation, and how much of it it may have.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Tenant {
    /// The version of this format.
    #[serde(rename = "apiVersion")]
    #[schemars(schema_with = "api_version")]
    pub(crate) api_version: String,
    /// What the document describes.
    #[schemars(schema_with = "kind")]
    pub(crate) kind: String,
    /// Its name.
    pub(crate) metadata: Metadata,
    /// Where it stands among tenants, and how much it may have.
    #[serde(default)]
    pub(crate) spec: TenantSpec,
}

fn kind(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["Tenant"] })
}

/// Its name.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Metadata {
    /// Name: a DNS label.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub(crate) name: String,
}

/// Where a tenant stands among tenants, and how much it may have.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub(crate) struct TenantSpec {
    /// Tenant that it is a part of; none when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub(crate) parent: Option<String>,
    /// Its part beside its siblings when there is not enough for all.
    #[schemars(range(min = 1, max = limits::TENANT_WEIGHT_MAX))]
    pub(crate) weight: u32,
    /// What preemption never takes from it.
    #[serde(skip_serializing_if = "Quota::is_empty")]
    pub(crate) guarantee: Quota,
    /// What its workloads, with those of all tenants below it, may reserve everywhere together.
    #[serde(skip_serializing_if = "Quota::is_empty")]
    pub(crate) limit: Quota,
}

impl Default for TenantSpec {
    fn default() -> Self {
        Self {
            parent: None,
            weight: skerry_types::TenantSpec::DEFAULT_WEIGHT,
            guarantee: Quota::default(),
            limit: Quota::default(),
        }
    }
}

/// Amounts; what is absent is not bounded.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub(crate) struct Quota {
    /// Processor time in cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "scalar::milli")]
    pub(crate) cpu: Option<String>,
    /// Memory in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "scalar::bytes")]
    pub(crate) memory: Option<String>,
    /// Disk in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "scalar::bytes")]
    pub(crate) disk: Option<String>,
    /// Bandwidth in bits per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "scalar::bandwidth")]
    pub(crate) bandwidth: Option<String>,
    /// Graphics processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "scalar::milli")]
    pub(crate) gpu: Option<String>,
}

impl Quota {
    fn is_empty(&self) -> bool {
        let Self { cpu, memory, disk, bandwidth, gpu } = self;
        [cpu, memory, disk, bandwidth, gpu].iter().all(|amount| amount.is_none())
    }
}
